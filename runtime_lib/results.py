"""Results on disk: finished parts that survive a kill, and finished results that are never lost."""

from __future__ import annotations

import itertools
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from runtime_lib.files import atomic_write, atomic_write_json
from runtime_lib.processes import by_the_first

Arrays = dict[str, np.ndarray]
Identity = dict[str, Any]
"""Settings that results depend on, for JSON: what "the same results" means."""


def npz(arrays: Arrays) -> Callable[[BinaryIO], None]:
    """What writes `arrays` as a .npz file."""
    return lambda file: np.savez(file, **arrays)  # type: ignore[arg-type]


def load_npz(path: Path) -> Arrays | None:
    """The arrays of a .npz file, None if there is none that is whole; nothing is executed."""
    try:
        # Opened here, because np.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, None if there is none that is whole."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, TypeError, ValueError):
        return None


def plain(value: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back (tuples become lists)."""
    return json.loads(json.dumps(value))


class Parts:
    """Finished parts in FOLDER/parts, of one identity: those of any other are removed."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder = folder / "parts"
        self._begin(identity)

    @by_the_first
    def _begin(self, identity: Identity) -> None:
        marker = self.folder / "identity.json"
        if read_json(marker) != plain(identity):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            atomic_write_json(marker, identity)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"

    def done(self, names: list[str]) -> int:
        """How many of `names` an earlier run finished."""
        return sum(self._path(name).exists() for name in names)

    def get(self, name: str) -> Arrays | None:
        """A finished part; None if it has to be made."""
        return load_npz(self._path(name))

    def put(self, name: str, arrays: Arrays) -> None:
        """Keep a finished part."""
        atomic_write(self._path(name), npz(arrays))

    @by_the_first
    def remove(self) -> None:
        """All parts, once the results made of them are written."""
        shutil.rmtree(self.folder)


@by_the_first
def set_aside(folder: Path, why: str | None, log: Callable[[str], None]) -> None:
    """Move FOLDER to FOLDER_1, FOLDER_2, ... if there is a reason `why` it must not be replaced."""
    if why is None:
        return
    names = (folder.with_name(f"{folder.name}_{n}") for n in itertools.count(1))
    target = next(name for name in names if not name.exists())
    folder.rename(target)
    log(f"{folder} holds {why}: they are now in {target}")


def same(report: dict[str, Any], identity: Identity) -> bool:
    """Whether a report carries `identity`."""
    return {**report, **plain(identity)} == report
