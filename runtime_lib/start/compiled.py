"""Compiled programs, kept between runs: the second run of a config starts in seconds.

JAX keeps them (`jax_compilation_cache_dir`); it must be told where before it starts. Programs are
found again by what they compute and by the versions and devices they are for. They lie in a folder
of their own that says so, which belongs to the user alone, because what is in it is run.
"""

from __future__ import annotations

import os
import re
import stat
import time
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from untrusted import ours

FOLDER, LEAST = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
NONE = "none"
PROGRAMS, ABOUT = "score_sde_programs", "about.txt"
"""Our folder within the one that is asked for, and the file by which it is known."""
TEXT = f"Programs that JAX compiled for score-sde-jax; this file was {ours.MARK}.\n"
NAME = re.compile(r"[^/]+-[0-9a-f]{64}-cache")
"""File names that JAX gives to programs."""
ZSTD = b"\x28\xb5\x2f\xfd"
LARGEST = 8 * 2**30
"""Bytes that are kept; beyond that the oldest programs go."""


def keep_compiled_programs(asked: str, log: ours.Log = print) -> None:
    """Keep programs in the folder `asked`; empty: the user's own, 'none': nowhere.

    The user's environment has the last word. Without effect once JAX has been imported; where they
    cannot be kept, `log` is told why if a folder was asked for.
    """
    if asked == NONE or FOLDER in os.environ:
        return
    folder = (Path(asked).expanduser() if asked else _own_folder()) / PROGRAMS
    try:
        why = _claim(folder)
        if not why:
            tidy(folder)
    except OSError as error:
        why = error.strerror or str(error)
    if not why:
        os.environ[FOLDER] = str(folder)
        os.environ.setdefault(LEAST, "0.5")
    elif asked:
        log(f"compiled programs are not kept in {folder}: {why}")


def _claim(folder: Path) -> str:
    """The reason why the folder is not ours alone; "" if it is, now at least.

    OSError if it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found, about = folder.lstat(), folder / ABOUT
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        return "others than you may write there"
    if not os.path.lexists(about) and all(map(ours.is_temporary, folder.iterdir())):
        _write(about)
    return "" if ours.is_ours(about) else "it has files that are not of this program"


def _write(about: Path) -> None:
    temporary = ours.temporary(about)
    with os.fdopen(ours.create(temporary), "w") as file:
        file.write(TEXT)
    try:
        ours.put_new(temporary, about)
    except FileExistsError:  # another process was quicker
        temporary.unlink()


def _own_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "score_sde" / "compiled"


def tidy(folder: Path, largest: int = LARGEST) -> None:
    """Remove what a killed process left half-written, and the oldest programs if they are too many.

    Each program is read once for that, by the first run that starts after it was written. What is
    no program by its name and its content stays.
    Raises OSError if the folder cannot be written.
    """
    about, now = folder / ABOUT, time.time()
    since, left = about.stat().st_mtime, largest
    for entry, found in sorted(_programs(folder), key=lambda e: e[1].st_mtime, reverse=True):
        left -= found.st_size
        if left >= 0 and found.st_mtime < since:
            continue
        kind = state(entry.read_bytes())
        if kind == CUT or (kind == WHOLE and left < 0):
            entry.unlink(missing_ok=True)
    os.utime(about, (now, now))


def _programs(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Regular files of JAX's names."""
    for entry in folder.iterdir():
        found = entry.lstat()
        if NAME.fullmatch(entry.name) and stat.S_ISREG(found.st_mode):
            yield entry, found


WHOLE, CUT, OTHER = "whole", "cut off", "no program"


def state(packed: bytes) -> str:
    """Kind of a file by its content; JAX compresses programs, by zstandard where that is there."""
    try:
        unpack: Any = zlib.decompressobj()
        if packed.startswith(ZSTD):
            unpack = import_module("zstandard").ZstdDecompressor().decompressobj()
        unpack.decompress(packed)
        if unpack.unused_data:
            return OTHER
        return WHOLE if unpack.eof else CUT
    except Exception:  # of a library that may not even be there
        return OTHER
