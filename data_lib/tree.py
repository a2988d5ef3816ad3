"""The pictures under a folder, links followed, each folder entered once."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from untrusted import plain

SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png",
                      ".pnm", ".ppm", ".tif", ".tiff", ".webp"})  # fmt: skip
DEEPEST = 64
"""Largest number of folders within each other."""


def shown_path(path: os.PathLike[str] | str) -> str:
    """A path for a message: '?' replaces what a terminal cannot print."""
    return plain(os.fspath(path), 200)


@dataclass(frozen=True)
class Picture:
    """A file: its path, its folders below the root, and its size and time, to detect changes."""

    path: Path
    folders: tuple[str, ...]
    size: int
    modified: int

    @property
    def inner(self) -> str:
        """The path below the root."""
        return os.path.join(*self.folders, self.path.name)

    def below(self) -> "Picture":
        """The same picture with a path below its outermost folder."""
        return replace(self, folders=self.folders[1:])


@dataclass
class Tree:
    """The result of `walk`.

    pictures: pictures in the order of their names. folders: folders directly in the root. links:
    number of links followed. others: number of files that are not pictures, by suffix.
    """

    root: Path
    pictures: tuple[Picture, ...] = ()
    folders: list[str] = field(default_factory=list)
    links: int = 0
    others: Counter[str] = field(default_factory=Counter)


def walk(root: Path) -> Tree:
    """Everything under `root` except hidden files (whose names begin with a dot).

    Raises ValueError, with the name, for a link that leads nowhere, a folder that is reached twice
    (by a link into itself, or in two ways), a picture's name on something that is not a file, and a
    folder that cannot be read or has no pictures.
    """
    tree = Tree(root)
    found = list(_walk(root, (), tree, _above(root)))
    if not found:
        raise ValueError(
            f"data.data_dir must have pictures ({', '.join(sorted(SUFFIXES))}), {shown_path(root)} "
            "has none"
        )
    tree.pictures = tuple(sorted(found, key=lambda p: (*p.folders, p.path.name)))
    return tree


def _above(root: Path) -> dict[tuple[int, int], Path]:
    """The folders above `root`, to which a link must not lead back."""
    found = {}
    for folder in root.resolve().parents:
        status = folder.stat()
        found[status.st_dev, status.st_ino] = folder
    return found


def _walk(
    folder: Path, folders: tuple[str, ...], tree: Tree, entered: dict[tuple[int, int], Path]
) -> Iterator[Picture]:
    status = folder.stat()
    before = entered.setdefault((status.st_dev, status.st_ino), folder)
    if before != folder:
        raise ValueError(
            f"data.data_dir: {shown_path(folder)} is the folder {shown_path(before)} again, "
            "through a link: take one of them away"
        )
    if len(folders) > DEEPEST:
        raise ValueError(f"data.data_dir: {shown_path(folder)} is more than {DEEPEST} folders deep")
    for entry in _entries(folder):
        path = folder / entry.name
        mode, size, modified = _status(entry, path)
        tree.links += entry.is_symlink()
        if stat.S_ISDIR(mode):
            tree.folders += [] if folders else [entry.name]
            yield from _walk(path, (*folders, entry.name), tree, entered)
        elif path.suffix.lower() not in SUFFIXES:
            tree.others[path.suffix.lower()] += 1
        elif stat.S_ISREG(mode):
            yield Picture(path, folders, size, modified)
        else:
            raise ValueError(
                f"data.data_dir: {shown_path(path)} must be a file, it is a pipe, a socket "
                "or a device"
            )


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if e.name[0] != "."), key=lambda e: e.name)
    except OSError as error:
        raise ValueError(
            f"data.data_dir: the folder {shown_path(folder)} cannot be read: {error.strerror}"
        ) from error


def _status(entry: "os.DirEntry[str]", path: Path) -> tuple[int, int, int]:
    """(mode, size, time of change) of the target of a folder's entry."""
    try:
        status = entry.stat()
    except OSError as error:
        what = "the link" if entry.is_symlink() else "the file"
        raise ValueError(
            f"data.data_dir: {what} {shown_path(path)} leads nowhere ({error.strerror}): "
            "take it away"
        ) from error
    return status.st_mode, status.st_size, status.st_mtime_ns
