"""The config of a workdir: which settings must agree for a run in it to continue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs import defaults, schema
from runtime_lib.files import atomic_write_json, plain_reason
from runtime_lib.processes import by_the_first
from untrusted import plain, read_json, shown

CONFIG_FILE = "config.json"
NAMED = 12
"""Differing settings that a message names; it counts the others."""

FREE = (
    "training.n_iters", "training.n_jitted_steps", "training.log_freq", "training.eval_freq",
    "training.snapshot_freq", "training.snapshot_freq_for_preemption", "training.keep",
    "training.snapshot_sampling", "training.patience", "training.explosion",
    "training.check_memory", "training.profile_steps", "training.wandb",
    "data.data_dir", "data.cache", "data.changed", "data.autoencoder", "data.text_encoder",
    "data.tokenizer", "data.tile",
    "training.lpips", "cpu_tuned", "compiled",
    "model.remat", "model.attention",
)  # fmt: skip
FREE_SECTIONS = ("sampling.", "eval.", "inverse.", "edit.", "mesh.")
"""Settings that may differ between runs in one workdir, as they do not affect past updates.

(With an `optim.schedule` that falls to 0 at the end, another n_iters moves that end.)
"""
MODEL_SECTIONS = ("sde.", "model.", "data.", "training.continuous")
"""Settings on which the use of a trained model depends."""


class WorkdirError(RuntimeError):
    """A workdir that cannot be used as asked; the message is one line for the user."""


def _plain(config: Any) -> dict[str, Any]:
    """The flat config after a round trip through JSON (tuples become lists)."""
    return json.loads(json.dumps(schema.flatten(config)))


OF_UPDATES = ("model.label_dropout", "model.condition_dropout")
"""Settings of the model that only its training reads."""


def _is_free(name: str) -> bool:
    return name in FREE or name.startswith(FREE_SECTIONS)


def read_config(workdir: Path) -> dict[str, Any] | None:
    """The flat config of a workdir, or None if it has none.

    A setting that is missing in the file, as it is newer, has its default; one that is no more
    is left out.
    """
    path = workdir / CONFIG_FILE
    try:
        found = _plain(schema.get_default()) | read_json(path)
        return {name: value for name, value in found.items() if name not in defaults.RETIRED}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise WorkdirError(
            f"{path} cannot be read ({error}): restore it, or use another --workdir"
        ) from error


def _difference(old: dict[str, Any], new: dict[str, Any], names: list[str]) -> str:
    changed = [n for n in names if old.get(n) != new.get(n)]
    told = [f"{plain(n)}: {shown(old.get(n))} there, {shown(new.get(n))} here" for n in changed]
    more = [f"and {len(told) - NAMED} more"] if len(told) > NAMED else []
    return ", ".join(told[:NAMED] + more)


def check_same(workdir: Path, config: Any) -> None:
    """Check that `workdir`, if it has a config, belongs to `config`.

    Raises WorkdirError with the difference if it belongs to another config.
    """
    new, old = _plain(config), read_config(workdir)
    if old is not None:
        names = sorted(n for n in {*old, *new} if not _is_free(n))
        _refuse(workdir, _difference(old, new, names))


@contextmanager
def writing(folder: Path, kept: str = "") -> Iterator[None]:
    """Turn an OSError of writing results into `folder` into WorkdirError.

    kept: words on what is not lost, such as "finished batches".
    """
    try:
        yield
    except OSError as error:
        told = f" ({kept} are kept)" if kept else ""
        raise WorkdirError(f"cannot write to {folder}, {plain_reason(error)}{told}") from error


def create(workdir: Path) -> None:
    """Make the directory unless it exists. Raises WorkdirError if that fails."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise WorkdirError(f"--workdir must be a directory, {workdir} is a file") from error
    except OSError as error:
        raise WorkdirError(f"cannot write to {workdir}: {error.strerror or error}") from error


def claim(workdir: Path, config: Any) -> None:
    """Make `workdir` a workdir of `config`, or check that it is one already.

    Raises WorkdirError as `check_same` and `create`, or if it cannot be written.
    """
    check_same(workdir, config)
    create(workdir)
    try:
        by_the_first(atomic_write_json)(workdir / CONFIG_FILE, _plain(config), known=True)
    except OSError as error:
        raise WorkdirError(f"cannot write to {workdir}: {error.strerror or error}") from error
    if read_config(workdir) is None:
        raise WorkdirError(f"{workdir} must be a directory that all processes of the run share")


def check_model(workdir: Path, config: Any) -> None:
    """Check that a trained model in `workdir` is the one `config` describes.

    Raises WorkdirError if there is no model or another one.
    """
    old = read_config(workdir)
    if old is None:
        raise WorkdirError(
            f"{workdir} holds no trained model: run --mode train with this --workdir first"
        )
    new = _plain(config)
    free = lambda name: _is_free(name) or name in OF_UPDATES
    names = [n for n in sorted(new) if n.startswith(MODEL_SECTIONS) and not free(n)]
    _refuse(workdir, _difference(old, new, names))


def _refuse(workdir: Path, difference: str) -> None:
    if difference:
        raise WorkdirError(
            f"{workdir} belongs to another config ({difference}): use its config, "
            "or another --workdir"
        )
