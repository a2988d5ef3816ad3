"""Trained weights of a workdir, as scores and parameters for the modes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from modes.experiment import Experiment
from runtime_lib import sharding, workdir
from runtime_lib.checkpoints.store import Checkpoints
from sde_lib import ModelScore


def load_weights(
    experiment: Experiment,
    folder: Path,
    step: int | None,
    average: int | None,
    log: Callable[[str], None] = print,
) -> tuple[ModelScore, int]:
    """(score, step) of a workdir's checkpoint `step`, or its newest sound one.

    average: index of the averaged weights, in the order of their rates; None for the raw ones.
    Raises WorkdirError for an empty workdir or one of another config, CheckpointError for
    checkpoints that are missing or all damaged.
    """
    workdir.check_model(folder, experiment.config)
    state = experiment.layout.abstract(experiment.abstract_state())
    part: dict[str, Any] = {"params": state.params} if average is None else {"ema": state.ema}
    with Checkpoints(folder / "checkpoints", read_only=True, log=log) as checkpoints:
        restored = checkpoints.restore_part(part, step=step)
    found = restored.state
    params = found["params"] if average is None else found["ema"][average]
    return experiment.score.with_params(params), restored.step


def digest(score: ModelScore) -> str:
    """A hash of the parameters, as another training may have made equally many updates."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves((score.params, score.sde)):
        found.update(np.ascontiguousarray(sharding.collect(leaf)).tobytes())
    return found.hexdigest()[:16]


def load_score(
    experiment: Experiment, folder: Path, log: Callable[[str], None] = print
) -> tuple[ModelScore, int]:
    """`load_weights` according to `sampling.step` and `sampling.ema`."""
    sampling = experiment.config.sampling
    return load_weights(experiment, folder, sampling.step or None, 0 if sampling.ema else None, log)
