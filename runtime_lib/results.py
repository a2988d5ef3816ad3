"""Results on disk: finished parts that survive a kill, and finished results that are never lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

import untrusted
from data_lib.base import patient
from runtime_lib.files import ABOUT, Content, atomic_write, atomic_write_json
from runtime_lib.processes import by_the_first
from untrusted import limits, ours, read_arrays

LARGEST_JSON = 64 * limits.MIB
"""Bytes of a report; one of many models, each with its settings, may take a few MiB."""
Arrays = dict[str, np.ndarray]
Identity = dict[str, Any]
"""Settings that results depend on, for JSON: results of equal identities are the same results."""


Shapes = Mapping[str, tuple[int | None, ...]]
"""Shapes of arrays by name; None for an axis of any length."""


def npz(arrays: Arrays) -> Callable[[BinaryIO], None]:
    """A function that writes `arrays` as a .npz file of ours."""
    return lambda file: ours.write_npz(file, arrays)


def marked(page: str) -> str:
    """A page in Markdown with the mark of a file of ours, invisible to readers."""
    return f"{page}\n<!-- {ours.MARK} -->\n"


def load_npz(path: Path) -> Arrays | None:
    """The arrays of a .npz file of ours; None if there is none, or it is not whole."""
    try:
        return read_arrays(path) if ours.is_ours(path) else None
    except (OSError, ValueError):
        return None


def read_own_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file of ours: None if there is none, {} if it cannot be read."""
    try:
        found = untrusted.read_json(path, LARGEST_JSON)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in found.items() if name != ABOUT}


def fits(arrays: Arrays, shapes: Shapes) -> bool:
    """True if all of these arrays are there, of numbers and of these shapes."""
    kinds = {name: array.dtype.kind for name, array in arrays.items()}
    sizes = {name: array.shape for name, array in arrays.items()}
    return all(
        kinds.get(name, "") in tuple("biuf")
        and len(sizes[name]) == len(shape)
        and all(n in (None, m) for n, m in zip(shape, sizes[name], strict=True))
        for name, shape in shapes.items()
    )


def as_json(value: dict[str, Any]) -> dict[str, Any]:
    """The value after a round trip through JSON (tuples become lists)."""
    return json.loads(json.dumps(value))


def short(identity: Identity) -> str:
    """A short name of an identity: 12 hexadecimal digits of its hash."""
    text = json.dumps(as_json(identity), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Part(NamedTuple):
    """A part to be made: its name, the shapes of its arrays, and the function that makes it."""

    name: str
    shapes: Shapes
    make: Callable[[], Arrays]


class Parts:
    """Finished parts of one identity in FOLDER/parts; parts of any other identity are removed.

    A folder of that name that holds anything not ours is moved aside.
    """

    def __init__(self, folder: Path, identity: Identity, log: ours.Log = print) -> None:
        self.folder, self._log = folder / "parts", log
        self._begin(identity)

    @by_the_first
    def _begin(self, identity: Identity) -> None:
        marker = self.folder / "identity.json"
        if read_own_json(marker) != as_json(identity):
            self._clear()
            self.folder.mkdir(parents=True)
            atomic_write_json(marker, identity)

    def _clear(self) -> None:
        if not ours.remove_all(self.folder):
            target = ours.set_aside(self.folder)
            self._log(f"{self.folder} has files of other programs: moved to {target}")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"

    def done(self, names: list[str]) -> int:
        """Number of `names` that an earlier run finished."""
        return sum(self._path(name).exists() for name in names)

    def get(self, name: str, shapes: Shapes) -> Arrays | None:
        """A finished part with arrays of these shapes; None if it has to be made."""
        found = load_npz(self._path(name))
        return found if found is not None and fits(found, shapes) else None

    def put(self, name: str, arrays: Arrays) -> None:
        """Store a finished part."""
        atomic_write(self._path(name), npz(arrays), log=self._log)

    def each(self, wanted: Sequence[Part], what: str, log: ours.Log) -> Iterator[Arrays]:
        """The arrays of every part in turn: read back if they are finished, else made and stored.

        what: the parts in a word or two, for a progress bar, or for `log` without a terminal.
        """
        if done := self.done([part.name for part in wanted]):
            log(f"{what}: {done} of {len(wanted)} batches are finished: going on")
        tell, bar = patient(log), tqdm(wanted, unit="batch", desc=what, disable=None)
        for number, part in enumerate(bar, 1):
            arrays = self.get(part.name, part.shapes)
            if arrays is None:
                arrays = part.make()
                self.put(part.name, arrays)
            if bar.disable:
                tell(f"{what}: {number} of {len(wanted)} batches")
            yield arrays

    @by_the_first
    def remove(self) -> None:
        """Remove all parts, once the results made of them are written."""
        self._clear()


def recall(
    path: Path, identity: Identity, shapes: Shapes | None = None
) -> tuple[dict[str, Any], Arrays] | None:
    """Read back a result that `keep` stored at `path` for this identity, with these shapes.

    None if there is no such result, or it is not whole.
    """
    told = read_own_json(path)
    arrays = {} if shapes is None else load_npz(path.with_suffix(".npz"))
    if told is None or arrays is None or told.get("identity") != as_json(identity):
        return None
    return (told, arrays) if fits(arrays, shapes or {}) else None


@by_the_first
def keep(
    path: Path, identity: Identity, told: dict[str, Any], arrays: Arrays | None = None
) -> None:
    """Store one finished result with its own identity: a .json, and its arrays in a .npz.

    The .json is written last, so that the arrays beside a .json belong to it.
    """
    if arrays is not None:
        ours.remove(path)
        atomic_write(path.with_suffix(".npz"), npz(arrays))
    atomic_write_json(path, {"identity": identity, **told})


@by_the_first
def set_results_aside(folder: Path, why: str | None, log: ours.Log) -> None:
    """Move FOLDER to FOLDER_1, FOLDER_2, ... if there is a reason `why` it must not be replaced."""
    if why is not None:
        log(f"{folder} holds {why}: moved to {ours.set_aside(folder)}")


@by_the_first
def publish(
    folder: Path, files: Mapping[str, Content | None], report: str, told: dict[str, Any],
    log: ours.Log = print,
) -> None:  # fmt: skip
    """Write the files of finished results, the report last: the files beside it belong to it.

    files: name -> content; None for a file that is not part of these results.
    """
    for name in (report, *(name for name, content in files.items() if content is None)):
        ours.make_way(folder / name, log)
        ours.remove(folder / name)
    for name, content in files.items():
        if content is not None:
            atomic_write(folder / name, content, log=log)
    atomic_write_json(folder / report, told, log=log)


def same(report: dict[str, Any], identity: Identity) -> bool:
    """True if a report has this identity."""
    return {**report, **as_json(identity)} == report
