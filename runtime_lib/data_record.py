"""Record of a run's training images, kept in its workdir and compared when it is continued.

WORKDIR/data.npz has a 64-bit hash of every example of both parts, one of the labels, and the names
of the features, if they have any.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import data_lib
from data_lib import Identity, Splits
from data_lib.base import Log
from runtime_lib.checkpoints.step_directories import StepDirectories
from runtime_lib.files import atomic_write
from runtime_lib.results import npz
from runtime_lib.workdir import WorkdirError
from untrusted import plain, read_arrays

FILE = "data.npz"


def _identity(config: Any, splits: Splits) -> Identity:
    return Identity.of(splits, labelled=config.model.num_classes > 0)


def _recorded(folder: Path) -> Identity | None:
    """The recorded identity, or None. Raises WorkdirError for a record that cannot be read."""
    path = folder / FILE
    try:
        return Identity.from_arrays(read_arrays(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise WorkdirError(
            f"{path}, which says what the run was trained on, cannot be read ({error}): restore "
            "it, or delete it to go on with the data as they are now"
        ) from error


def check(folder: Path, config: Any, splits: Splits, log: Log) -> Identity:
    """The identity of `splits`, if the run in `folder` may continue with them.

    Data that differ from the run's are reported, and refused with WorkdirError unless
    `data.changed` is 'accept'. Before the first checkpoint any data are accepted.
    """
    now = _identity(config, splits)
    if not StepDirectories(folder / "checkpoints", log).steps():
        return now
    before = _recorded(folder)
    if before is None:
        other = "; earlier versions held out other examples" if _by_hash(splits) else ""
        log(f"{folder} has no record of its data, so that a change would not be noticed{other}")
        return now
    changes = before.changes(now)
    if changes and config.data.changed != "accept":
        raise WorkdirError(
            f"{folder} was trained on other data than {splits.name} is now ({changes}): restore "
            "them, use another --workdir, or go on with --config.data.changed=accept"
        )
    if changes:
        log(f"going on with changed data ({changes}), as data.changed is accept")
    return now


def _by_hash(splits: Splits) -> bool:
    return splits.train.digests is not None


def write(folder: Path, identity: Identity, names: Sequence[str] = ()) -> None:
    """Record that `folder` is trained on these images from now on; names: those of features."""
    told = {"names": np.asarray(names)} if names else {}
    atomic_write(folder / FILE, npz({**identity.arrays(), **told}))


def names(folder: Path) -> tuple[str, ...]:
    """The recorded names of the features, or channels; () if there are none."""
    path = folder / FILE
    try:
        found = read_arrays(path, ["names"]).get("names")
    except (OSError, ValueError):
        return ()
    if found is None or found.dtype.kind != "U" or found.ndim != 1:
        return ()
    return tuple(plain(str(name)) for name in found)


def load(config: Any, folder: Path, log: Log) -> Splits:
    """The config's data, for measuring a run; logs if they differ from its training data.

    Nothing is compared for a model without a record.
    """
    splits = data_lib.load(config.data, log=log)
    before = _recorded(folder)
    if before is not None and (changes := before.changes(_identity(config, splits))):
        log(f"{splits.name} differs from the training data of {folder} ({changes})")
    return splits
