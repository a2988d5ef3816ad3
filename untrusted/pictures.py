"""Pictures from strangers: the formats of `limits.PICTURE_FORMATS` alone, and none too large.

A picture's header says its size before anything is decoded. Pillow, asked to open anything, would
start Ghostscript for an EPS, whatever its name.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

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

DECODERS = (BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, PpmImagePlugin,
            TiffImagePlugin, WebPImagePlugin)  # fmt: skip
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class _Room:
    """Pixels that may be decoded at the same time, by all threads together."""

    def __init__(self, most: int):
        self._left, self._changed = most, threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for that many."""
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


@contextmanager
def open_picture(path: Path | str, *, named: bool = False) -> Iterator[Image.Image]:
    """A picture, decoded; of an animated one the first frame.

    What is inside of the `with` may take its time: pictures that are larger together than the
    largest single one that is allowed wait for each other.

    Raises:
      UntrustedError: it is no regular file, of another format, damaged, or too large.
      OSError: there is none, or it cannot be read.
    """
    with open_regular(path, named=named) as file:
        try:
            image = _opened(file)
            width, height = image.size
            if width * height > limits.PICTURE_PIXELS:
                raise UntrustedError(
                    f"it has {width:,} x {height:,} pixels, must have at most "
                    f"{limits.PICTURE_PIXELS:,}: scale it down"
                )
        except UntrustedError as error:
            raise UntrustedError(f"{plain(os.fspath(path), 200)}: {error}") from error
        with _ROOM.taken(width * height), image:
            try:
                image.load()
            except Exception as error:  # a decoder fed with damaged bytes may raise anything
                raise UntrustedError(f"{plain(os.fspath(path), 200)}: {_reason(error)}") from error
            yield image


def _opened(file: BinaryIO) -> Image.Image:
    size = os.fstat(file.fileno()).st_size
    if size > limits.PICTURE_BYTES:
        raise UntrustedError(
            f"it has {size:,} bytes, must have at most {limits.PICTURE_BYTES:,}: scale it down"
        )
    try:
        return Image.open(file, formats=limits.PICTURE_FORMATS)
    except Exception as error:
        raise UntrustedError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return f"not a picture (of {', '.join(limits.PICTURE_FORMATS)})"
    first = next(iter(str(error).splitlines()), "")
    return f"damaged ({plain(first or type(error).__name__, 120)})"
