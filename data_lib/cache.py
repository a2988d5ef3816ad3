"""Decoded pictures kept in one .npz file, so that they are decoded only once.

The file also has the pictures' labels, captions and hashes, and a key that identifies its source.
Its checksums are the CRC-32 that the zip format keeps for every array; they are checked when it is
read. A stale or damaged file is made anew.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from data_lib.base import Images, Log, Splits
from untrusted import ours, plain, read_arrays

_FORMAT = 2
"""Version of the file's layout; a file of another version is stale."""
_LEVELS = 256


def cached(path: Path, key: str, build: Callable[[], Splits], log: Log) -> Splits:
    """The splits in `path` if it was made for `key` and is sound, else those of `build()`, stored.

    If the file cannot be written, for lack of space or permission, that is logged and harmless.
    """
    key = f"{_FORMAT} {key}"
    splits = _read(path, key, log)
    if splits is None:
        splits = build()
        _write(path, key, splits, log)
    return splits


def _read(path: Path, key: str, log: Log) -> Splits | None:
    if not path.exists():
        return None
    try:
        if read_arrays(path, ["key"])["key"].item() != key:
            return None
        content = read_arrays(path)
        train, test = _images(content, ""), _images(content, "test_")
        return Splits(train, test, plain(content["name"].item()))
    except (OSError, ValueError, KeyError):
        log(f"the decoded pictures in {path} are damaged and are made anew")
        return None


def _images(content: Mapping[str, np.ndarray], prefix: str) -> Images:
    """A split from the file; ValueError or KeyError for content that `_arrays` did not make."""
    pixels, labels = content[f"{prefix}images"], content.get(f"{prefix}labels")
    digests, captions = content.get(f"{prefix}digests"), content.get(f"{prefix}captions")
    expected = [(labels, np.int32), (digests, np.uint64)]
    found = [(array, kind) for array, kind in expected if array is not None]
    if pixels.dtype != np.uint8 or pixels.ndim != 4:
        raise ValueError("its pictures are none")
    if any(array.dtype != kind or array.shape != pixels.shape[:1] for array, kind in found):
        raise ValueError("its labels or hashes are none")
    if captions is not None and (captions.dtype.kind != "U" or captions.shape != pixels.shape[:1]):
        raise ValueError("its captions are none")
    unlabelled = plain(content["unlabelled"].item(), 400)
    return Images(pixels, labels, _LEVELS, digests, unlabelled, captions=captions)


def _write(path: Path, key: str, splits: Splits, log: Log) -> None:
    content = {"key": np.array(key), "name": np.array(splits.name)}
    content["unlabelled"] = np.array(splits.train.unlabelled)
    content |= _arrays("", splits.train) | _arrays("test_", splits.test)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(path, content, log)
    except OSError as error:
        log(f"decoded pictures are not kept for the next start: {error}")


def _write_atomically(path: Path, content: dict[str, np.ndarray], log: Log) -> None:
    part = ours.temporary(path)
    handle = ours.create(part)
    try:
        with os.fdopen(handle, "w+b") as file:
            ours.write_npz(file, content)
        ours.make_way(path, log)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _arrays(prefix: str, images: Images) -> dict[str, np.ndarray]:
    found = {name: getattr(images, name) for name in ("labels", "digests", "captions")}
    found["images"] = images.pixels
    return {f"{prefix}{name}": array for name, array in found.items() if array is not None}
