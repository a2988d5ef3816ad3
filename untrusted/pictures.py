"""Pictures from strangers: only the formats of `limits.PICTURE_FORMATS`, of limited size.

A picture's header gives its size before anything is decoded. Left to choose a decoder by itself,
Pillow would start Ghostscript for an EPS, whatever its name.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

# Named one by one, so that no other decoder is ever loaded.
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from untrusted import limits
from untrusted.errors import UntrustedError, plain
from untrusted.opening import open_regular
from untrusted.picture_blocks import check

DECODERS = (BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, PpmImagePlugin,
            TiffImagePlugin, WebPImagePlugin)  # fmt: skip
# Warning filters belong to the process and cannot be set for one thread. Pillow's warnings of
# unsound metadata do not concern pixels.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class _Room:
    """A count of the pixels that all threads together may decode at a time."""

    def __init__(self, most: int):
        self._left, self._changed = most, threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until so many pixels may be decoded."""
        with self._changed:
            self._changed.wait_for(lambda: self._left >= pixels)
            self._left -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._left += pixels
                self._changed.notify_all()


_ROOM = _Room(limits.PICTURE_PIXELS)
_COPIES = {"WEBP": limits.WEBP_COPIES}


@contextmanager
def open_picture(path: Path | str, *, named: bool = False) -> Iterator[Image.Image]:
    """The decoded picture; of an animated one the first frame.

    Threads wait for each other where their pictures together exceed the largest single one allowed:
    a thread must hold one at a time.

    Raises:
      UntrustedError: not a regular file, of another format, damaged, or too large.
      OSError: there is no such file, or it cannot be read.
    """
    with open_regular(path, named=named) as file:
        with _about(path):
            image = _opened(file)
        with _ROOM.taken(math.prod(image.size) * _COPIES.get(image.format or "", 1)), image:
            with _about(path):
                image.load()
                image.getexif()  # which is kept, so that turning a picture by it cannot fail
            yield image


@contextmanager
def _about(path: Path | str) -> Iterator[None]:
    """Turn the decoder's error, which may be of any type for damaged bytes, into a refusal."""
    try:
        yield
    except UntrustedError as error:
        raise UntrustedError(f"{plain(os.fspath(path), 200)}: {error}") from error
    except Exception as error:
        raise UntrustedError(f"{plain(os.fspath(path), 200)}: {_reason(error)}") from error


def _opened(file: BufferedReader) -> Image.Image:
    """The picture, of checked size, not decoded yet."""
    size = os.fstat(file.fileno()).st_size
    if not 0 < size <= limits.PICTURE_BYTES:
        raise UntrustedError(
            f"it has {size:,} bytes, must have some and at most {limits.PICTURE_BYTES:,}"
        )
    check(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    image = Image.open(file, formats=limits.PICTURE_FORMATS)
    width, height = image.size
    borne_out = max(limits.PICTURE_SMALL, limits.PICTURE_TIMES * size)
    most = min(limits.PICTURE_PIXELS, borne_out)
    if width * height > most:
        raise UntrustedError(
            f"it has {width:,} x {height:,} pixels, must have at most {most:,} in {size:,} bytes: "
            "scale it down"
        )
    if len(image.info.get("exif", b"")) > limits.PICTURE_EXIF_BYTES:
        raise UntrustedError("its EXIF data is beyond any camera's: refused (save it anew)")
    return image


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it must have at most {limits.PICTURE_PIXELS:,} pixels: scale it down"
    if isinstance(error, Image.UnidentifiedImageError):
        return f"not a picture (of {', '.join(limits.PICTURE_FORMATS)})"
    first = next(iter(str(error).splitlines()), "")
    return f"damaged ({plain(first or type(error).__name__, 120)})"
