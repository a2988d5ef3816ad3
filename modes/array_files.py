"""Arrays that settings name: of files of NumPy's, and of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped
from PIL import ImageOps

from data_lib import pictures
from data_lib.levels import as_numbers
from untrusted import ONLY, limits, plain, read_arrays, read_bytes, read_headers
from untrusted.pictures import open_picture

Taken = Callable[[np.ndarray, str], np.ndarray]
ARRAYS = (".npy", ".npz")
"""Endings of files of arrays; others are pictures."""


def read_array(
    path: Path, setting: str, known: Sequence[str], taken: Taken = as_numbers
) -> Shaped[np.ndarray, "*d"]:
    """The array of a .npy file, or that under a name of `known`, or the only one, of a .npz file.

    taken: the array as it is wanted, of it and its name in words; ValueError for others. Raises
    ValueError, in one line that names the setting, for what cannot be read.
    """
    try:
        there = read_headers(path, named=True)
        names = [name for name in (ONLY, *known) if name in there] or list(there)
        if len(there) != 1 and names == list(there):
            raise ValueError(f"it must have an array {' or '.join(known)}")
        return taken(read_arrays(path, names[:1], named=True)[names[0]], plain(str(path)))
    except (OSError, ValueError) as error:
        raise ValueError(f"{setting} cannot be read: {_reason(error)}") from error


def names_in(path: Path) -> tuple[str, ...]:
    """Names of the arrays of a file; () for what cannot be read."""
    try:
        return tuple(read_headers(path, named=True))
    except (OSError, ValueError):
        return ()


def read_gray(path: Path, setting: str) -> Float[np.ndarray, "h w"]:
    """Gray levels of a picture, black 0 and white 1, as it lies upright; errors as `read_array`."""
    try:
        with open_picture(path, named=True) as image:
            width, height = ImageOps.exif_transpose(image).size
            return pictures.fit(image, (height, width), 1)[..., 0] / 255
    except (OSError, ValueError) as error:
        raise ValueError(f"{setting} cannot be read: {_reason(error)}") from error


def captions_of(asked: str, setting: str = "sampling.captions") -> list[str]:
    """Captions: those of a .txt file, one on each line, or of a .npz file; or the text itself.

    Raises ValueError, in one line that names the setting, for a file that cannot be read.
    """
    path = Path(asked)
    if path.suffix.lower() not in (".txt", *ARRAYS):
        return [asked]
    try:
        if is_array(path):
            found = read_array(path, setting, ("captions",), lambda array, name: array)
            if found.dtype.kind != "U" or found.ndim > 1:
                raise ValueError("its captions must be texts, one for each sample")
            lines = [str(text) for text in np.atleast_1d(found)]
        else:
            lines = read_bytes(path, limits.CAPTIONS_BYTES, named=True).decode().splitlines()
    except UnicodeError as error:
        raise ValueError(f"{setting} cannot be read: it must be text in UTF-8") from error
    except (OSError, ValueError) as error:
        told = _reason(error).removeprefix(f"{setting} cannot be read: ")
        raise ValueError(f"{setting} cannot be read: {told}") from error
    if kept := [line for line in lines if line.strip()]:
        return kept
    raise ValueError(f"{setting} must have a caption, {plain(asked)} has none")


def is_array(path: Path) -> bool:
    """True for a file of arrays by its name."""
    return path.suffix.lower() in ARRAYS


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
