"""Files of a workdir: writing them so that a kill leaves the old or the new one, never half of one,
and the lock that keeps a second training run out."""

import errno
import fcntl
import json
import os
import re
import stat
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from runtime_lib.processes import is_first
from untrusted import ours

Content = bytes | str | Callable[[BinaryIO], object]
ABOUT = "about"
"""Key of the mark in a JSON file of ours."""


def atomic_write(
    path: Path | str, content: Content, *, known: bool = False, log: ours.Log = print
) -> None:
    """Write a file that readers see either as it was or complete, even after a power cut.

    A file that is there and not ours (`untrusted.ours`) is set aside first, and logged. With
    several processes in a run only the first one writes.

    Args:
      path: the file; its folder exists.
      content: bytes, text (stored as UTF-8), or a function that writes to the open binary file;
        with the mark of a file of ours in it.
      known: whether the caller has checked that an existing file may be replaced.

    Raises:
      OSError: if the file cannot be written; the old one is then untouched.
    """
    if not is_first():
        return
    path = Path(path)
    temporary = ours.temporary(path)
    descriptor = ours.create(temporary)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            _put(file, content)
            file.flush()
            os.fsync(file.fileno())
        if not known:
            ours.make_way(path, log)
        if os.path.lexists(path):
            os.chmod(temporary, path.lstat().st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_temporary(folder: Path) -> None:
    """Remove the temporary files that a killed `atomic_write` has left in a folder."""
    for path in folder.glob(".*.tmp"):
        if ours.is_temporary(path):
            ours.remove(path)


def atomic_write_json(
    path: Path | str, value: dict[str, Any], *, known: bool = False, log: ours.Log = print
) -> None:
    """`atomic_write` of `value` as indented JSON with sorted keys. Raises TypeError, OSError.

    The mark of a file of ours is added to its keys, unless it is `known` without.
    """
    told = value if known else {**value, ABOUT: ours.MARK}
    text = json.dumps(told, indent=2, sort_keys=True) + "\n"
    atomic_write(path, text, known=known, log=log)


def _put(file: BinaryIO, content: Content) -> None:
    if callable(content):
        content(file)
    else:
        # A path in a report need not be text in any encoding.
        plain = content.encode(errors="backslashreplace") if isinstance(content, str) else content
        file.write(plain)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# The system's words, in an OSError or quoted by a library -> ours.
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
    """The reason why a file could not be read or written, in one short line for the user."""
    known = [error] if error.__cause__ is None else [error, error.__cause__]
    for text in map(str, known):
        for words, reason in _REASONS.items():
            if words in text:
                return reason
        if code := re.match("[A-Z_]{4,}(?=: )", text):  # tensorstore: a code, then pages of detail
            return f"the data files cannot be read ({code[0]})"
    first = next(iter(str(error).strip().splitlines()), "")
    return textwrap.shorten(f"{type(error).__name__}: {first}", 120, placeholder=" ...")


class WorkdirLockedError(RuntimeError):
    """Another training run holds the workdir; the message is one line that names its process."""


class WorkdirLock:
    """Exclusive right to train in a workdir, as a context manager.

    The kernel holds the lock (flock on `<directory>/.lock`) and releases it when the process ends
    in any way; a remaining file has no meaning. Sampling and evaluation do not take the lock. With
    several processes in one run only process 0 does.
    """

    def __init__(self, directory: Path | str):
        self.path = Path(directory) / ".lock"
        self._file: int | None = None

    def __enter__(self) -> Self:
        """Take the lock; WorkdirLockedError if another process has it, OSError if writing fails."""
        if not is_first():
            return self
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = _open_lock(self.path)
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


def _open_lock(path: Path) -> int:
    """A descriptor of the lock's file; WorkdirLockedError if something else has its name."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    foreign = f"{path} is no lock of this program: move it, or give another --workdir"
    try:
        file = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise WorkdirLockedError(foreign) from error
        raise
    if stat.S_ISREG(os.fstat(file).st_mode) and re.fullmatch(rb"\d*\n?", os.pread(file, 64, 0)):
        return file
    os.close(file)
    raise WorkdirLockedError(foreign)
