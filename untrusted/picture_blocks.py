"""Refusal of pictures that Pillow would take too long to open, before it knows their size.

A few megabytes can hold millions of empty blocks, comments that are read a byte at a time, tags
that all point at the same large piece of the file, or thousands of passes over one picture. Each
function below walks through a file as its decoder would and refuses what goes on for too long;
whether the file is otherwise sound is left to the decoder.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from untrusted import limits
from untrusted.errors import UntrustedError


def check(data: memoryview) -> None:
    """Raise UntrustedError for the file of a picture that would take too long to open."""
    start = bytes(data[:16])
    for magic, walk in _WALKS.items():
        if start.startswith(magic):
            try:
                walk(data)
            except (struct.error, IndexError):
                return  # cut off: the decoder says so


def _count(blocks: int, what: str) -> None:
    if blocks > limits.PICTURE_BLOCKS:
        raise UntrustedError(
            f"it has more than {limits.PICTURE_BLOCKS:,} {what}: refused (save it anew)"
        )


def _png(data: memoryview) -> None:
    at, chunks, beside = 8, 0, 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at, chunks = at + 12 + length, chunks + 1
        beside += length * (kind not in (b"IDAT", b"fdAT"))
        _count(chunks, "chunks")
        _beside(beside)


def _gif(data: memoryview) -> None:
    """Walk through the blocks before the first image."""
    at, blocks = 13 + _palette(data[10]), 0
    while data[at] == ord("!"):
        at += 2
        while size := data[at]:
            at, blocks = at + 1 + size, blocks + 1
            _count(blocks, "blocks before its image")
        at, blocks = at + 1, blocks + 1


def _palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _beside(size: int) -> None:
    """Limit the metadata, which a decoder may copy any number of times."""
    if size > limits.PICTURE_TAG_BYTES:
        raise UntrustedError(
            f"it has {size:,} bytes beside its pixels, must have at most "
            f"{limits.PICTURE_TAG_BYTES:,}: refused (save it anew)"
        )


_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A marker within a JPEG's compressed data: 0xFF and a byte that is not part of the data."""


def _jpeg(data: memoryview) -> None:
    """Walk through the segments, and count the passes over the picture."""
    at, segments, scans, pixels, exif, beside = 2, 0, 0, 0, 0, 0
    while match := _MARKER.search(data, at):
        if not scans:
            _count(match.start() - at, "bytes between its segments")
        kind, at = data[match.start() + 1], match.end()
        if kind == 0xD9:
            return
        (length,) = struct.unpack_from(">H", data, at)
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 3)
            pixels = max(pixels, height * width)
        exif += length * (bytes(data[at + 2 : at + 6]) == b"Exif")
        if exif > limits.PICTURE_EXIF_BYTES:
            raise UntrustedError(f"its EXIF data takes {exif:,} bytes: refused (save it anew)")
        scans += kind == 0xDA
        if scans * pixels > limits.PICTURE_SCANS * limits.PICTURE_PIXELS:
            raise UntrustedError(f"it goes {scans:,} times over {pixels:,} pixels: refused")
        at, segments, beside = at + length, segments + 1, beside + length
        _count(segments, "segments")
        _beside(beside)
    if not scans:
        _count(len(data) - at, "bytes after its segments")


_NUMBER = rb"(?:\s|#[^\r\n]*+[\r\n])++[^\s#]++"
_PPM = re.compile(rb"P([14]" + 2 * _NUMBER + rb"|[^14\s][^\s#]*+" + 3 * _NUMBER + rb")\s")


def _ppm(data: memoryview) -> None:
    """Limit the header's comments and blanks, which are read a byte at a time."""
    head = data[: limits.PICTURE_HEADER_BYTES]
    if len(data) > len(head) and data[1] in b"0123456fFy" and not _PPM.match(head):
        raise UntrustedError(
            f"its sizes are not in its first {limits.PICTURE_HEADER_BYTES:,} bytes: refused"
        )


def _webp(data: memoryview) -> None:
    """Limit the canvas, which the decoder copies before anything else."""
    kind, number = bytes(data[12:16]), lambda a, b: int.from_bytes(data[a:b], "little")
    sizes = {
        b"VP8X": lambda: (number(24, 27) + 1, number(27, 30) + 1),
        b"VP8L": lambda: ((number(21, 25) & 0x3FFF) + 1, (number(21, 25) >> 14 & 0x3FFF) + 1),
        b"VP8 ": lambda: (number(26, 28) & 0x3FFF, number(28, 30) & 0x3FFF),
    }
    width, height = sizes.get(kind, lambda: (0, 0))()
    most = limits.PICTURE_PIXELS // limits.WEBP_COPIES
    if len(data) > limits.WEBP_BYTES:
        raise UntrustedError(
            f"it has {len(data):,} bytes, a WEBP must have at most {limits.WEBP_BYTES:,}"
        )
    if width * height > most:
        raise UntrustedError(
            f"it has {width:,} x {height:,} pixels, a WEBP must have at most {most:,}: scale it "
            "down, or save it as PNG"
        )


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
               16: 8, 17: 8, 18: 8}  # fmt: skip
_PIECES = {273: "strips", 324: "tiles"}


def _tiff(data: memoryview) -> None:
    """Walk through the tags of the first picture."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (tags,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    _count(tags, "tags")
    layout, at, total = order + ("HHQ8x" if big else "HHI4x"), at + (8 if big else 2), 0
    for _ in range(tags):
        tag, kind, count = struct.unpack_from(layout, data, at)
        at, total = at + struct.calcsize(layout), total + count * _TIFF_SIZES.get(kind, 0)
        if tag in _PIECES:
            _count(count, _PIECES[tag])
    _beside(total)


_WALKS: dict[bytes, Callable[[memoryview], None]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"GIF8": _gif,
    b"\xff\xd8\xff": _jpeg,
    b"RIFF": _webp,
    b"P": _ppm,
    b"II": _tiff,
    b"MM": _tiff,
}
