"""Zip files from strangers: where their entries lie in the file, without unpacking any.

The directory at the end is believed only if the file confirms it: every entry lies within the
file, apart from the others, under the name that its own header has. `zipfile` reads a directory
of any length, and neither looks for overlapping entries nor says where one lies.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from untrusted import limits
from untrusted.errors import UntrustedError, plain

STORED, DEFLATED = 0, 8
_END, _END_64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_COMMENT, _ENTRY_BYTES, _LOCAL_BYTES = 0xFFFF, 46, 30
_ENCRYPTED, _UTF8 = 0x1, 0x800
_UNSAID = {16: 0xFFFF, 32: 0xFFFFFFFF}


@dataclass(frozen=True)
class ZipEntry:
    """An entry of a zip.

    Attributes:
      name: its name in the directory.
      packed: its bytes in the file.
      size: its unpacked size in bytes.
      crc: checksum of the unpacked bytes.
      method: STORED, DEFLATED or another.
      encrypted: whether it needs a password.
    """

    name: str
    packed: memoryview
    size: int
    crc: int
    method: int
    encrypted: bool

    def check(self) -> None:
        """Raise UntrustedError if the checksum of a stored entry is wrong."""
        if checksum(self.packed) != self.crc:
            raise UntrustedError(
                f"entry {plain(self.name)} of the zip is damaged (its CRC differs): fetch it again"
            )

    def unpacked(self) -> Iterator[bytes | memoryview]:
        """The unpacked content, a piece at a time.

        Raises:
          UntrustedError: encrypted, of another method, of another size than declared, or damaged,
            which the checksum tells after the last piece.
        """
        name = plain(self.name)
        if self.encrypted:
            raise UntrustedError(f"entry {name} of the zip is encrypted: refused")
        if self.method not in (STORED, DEFLATED):
            raise UntrustedError(
                f"entry {name} of the zip is compressed by method {self.method}, which is none of "
                "NumPy's: refused"
            )
        crc = done = 0
        for piece in _pieces(self.packed) if self.method == STORED else self._inflated():
            crc, done = zlib.crc32(piece, crc), done + len(piece)
            if done > self.size:
                break
            yield piece
        if (crc, done) != (self.crc, self.size):
            raise UntrustedError(
                f"entry {name} of the zip is damaged (its CRC or length differs): fetch it again"
            )

    def _inflated(self) -> Iterator[bytes]:
        inflate, rest = zlib.decompressobj(-zlib.MAX_WBITS), b""
        # A caller that needs only the start should not wait for more.
        most = 4 * limits.ARRAY_HEADER_BYTES
        try:
            for piece in _pieces(self.packed):
                rest = bytes(piece)
                while rest or inflate.unconsumed_tail:
                    if made := inflate.decompress(rest, most):
                        yield made
                    most = limits.CHUNK_BYTES
                    rest = inflate.unconsumed_tail
                    if inflate.eof or not (made or rest):
                        break
        except zlib.error as error:
            raise UntrustedError(f"entry {plain(self.name)} of the zip is damaged") from error


def checksum(data: memoryview) -> int:
    """CRC-32; pages of a mapped file are released again."""
    crc = 0
    for piece in _pieces(data):
        crc = zlib.crc32(piece, crc)
    return crc


def _pieces(data: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(data), limits.CHUNK_BYTES):
        yield data[start : start + limits.CHUNK_BYTES]
        if isinstance(data.obj, mmap.mmap):
            # What was read stays in the system's cache.
            data.obj.madvise(mmap.MADV_DONTNEED)


def entries(data: memoryview) -> dict[str, ZipEntry]:
    """The entries of a zip file, given its bytes, by name.

    Raises:
      UntrustedError: the directory is damaged, forged or too large, has a name twice, or one that
        leads out of the archive.
    """
    try:
        start, size, count = _directory(data)
        found = list(_listed(data[start : start + size], count))
    except struct.error as error:
        raise UntrustedError("its zip directory is damaged or cut off") from error
    _check_apart(data, found, start)
    named: dict[str, ZipEntry] = {}
    for entry, at, length in found:
        if entry.name in named:
            raise UntrustedError(f"its zip has the entry {plain(entry.name)} twice: refused")
        named[entry.name] = _placed(data, entry, at, length, start)
    return named


def _directory(data: memoryview) -> tuple[int, int, int]:
    """(start, length, number of entries) of the directory."""
    tail_at = max(0, len(data) - _COMMENT - 22)
    tail = bytes(data[tail_at:])
    at = tail.rfind(_END)
    if at < 0:
        raise UntrustedError("it is damaged or cut off: its zip has no directory")
    disk, first, here, count, size, start, comment = struct.unpack_from("<4H2LH", tail, at + 4)
    end = tail_at + at
    if at >= 20 and tail[at - 20 : at - 16] == _LOCATOR:
        (record,) = struct.unpack_from("<Q", tail, at - 12)
        if bytes(data[record : record + 4]) != _END_64 or record + 56 + 20 > end:
            raise UntrustedError("its zip directory is damaged (zip64)")
        disk, first, here, count, size, start = struct.unpack_from("<2L4Q", data, record + 16)
        end = record
    if disk or first or here != count or len(tail) != at + 22 + comment or start + size != end:
        raise UntrustedError("its zip directory is not where it must be: damaged or forged")
    if count > limits.ZIP_ENTRIES or size > limits.ZIP_DIRECTORY_BYTES:
        raise UntrustedError(
            f"its zip has {count:,} entries in a directory of {size:,} bytes, must have at most "
            f"{limits.ZIP_ENTRIES:,} in {limits.ZIP_DIRECTORY_BYTES:,}: refused"
        )
    return start, size, count


_Found = tuple[ZipEntry, int, int]
"""(entry without its bytes, offset of its header, number of its packed bytes)."""


def _listed(directory: memoryview, count: int) -> Iterator[_Found]:
    at = 0
    for _ in range(count):
        if directory[at : at + 4] != _ENTRY:
            raise UntrustedError("its zip directory is damaged or cut off")
        flags, method, crc, packed, size, name, extra, comment, disk, where = struct.unpack_from(
            "<8xHH4xLLLHHHH6xL", directory, at
        )
        body = directory[at + _ENTRY_BYTES : at + _ENTRY_BYTES + name + extra]
        if len(body) < name + extra or disk not in (0, _UNSAID[16]):
            raise UntrustedError("its zip directory is damaged or cut off")
        size, packed, where = _wide(body[name:], size, packed, where)
        text = str(body[:name], "utf-8" if flags & _UTF8 else "latin1", "replace")
        if text.startswith("/") or "\\" in text or ".." in PurePosixPath(text).parts:
            raise UntrustedError(f"an entry of its zip is named {plain(text)}: refused")
        encrypted = bool(flags & _ENCRYPTED)
        yield ZipEntry(text, body[:0], size, crc, method, encrypted), where, packed
        at += _ENTRY_BYTES + name + extra + comment
    if at != len(directory):
        raise UntrustedError("its zip directory is damaged or cut off")


def _wide(extra: memoryview, *numbers: int) -> list[int]:
    """Sizes and offset, from the zip64 field where 32 bits are too few."""
    at = 0
    wide: memoryview = extra[:0]
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wide = extra[at + 4 : at + 4 + length]
            break
        at += 4 + length
    left = iter(struct.unpack(f"<{len(wide) // 8}Q", wide[: len(wide) // 8 * 8]))
    found = [next(left, -1) if number == _UNSAID[32] else number for number in numbers]
    if min(found) < 0:
        raise UntrustedError("its zip directory is damaged (zip64)")
    return found


def _check_apart(data: memoryview, found: list[_Found], end: int) -> None:
    places = sorted((at, length) for _, at, length in found)
    for (at, length), after in zip(places, [*(at for at, _ in places[1:]), end], strict=True):
        if at + _LOCAL_BYTES + length > after:
            raise UntrustedError(
                "its zip has entries that reach beyond the file or into each other: truncated or "
                "forged"
            )


def _placed(data: memoryview, entry: ZipEntry, at: int, length: int, end: int) -> ZipEntry:
    if data[at : at + 4] != _LOCAL:
        raise UntrustedError("its zip directory points to nowhere: damaged or forged")
    name, extra = struct.unpack_from("<HH", data, at + 26)
    start = at + _LOCAL_BYTES
    (flags,) = struct.unpack_from("<H", data, at + 6)
    told = str(data[start : start + name], "utf-8" if flags & _UTF8 else "latin1", "replace")
    start += name + extra
    if told != entry.name or start + length > end:
        raise UntrustedError(
            f"entry {plain(entry.name)} of its zip is not where its directory says: truncated or "
            "forged"
        )
    packed = data[start : start + length]
    return ZipEntry(entry.name, packed, entry.size, entry.crc, entry.method, entry.encrypted)
