"""One file from the network, checked against its published SHA-256."""

import fcntl
import glob
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data_lib.base import Log, patient
from untrusted import ours

_CHUNK = 2**20
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Archive:
    """The address of a published file, and the SHA-256 of its content."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[-1]


def obtain(archive: Archive, data_dir: Path, log: Log) -> Path:
    """The archive in `data_dir` or its `downloads`, checked; downloaded if it is missing.

    An interrupted download is continued; only a complete and checked file gets the archive's name.
    Raises ValueError if the file cannot be obtained, or is not the published one.
    """
    downloads = data_dir / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    for folder in (data_dir, downloads):
        if (folder / archive.name).exists():
            return _checked(archive, folder / archive.name)
    return _download(archive, downloads / archive.name, log)


def _checked(archive: Archive, path: Path) -> Path:
    if (found := _sha256(path)) != archive.sha256:
        raise ValueError(
            f"{path} must have the published sha256 {archive.sha256}, it has {found}: "
            "delete it to download it again"
        )
    return path


def _download(archive: Archive, path: Path, log: Log) -> Path:
    part = _begun(path) or ours.temporary(path)
    log(f"downloading {archive.url} to {path}")
    by_hand = f"put {archive.name} into {path.parent.parent} by hand"
    try:
        _fetch(archive.url, part, log)
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as e:
        raise ValueError(
            f"{archive.url} could not be downloaded ({e}): run again to go on, or {by_hand}"
        ) from e
    if (found := _sha256(part)) != archive.sha256:
        ours.remove(part)
        raise ValueError(
            f"{archive.url} must have the published sha256 {archive.sha256}, what came has "
            f"{found} and is deleted: try again, or {by_hand}"
        )
    ours.put_new(part, path)
    return path


def _begun(path: Path) -> Path | None:
    """The partial file of an earlier download, or None."""
    found = path.parent.glob(f".{glob.escape(path.name)}.*.tmp")
    return next((part for part in sorted(found) if ours.is_temporary(part)), None)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(url: str, part: Path, log: Log) -> None:
    tell = patient(log)
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it is there
        raise
    with response:
        goes_on = response.status == http.HTTPStatus.PARTIAL_CONTENT
        have = have if goes_on else 0
        total = have + int(response.headers["Content-Length"] or 0)
        with part.open("ab" if goes_on else "wb") as file:
            for chunk in iter(lambda: response.read(_CHUNK), b""):
                have += file.write(chunk)
                tell(f"downloaded {have / 2**20:.0f} of {total / 2**20:.0f} MiB")
    if have < total:
        raise http.client.IncompleteRead(b"", total - have)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Lock so that processes with the same `path` take turns; released if a process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "r") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
