"""The directory of checkpoints in the file system: one folder per step, and which are kept.

A folder is a checkpoint if its name is a number. A checkpoint that is being written has a longer
name and is renamed when it is complete; one that is being removed is renamed first. So an
operation interrupted by a kill never leaves anything that looks like a checkpoint. Only files
that orbax writes, and folders of nothing else, are ever removed: a folder of the user's whose name
is a number stays.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from runtime_lib.files import plain_reason
from untrusted import check_folder, check_regular

# orbax's mark of a folder that is being written.
_UNFINISHED = ".orbax-checkpoint-tmp"
_STEP = "(?:0|[1-9][0-9]*)"
_INNER = rf"(?:\{_UNFINISHED}[-.0-9]*)?"
_OCDBT = r"(?:manifest\.ocdbt|d/[0-9a-f]{32})"
_NAMES = "|".join([
    "_CHECKPOINT_METADATA", rf"meta{_INNER}/metadata",
    rf"state{_INNER}/(?:_METADATA|_sharding|array_metadatas/process_\d+|"
    rf"{_OCDBT}|ocdbt\.process_\d+/{_OCDBT})",
    rf"(?:(?:meta|state){_INNER}/)?commit_success\.txt",
])  # fmt: skip
_OURS = re.compile(rf"(?:{_NAMES})(?:\.__lock)?")
"""Paths of the files that orbax writes, relative to the folder of a step."""


class StepDirectories:
    """The folders of one directory; failures to remove are logged."""

    def __init__(self, directory: Path, log: Callable[[str], None]):
        self.directory = directory
        self._log = log
        self._told: set[Path] = set()

    def path(self, step: int) -> Path:
        return self.directory / str(step)

    def steps(self) -> list[int]:
        """The steps that have a folder, oldest first."""
        if not self.directory.is_dir():
            return []
        names = (path.name for path in self.directory.iterdir() if path.is_dir())
        return sorted(int(name) for name in names if re.fullmatch(_STEP, name))

    def remove(self, steps: Collection[int]) -> None:
        for step in steps:
            path = self.path(step)
            self._remove(path, path.with_name(path.name + _UNFINISHED))

    def remove_unfinished(self) -> None:
        """Remove what a killed process left half-written or half-removed."""
        for path in self.directory.glob(f"*{_UNFINISHED}*"):
            if re.fullmatch(rf"{_STEP}\{_UNFINISHED}[-.0-9]*", path.name):
                self._remove(path, path)

    def foreign(self, step: int) -> str:
        """A file in a step's folder that is not part of a checkpoint; "" if there is none."""
        return _foreign(self.path(step))

    def check(self, step: int) -> None:
        """Raise UntrustedError for a link, a pipe or a device among the files of a step."""
        check_folder(self.path(step))
        for path, is_folder in _walk(self.path(step)):
            (check_folder if is_folder else check_regular)(path)

    def _remove(self, path: Path, renamed: Path) -> None:
        if other := _foreign(path):
            if path not in self._told:
                self._log(f"{path} is kept: {other} is not part of a checkpoint")
            self._told.add(path)
            return
        try:
            path.replace(renamed)
            _remove_known(renamed)
        except OSError as error:
            self._log(f"{path} could not be removed, {plain_reason(error)}")


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """All paths in a folder, each with whether it is a folder; a folder comes after its content."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder:
            yield from _walk(Path(entry.path))
        yield Path(entry.path), is_folder


def _foreign(folder: Path) -> str:
    if folder.is_symlink():
        return "a symbolic link"
    for path, is_folder in _walk(folder) if folder.is_dir() else ():
        name = path.relative_to(folder).as_posix()
        if not is_folder and not _OURS.fullmatch(name):
            return name
    return ""


def _remove_known(folder: Path) -> None:
    for path, is_folder in _walk(folder):
        if is_folder:
            path.rmdir()
        elif _OURS.fullmatch(path.relative_to(folder).as_posix()):
            path.unlink()
    folder.rmdir()


def expired(steps: Sequence[int], keep: int, snapshot_every: int) -> list[int]:
    """The steps, of ascending ones, that are neither among the newest `keep` nor permanent.

    A step is permanent if it is divisible by `snapshot_every`, unless that is 0.
    """
    return [step for step in steps[:-keep] if not (snapshot_every and step % snapshot_every == 0)]
