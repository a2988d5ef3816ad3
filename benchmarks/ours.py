"""Measurements of this framework, by the functions that `main.py` calls."""

from __future__ import annotations

import itertools
import resource
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import models
from benchmarks.timing import Timing, counted, timed
from data_lib import Images
from eval_lib.likelihood import evaluator
from modes import preflight
from modes.experiment import LIKELIHOOD_STREAM, Experiment
from modes.generator import make_generator
from runtime_lib import sharding
from sde_lib import ModelScore
from train_lib.feed import stack_batches
from train_lib.state import TrainState
from train_lib.step import make_step

LEVELS = 256


class Ours:
    """A config's work on random images; each call does a task once and returns its timing.

    tolerance: relative and absolute, of sampling by the ODE and of the likelihood; their solvers
    are those of the settings `sampling.ode_solver`, `eval.ode_solver` and so on.
    """

    def __init__(self, config: ConfigDict, tolerance: float) -> None:
        self.config, self._tolerance = config, tolerance
        self._experiment = Experiment.of(config)
        self._mesh = sharding.device_mesh()
        placed = self._experiment.layout.shardings(self._experiment.abstract_state())
        preflight.make_room()
        self._update = make_step(self._experiment.recipe, placed)
        self._begun: TrainState | None = None
        size = config.training.batch_size
        image = (self._pixels(size) / np.float32(LEVELS / 2) - 1).astype(np.float32)
        label = np.zeros(size, np.int32)
        labelled = self._experiment.recipe.labelled
        self._batches = itertools.repeat({"image": image} | ({"label": label} if labelled else {}))

    def _pixels(self, count: int) -> np.ndarray:
        shape = (count, *self._experiment.shape)
        return np.random.default_rng(0).integers(0, LEVELS, shape, dtype=np.uint8)

    @property
    def _state(self) -> TrainState:
        """Made when it is first asked for: training compiles before that."""
        if self._begun is None:
            self._begun = self._experiment.init_state()
        return self._begun

    @property
    def _score(self) -> ModelScore:
        """The score with the averaged weights."""
        return self._experiment.score.with_params(self._state.ema[0])

    def step(self) -> Timing:
        """One call of the training step; seconds per update."""
        updates = self.config.training.n_jitted_steps

        def work() -> None:
            if self._begun is None:
                self._update = preflight.prepare(self._experiment, self._update)
            batches = stack_batches(self._batches, updates, self._mesh)
            self._begun, metrics = self._update(self._state, batches)
            jax.block_until_ready((self._begun, metrics))

        return timed(work, updates)

    def evaluation(self) -> Timing:
        """One batch of samples by the config's sampler; seconds per network evaluation."""
        return self._drawing(self._experiment)

    def ode(self) -> Timing:
        """One batch of samples by the probability-flow ODE; seconds per network evaluation."""
        return self._drawing(Experiment.of(with_ode(self.config, self._tolerance)))

    def _drawing(self, experiment: Experiment) -> Timing:
        generator = make_generator(experiment, self._score)

        def work() -> int:
            drawn = generator.draw(0, self.config.sampling.batch_size)
            check(drawn["samples"], "sampling.max_steps")
            # A batch is evaluated until its slowest sample is done.
            return int(drawn["evaluations"].max())

        return counted(work)

    def likelihood(self) -> Timing:
        """The likelihood of one batch; seconds per evaluation of drift and divergence."""
        size = self.config.sampling.batch_size
        images = Images(self._pixels(size), np.zeros(size, np.int32), LEVELS)
        experiment = Experiment.of(with_likelihood(self.config, self._tolerance))
        key, guidance = experiment.key(LIKELIHOOD_STREAM), experiment.guidance
        built = evaluator.build(experiment.config, self._score, images, images, key, guidance)

        def work() -> int:
            found = built.batch(0, size, 0, size)
            check(found["log_prob"], "eval.max_steps")
            return int(found["evaluations"].max())

        return counted(work)

    def estimate(self) -> preflight.Needs:
        """Operations per image."""
        return preflight.estimate(self._experiment)

    def stats(self) -> dict[str, Any]:
        """Parameters, peak memory in bytes, version."""
        memory = jax.devices()[0].memory_stats()
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {
            "parameters": models.count(self._state.params),
            "peak_bytes": memory["peak_bytes_in_use"] if memory else resident,
            "version": jax.__version__,
        }


def with_ode(config: ConfigDict, tolerance: float) -> ConfigDict:
    """A copy of the config that samples by the adaptive ODE solver."""
    changed = config.copy_and_resolve_references()
    changed.sampling.update(predictor="ode", corrector="none", nfe=0, frames=0, rtol=tolerance,
                            atol=tolerance)  # fmt: skip
    return changed


def with_likelihood(config: ConfigDict, tolerance: float) -> ConfigDict:
    """A copy of the config that evaluates the exact likelihood once."""
    changed = config.copy_and_resolve_references()
    changed.eval.update(likelihood="flow", dequantization="uniform", images="", num_images=0,
                        split="test", rtol=tolerance, atol=tolerance)  # fmt: skip
    return changed


def check(found: np.ndarray, setting: str) -> None:
    """Raise ValueError unless a solver reached its end."""
    if not np.isfinite(found).all():
        raise ValueError(f"the ODE solver gave up: raise {setting} or --tolerance")
