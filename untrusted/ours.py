"""Recognition of our own files: the only ones that any command replaces or removes.

A finished file of ours says so in its content (`MARK`). An unfinished one cannot; its name does,
by a random part and a checksum that no other name has by accident. Anything else found in the
place of one of our files is moved aside under another name, never removed, and the log says so.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import secrets
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from untrusted.opening import open_regular

MARK = "written by score-sde-jax, which may replace it"
"""Text in every file of ours, as metadata of its format; in the first or last `SEARCHED` bytes."""
SEARCHED = 1 << 16
_FIELD = 0x6A73
"""Type of the zip field that holds the mark."""
LONGEST = 100
"""Characters of a file's name that the name of its temporary file repeats."""
_NAME = re.compile(r"\.(?P<of>.+)\.(?P<chance>[0-9a-f]{16})(?P<sum>[0-9a-f]{16})\.tmp", re.DOTALL)

Log = Callable[[str], None]


def is_ours(path: Path | str) -> bool:
    """True if there is a regular file at `path` that carries the mark."""
    try:
        with open_regular(path) as file:
            if MARK.encode() in file.read(SEARCHED):
                return True
            file.seek(-min(SEARCHED, os.fstat(file.fileno()).st_size), os.SEEK_END)
            return MARK.encode() in file.read(SEARCHED)
    except (OSError, ValueError):
        return False


def write_npz(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` as a .npz file, as NumPy does but with the mark.

    The mark is in a field of every entry that other readers ignore, before the content, so that
    even a truncated file has it. ValueError for Python objects.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            told = zipfile.ZipInfo(f"{name}.npy")
            told.extra = struct.pack("<HH", _FIELD, len(MARK)) + MARK.encode()
            with archive.open(told, "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def temporary(path: Path) -> Path:
    """A new name beside `path` for what is not finished yet."""
    of, chance = path.name[:LONGEST], secrets.token_hex(8)
    return path.with_name(f".{of}.{chance}{_sum(of, chance)}.tmp")


def is_temporary(path: Path) -> bool:
    """True if the path's name was given by `temporary`."""
    found = _NAME.fullmatch(path.name)
    return found is not None and _sum(found["of"], found["chance"]) == found["sum"]


def _sum(of: str, chance: str) -> str:
    return hashlib.blake2b(os.fsencode(f"{MARK} {of} {chance}"), digest_size=8).hexdigest()


def create(path: Path) -> int:
    """Create a file for writing, with the usual permissions; returns its descriptor.

    FileExistsError if anything has that name, even a link that leads nowhere.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def put_new(finished: Path, path: Path) -> None:
    """Give a finished temporary file its name; FileExistsError if anything has that name."""
    try:
        os.link(finished, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without links: reserve the name, and replace what is our own reservation.
        os.close(create(path))
        os.replace(finished, path)
    else:
        os.unlink(finished)


def is_taken(path: Path) -> bool:
    """True if there is anything at `path` but an empty folder."""
    if not os.path.lexists(path):
        return False
    return path.is_symlink() or not path.is_dir() or any(path.iterdir())


def put_new_folder(finished: Path, path: Path) -> None:
    """`put_new` of a folder, which may replace an empty folder and nothing else."""
    try:
        os.rename(finished, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and is_taken(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise


def set_aside(path: Path) -> Path:
    """Rename what is at `path` to NAME_1, NAME_2, ... with its suffix; returns the new path."""
    names = (path.with_name(f"{path.stem}_{n}{path.suffix}") for n in itertools.count(1))
    target = next(name for name in names if not os.path.lexists(name))
    path.rename(target)
    return target


def make_way(path: Path, log: Log = print) -> None:
    """Set aside and log what is at `path`, if anything is, unless it is ours."""
    if os.path.lexists(path) and not is_ours(path):
        log(f"{path} is not a file of this program: moved to {set_aside(path)}")


def remove(path: Path) -> bool:
    """Remove a file if it is ours; returns True if nothing is there now."""
    if (is_temporary(path) and _is_file(path)) or is_ours(path):
        path.unlink(missing_ok=True)
    return not os.path.lexists(path)


def remove_all(folder: Path) -> bool:
    """Remove a folder whose files are all ours and lie directly in it; True if it is gone.

    A folder that holds anything else is kept.
    """
    if not os.path.lexists(folder):
        return True
    if not stat.S_ISDIR(folder.lstat().st_mode):
        return False
    gone = [remove(path) for path in folder.iterdir()]
    if all(gone):
        folder.rmdir()
    return all(gone)


def _is_file(path: Path) -> bool:
    return os.path.lexists(path) and stat.S_ISREG(path.lstat().st_mode)
