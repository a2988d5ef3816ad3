"""`--mode export`: a trained workdir as files for other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from configs import schema
from models.pretrained import own_format
from models.pretrained.diffusers import directory
from modes.experiment import Experiment
from runtime_lib import workdir
from runtime_lib.checkpoints.store import Checkpoints
from runtime_lib.files import plain_reason
from untrusted import ours


class Parameters(NamedTuple):
    """Parameters of one step, on the host."""

    step: int
    raw: Mapping[str, Any]
    ema: Mapping[str, Any]


def _safetensors(config: Any, trained: Parameters, target: Path) -> list[str]:
    """Raw and averaged parameters and the settings that travel with them, in one file."""
    flat = schema.of_model(schema.flatten(config))
    target.parent.mkdir(parents=True, exist_ok=True)
    own_format.save(target, flat, trained.step, raw=trained.raw, ema=trained.ema)
    return []


def _diffusers(config: Any, trained: Parameters, target: Path) -> list[str]:
    """A pipeline with averaged or raw parameters, according to `sampling.ema`."""
    params = trained.ema if config.sampling.ema else trained.raw
    return directory.write_pipeline(config, params, target)


LAYOUTS: dict[str, Callable[[Any, Parameters, Path], list[str]]] = {
    "safetensors": _safetensors,
    "diffusers": _diffusers,
}
"""Functions that write the target and return remarks for the user."""


def export(
    experiment: Experiment,
    folder: Path,
    target: Path,
    layout: str,
    log: Callable[[str], None] = print,
) -> int:
    """Write the newest sound checkpoint of a workdir, or `sampling.step`, to `target`; returns 0.

    Args:
      layout: a key of `LAYOUTS`.

    Raises:
      WorkdirError: the workdir is empty or of another config, or `target` is there already or
        cannot be written.
      CheckpointError: its checkpoints are missing or all damaged.
      ValueError: the layout cannot hold this model.
    """
    if ours.is_taken(target):
        raise _taken(target)
    trained = load(experiment, folder, log)
    try:
        notes = LAYOUTS[layout](experiment.config, trained, target)
    except FileExistsError as error:
        raise _taken(target) from error
    except OSError as error:
        raise workdir.WorkdirError(f"cannot write {target}, {plain_reason(error)}") from error
    log(f"exported step {trained.step} to {target}")
    for note in notes:
        log(f"note: {note}")
    return 0


def _taken(target: Path) -> workdir.WorkdirError:
    return workdir.WorkdirError(
        f"{target} is there already, and an export overwrites nothing: give another --export_to, "
        "or remove it first"
    )


def load(experiment: Experiment, folder: Path, log: Callable[[str], None]) -> Parameters:
    """The raw parameters and their first average; raises as `export`."""
    workdir.check_model(folder, experiment.config)
    state = experiment.abstract_state()
    with Checkpoints(folder / "checkpoints", read_only=True, log=log) as checkpoints:
        restored = checkpoints.restore_part(
            {"params": state.params, "ema": state.ema}, step=experiment.config.sampling.step or None
        )
    raw, ema = restored.state["params"], restored.state["ema"][0]
    return Parameters(restored.step, *(jax.tree.map(np.asarray, tree) for tree in (raw, ema)))
