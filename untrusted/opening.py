"""Opening of paths that may be anything: only regular files are opened, without waiting.

Opening a named pipe, a socket or a device in place of a file would wait for it or act on it, and
a symbolic link in a stranger's folder may lead to a file of the user's. So a path is inspected
first (lstat), opened without following a link and without waiting, and the opened file inspected
again (fstat), so that nothing can be exchanged between the two.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import stat
from io import BufferedReader
from pathlib import Path

from untrusted import limits
from untrusted.errors import UntrustedError, plain

_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_BLOB = re.compile(r"(?P<up>(\.\./)+)blobs/(?P<hash>[0-9a-f]{40}|[0-9a-f]{64})")


def open_regular(path: Path | str, *, named: bool = False) -> BufferedReader:
    """A regular file, opened to be read.

    Args:
      path: the file.
      named: whether the user typed the path. Then a symbolic link is followed, to a regular file.
        A file in a folder must not be a link, but for the layout of the Hugging Face hub's cache:
        `snapshots/REVISION/.../FILE -> ../../blobs/HASH`, a regular file there.

    Raises:
      UntrustedError: it is anything but a regular file.
      OSError: there is none, or it cannot be opened.
    """
    path = _text(path)
    actual = check_regular(path, named=named)
    try:
        descriptor = os.open(actual, _OPEN | (0 if named else os.O_NOFOLLOW))
    except OSError as error:
        # A link, or a socket, that took its place since.
        check_regular(path, named=named)
        raise error
    try:
        _require_regular(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def check_regular(path: Path | str, *, named: bool = False) -> str:
    """The path to open for a regular file, which nothing has opened yet; see `open_regular`."""
    path = _text(path)
    if named:
        _require_regular(os.stat(path), path)
        return path
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode) and (blob := _hub_blob(path)):
        path, found = blob, os.lstat(blob)
    _require_regular(found, path)
    return path


def is_regular(path: Path | str, *, named: bool = False) -> bool:
    """True if `open_regular` would open the path."""
    try:
        check_regular(path, named=named)
    except (UntrustedError, OSError):
        return False
    return True


def check_folder(path: Path | str) -> None:
    """Raise UntrustedError for a folder within a stranger's folder that is a link or no folder.

    OSError if there is none.
    """
    mode = os.lstat(_text(path)).st_mode
    if not stat.S_ISDIR(mode):
        raise UntrustedError(f"{plain(_text(path), 200)} must be a folder, it is {_kind(mode)}")


def read_bytes(path: Path | str, most: int, *, named: bool = False) -> bytes:
    """All of a regular file of at most `most` bytes; see `open_regular`."""
    with open_regular(path, named=named) as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > most else file.read(most + 1)
    if max(size, len(content)) > most:
        name = plain(os.path.basename(_text(path)))
        raise UntrustedError(f"{name} must have at most {most:,} bytes, it has {size:,}: refused")
    return content


def sha256(path: Path | str, *, named: bool = False) -> str:
    """The SHA-256 of a regular file in hexadecimal; see `open_regular`."""
    with open_regular(path, named=named) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limits.HASHED_BYTES:
            name = plain(os.path.basename(_text(path)))
            raise UntrustedError(
                f"{name} must have at most {limits.HASHED_BYTES:,} bytes, it has {size:,}: refused"
            )
        return hashlib.file_digest(file, "sha256").hexdigest()


def map_regular(path: Path | str, *, named: bool = False) -> memoryview:
    """The bytes of a regular file, mapped: only those that are used are read.

    UntrustedError for an empty one; see `open_regular`.
    """
    with open_regular(path, named=named) as file:
        if not os.fstat(file.fileno()).st_size:
            raise UntrustedError(f"{plain(os.path.basename(_text(path)))} is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _text(path: Path | str) -> str:
    text = os.fspath(path)
    if "\0" in text:
        raise UntrustedError(f"{plain(text)} has a character that no path has")
    return text


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "something else")


def _require_regular(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        remedy = " (put the file itself there)" if stat.S_ISLNK(found.st_mode) else ""
        raise UntrustedError(
            f"{plain(path, 200)} must be a regular file, it is {_kind(found.st_mode)}: refused"
            f"{remedy}"
        )


def _hub_blob(link: str) -> str | None:
    """The file to which a link in the layout of the hub's cache leads; None for any other link."""
    target = _BLOB.fullmatch(os.readlink(link))
    folder = os.path.realpath(os.path.dirname(link) or ".")
    if not target:
        return None
    above = target["up"].count("/")
    parts = Path(folder).parts
    if above < 2 or len(parts) <= above or parts[-above] != "snapshots":
        return None
    blobs = os.path.join(*parts[:-above], "blobs")
    if not stat.S_ISDIR(os.lstat(blobs).st_mode):
        return None
    return os.path.join(blobs, target["hash"])
