"""Decoded pictures kept in one .npz file, so that they are decoded once.

The file has the layout that `arrays` reads, and beside it a key that says from what it was made.
Its checksums are the CRC-32 that the zip format keeps for every array; they are checked when it
is read. A stale or damaged file is made anew.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_lib import arrays
from data_lib.base import Images, Log, Splits


def cached(path: Path, key: str, build: Callable[[], Splits], log: Log) -> Splits:
    """The splits in `path` if it was made for `key` and is sound, else `build()`, kept there.

    Not being able to write, for want of room or of rights, is told and does no harm.
    """
    splits = _read(path, key, log)
    if splits is None:
        splits = build()
        _write(path, key, splits, log)
    return splits


def _read(path: Path, key: str, log: Log) -> Splits | None:
    if not path.exists():
        return None
    try:
        content = arrays.read(path)
        if content.pop("key").item() != key:
            return None
        name = content.pop("name").item()
        train, test = arrays.unpack(content, path)
    except (ValueError, KeyError):
        log(f"the decoded pictures in {path} are damaged and are made anew")
        return None
    return None if test is None else Splits(train, test, name)


def _write(path: Path, key: str, splits: Splits, log: Log) -> None:
    content = {"key": np.array(key), "name": np.array(splits.name)}
    content |= _arrays("", splits.train) | _arrays("test_", splits.test)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(path, content)
    except OSError as error:
        log(f"decoded pictures are not kept for the next start: {error}")


def _write_atomically(path: Path, content: dict[str, np.ndarray]) -> None:
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **content)  # type: ignore[arg-type]
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


def _arrays(prefix: str, images: Images) -> dict[str, np.ndarray]:
    labels = {} if images.labels is None else {f"{prefix}labels": images.labels}
    return {f"{prefix}images": images.pixels} | labels
