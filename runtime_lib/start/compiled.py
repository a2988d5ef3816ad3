"""Compiled programs, kept between runs: the second run of a config starts in seconds.

JAX keeps them (`jax_compilation_cache_dir`); it must be told where before it starts. Programs are
found again by what they compute and by the versions and devices they are for. The folder belongs to
the user alone, because what is in it is run.
"""

from __future__ import annotations

import os
import time
import zlib
from importlib import import_module
from pathlib import Path

FOLDER, LEAST = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
NONE = "none"
LARGEST = 8 * 2**30
"""Bytes that are kept; beyond that the oldest programs go."""


def keep_compiled_programs(asked: str) -> None:
    """In the folder `asked`; empty: the user's own, 'none': nowhere. The user's environment has the
    last word. Without effect once JAX has been imported, or where the folder cannot be written."""
    if asked == NONE or FOLDER in os.environ:
        return
    folder = Path(asked).expanduser() if asked else _own_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tidy(folder)
    except OSError:
        return
    os.environ[FOLDER] = str(folder)
    os.environ.setdefault(LEAST, "0.5")


def _own_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "score_sde" / "compiled"


def tidy(folder: Path, largest: int = LARGEST) -> None:
    """Remove what a killed process left half-written, and the oldest programs if they are too many.

    Each program is read once for that, by the first run that starts after it was written.
    Raises OSError if the folder cannot be written.
    """
    stamp, now = folder / "checked", time.time()
    since = stamp.stat().st_mtime if stamp.exists() else 0.0
    left = largest
    for entry in sorted(folder.glob("*-cache"), key=lambda e: e.stat().st_mtime, reverse=True):
        known = entry.stat()
        left -= known.st_size
        if left < 0 or (known.st_mtime >= since and not is_whole(entry.read_bytes())):
            entry.unlink(missing_ok=True)
    stamp.touch()
    os.utime(stamp, (now, now))


def is_whole(packed: bytes) -> bool:
    """Whether a file of JAX's can be unpacked: by zlib, or by zstandard where that is installed."""
    unpack = zlib.decompress
    if packed.startswith(b"\x28\xb5\x2f\xfd"):
        unpack = import_module("zstandard").ZstdDecompressor().decompress
    try:
        unpack(packed)
    except Exception:
        return False
    return True
