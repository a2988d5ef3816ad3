"""Captions of pictures in a folder.

    PHOTOS/1.png, PHOTOS/1.txt             a text beside each picture
    PHOTOS/metadata.jsonl                  a line for each: {"file_name": "1.png", "text": "..."}

The lines name files from where metadata.jsonl lies, in the folder of the picture or above it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from data_lib.base import Log
from data_lib.tree import shown_path
from untrusted import UntrustedError, limits, parse_json, plain, read_bytes

LISTED = "metadata.jsonl"
Lines = dict[str, str]
TEXTS = ("text", "caption")
"""Names, in a line, of what is said of its file."""


def of_pictures(root: Path, paths: Sequence[Path], log: Log) -> Shaped[np.ndarray, " n"] | None:
    """The caption of each picture under `root`; None unless all have one, with a remark if some do.

    Raises ValueError for a file of captions that cannot be read.
    """
    listed = cache(_listed)
    try:
        found = [_caption(root, path, listed) for path in paths]
    except (OSError, UntrustedError) as error:
        raise ValueError(f"data.data_dir: captions cannot be read: {error}") from error
    without = [path for path, text in zip(paths, found, strict=True) if text is None]
    if without:
        if len(without) < len(paths):
            log(f"captions are not used: {len(without):,} of {len(paths):,} pictures have none, "
                f"{shown_path(without[0])} first")  # fmt: skip
        return None
    return np.asarray(found)


def _caption(root: Path, path: Path, listed: Callable[[Path], Lines | None]) -> str | None:
    text = path.with_suffix(".txt")
    if text.is_file():
        return _decoded(text).strip()
    for folder in path.parents:
        if (lines := listed(folder)) is not None:
            return lines.get(path.relative_to(folder).as_posix())
        if folder == root:
            break
    return None


def _listed(folder: Path) -> Lines | None:
    """{file: caption} of the folder's list; None if it has none."""
    path = folder / LISTED
    if not path.is_file():
        return None
    return dict(_lines(path))


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_decoded(path).splitlines(), start=1):
        if not line.strip():
            continue
        said = parse_json(line)
        name = said.get("file_name")
        text = next((said[key] for key in TEXTS if isinstance(said.get(key), str)), None)
        if not isinstance(name, str):
            raise UntrustedError(f"{plain(path.name)}, line {number}: it must have a file_name")
        if text is not None:
            yield name, text


def _decoded(path: Path) -> str:
    try:
        return read_bytes(path, limits.CAPTIONS_BYTES, named=True).decode()
    except UnicodeError as error:
        raise UntrustedError(f"{plain(path.name)} must be text in UTF-8") from error
