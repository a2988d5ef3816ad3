"""The directory of checkpoints as the file system sees it: one folder per step, and which stay.

A folder is a checkpoint when its name is a number. The one being written has a longer name and is
renamed when it is complete; one being removed is renamed before its files go. So whatever a kill
leaves half-done does not look like a checkpoint.
"""

import re
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from runtime_lib.files import plain_reason

# orbax's mark of a folder that is being written.
_UNFINISHED = ".orbax-checkpoint-tmp"


class StepDirectories:
    """The folders of one directory; `log` is told what could not be removed."""

    def __init__(self, directory: Path, log: Callable[[str], None]):
        self.directory = directory
        self._log = log

    def path(self, step: int) -> Path:
        return self.directory / str(step)

    def steps(self) -> list[int]:
        """The steps that have a folder, oldest first."""
        if not self.directory.is_dir():
            return []
        names = (path.name for path in self.directory.iterdir() if path.is_dir())
        return sorted(int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name))

    def remove(self, steps: Collection[int]) -> None:
        for step in steps:
            path = self.path(step)
            self._remove(path, path.with_name(path.name + _UNFINISHED))

    def remove_unfinished(self) -> None:
        """Removes what a killed process left half-written or half-removed."""
        for path in self.directory.glob(f"*{_UNFINISHED}*"):
            self._remove(path, path)

    def _remove(self, path: Path, renamed: Path) -> None:
        try:
            path.replace(renamed)
            shutil.rmtree(renamed)
        except OSError as error:
            self._log(f"{path} could not be removed, {plain_reason(error)}")


def expired(steps: Sequence[int], keep: int, snapshot_every: int) -> list[int]:
    """Those of ascending steps that are neither among the newest `keep` nor permanent.

    A step is permanent if it is divisible by `snapshot_every`, where that is not 0.
    """
    return [step for step in steps[:-keep] if not (snapshot_every and step % snapshot_every == 0)]
