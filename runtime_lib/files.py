"""Files of a workdir: writing them so that a kill leaves the old or the new one, never half of one,
and the lock that keeps a second training run out."""

import fcntl
import json
import os
import re
import tempfile
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from runtime_lib.processes import is_first

Content = bytes | str | Callable[[BinaryIO], object]


def atomic_write(path: Path | str, content: Content) -> None:
    """Writes a file that readers see either as it was or complete, even after a power cut.

    Of several processes of one run the first writes it.

    Args:
      path: the file; its folder exists.
      content: bytes, text (stored as UTF-8), or a function that writes to the open binary file.

    Raises:
      OSError: if the file cannot be written; the old one is then untouched.
    """
    if not is_first():
        return
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            _put(file, content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(path))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_temporary(folder: Path) -> None:
    """Removes what `atomic_write` has left in a folder when it was killed."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def atomic_write_json(path: Path | str, value: Any) -> None:
    """`atomic_write` of `value` as indented JSON with sorted keys. Raises TypeError, OSError."""
    atomic_write(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def _put(file: BinaryIO, content: Content) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content.encode() if isinstance(content, str) else content)


def _mode(path: Path) -> int:
    # mkstemp makes files that only their owner can read: give what open() would have given.
    if path.exists():
        return path.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# What the system calls it, in the words of an OSError or of a library that quotes one.
_REASONS = {
    "No space left": "the disk is full: free some space",
    "Disk quota exceeded": "your disk quota is used up: free some space",
    "File too large": "the file would exceed the size allowed here: raise the limit (ulimit -f)",
    "Read-only file system": "the file system is read-only",
    "Permission denied": "permission denied",
    "Not a directory": "part of the path is a file and not a directory",
    "Input/output error": "the disk reports an input/output error",
}


def plain_reason(error: BaseException) -> str:
    """Why a file could not be read or written, in one short line for the user."""
    text = str(error)
    for words, reason in _REASONS.items():
        if words in text:
            return reason
    if code := re.match("[A-Z_]{4,}(?=: )", text):  # tensorstore: a code, then pages of detail
        return f"the data files cannot be read ({code[0]})"
    first = next(iter(text.strip().splitlines()), "")
    return textwrap.shorten(f"{type(error).__name__}: {first}", 120, placeholder=" ...")


class WorkdirLockedError(RuntimeError):
    """Another training run holds the workdir; the message is one line that names its process."""


class WorkdirLock:
    """Exclusive right to train in a workdir, as a context manager.

    The kernel holds the lock (flock on `<directory>/.lock`), so it ends with the process however
    that ends; a file left behind means nothing. Sampling and evaluation do not take it. With
    several processes in one run only process 0 does.
    """

    def __init__(self, directory: Path | str):
        self.path = Path(directory) / ".lock"
        self._file: int | None = None

    def __enter__(self) -> Self:
        """Raises WorkdirLockedError if another process trains here, OSError if it cannot write."""
        if not is_first():
            return self
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(file, 64).decode(errors="replace").strip()
            os.close(file)
            raise WorkdirLockedError(
                f"another training run (process {owner or 'unknown'}) is using "
                f"{self.path.parent}: wait for it, stop it, or give another --workdir"
            ) from None
        except OSError as error:
            # Some network file systems have no locks; that must not keep anyone from training.
            warnings.warn(
                f"{self.path.parent} is not protected against a second training run: {error}",
                stacklevel=2,
            )
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
