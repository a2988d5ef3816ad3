"""The typed objects of a run, made from a config and checked before anything is compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

import models
import samplers
import sde_lib
from configs import schema
from models.score import template
from modes import sizes
from runtime_lib import sharding
from sde_lib import SDE, Guidance, ModelScore, Score
from train_lib import augment, objective, optimizer
from train_lib.ema import EMA
from train_lib.guard import Guard
from train_lib.state import TrainState
from train_lib.step import Recipe

PARAMS_STREAM, TRAIN_STREAM, SAMPLE_STREAM, LIKELIHOOD_STREAM = 0, 1, 2, 3
"""Numbers folded into the seed's key, to keep parameters, training noise, samples and draws of
likelihoods independent."""


@dataclass(frozen=True)
class Experiment:
    """A checked config and the objects that it describes."""

    config: Any
    sde: SDE
    score: ModelScore
    """A template: its parameters are None."""
    recipe: Recipe
    guidance: Guidance
    """Guidance in every mode, `guidance(score, labels)`; labels are None without classes."""
    sampler: samplers.Sampler
    times: Any
    layout: sharding.Layout

    @classmethod
    def of(cls, config: Any) -> Experiment:
        """Build every object of `config`; ValueError, in the user's terms, for a bad setting."""
        schema.check(config)
        score = template(config)
        training, model, mesh = config.training, config.model, config.mesh
        layout = sharding.Layout(sharding.device_mesh(mesh.data, mesh.fsdp), mesh.smallest)
        _check_division(config)
        sizes.check_batches(config)
        recipe = Recipe(
            score,
            objective.build(config),
            optimizer.build(config.optim, training.n_iters),
            EMA((model.ema_rate, *model.extra_ema_rates), training.ema_warmup, training.ema_rampup),
            training.accumulate,
            labelled=model.num_classes > 0,
            augment=augment.build(config),
            guard=Guard(training.patience, training.explosion),
        )
        guidance, sampler = sde_lib.build_guidance(config), samplers.build(config.sampling)
        followed = guidance(score, _an_example(config))
        times = samplers.build_times(config.sampling, followed, config.sde.num_scales)
        # Refuses, before training, what sampling could not do after it.
        sampler.plan(followed, times)
        return cls(config, score.sde, score, recipe, guidance, sampler, times, layout)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """[H, W, C] of one image."""
        data = self.config.data
        return data.image_size, data.image_size, data.num_channels

    @property
    def guidance_settings(self) -> dict[str, Any] | None:
        """Settings that the guidance reads, recorded with results; None without guidance."""
        return sde_lib.guidance_settings(self.config)

    def followed(self, score: Score) -> Score:
        """`score` under the guidance, given one example, for planning a sampler's grid."""
        return self.guidance(score, _an_example(self.config))

    def key(self, stream: int) -> PRNGKeyArray:
        """The key of one of the seed's streams."""
        return jax.random.fold_in(jax.random.key(self.config.seed), stream)

    def _fresh_state(self) -> TrainState:
        network = self.score.apply.network  # type: ignore[attr-defined]
        params = self.sde.join(models.init(network, self.key(PARAMS_STREAM), self.config))
        key = self.key(TRAIN_STREAM)
        return TrainState.create(params, self.recipe.optimizer, self.recipe.ema, key)

    def init_state(self) -> TrainState:
        """The state before the first update, distributed over the devices; safe to donate."""
        placed = self.layout.shardings(self.abstract_state())
        # Run once: optimizing this program would take several times as long as running it.
        quick = {"xla_backend_optimization_level": 0}
        return jax.jit(self._fresh_state, out_shardings=placed, compiler_options=quick)()

    def abstract_state(self) -> Any:
        """Shapes and types of the state, without computing it."""
        return jax.eval_shape(self._fresh_state)


def _an_example(config: Any) -> np.ndarray | None:
    """The condition of one image, its class, for a model of classes; None for others."""
    return np.zeros(1, np.int32) if config.model.num_classes else None


def _check_division(config: Any) -> None:
    training, devices = config.training, jax.device_count()
    share = training.accumulate * devices
    if training.batch_size % share:
        raise ValueError(
            f"training.batch_size must be a multiple of training.accumulate x devices = "
            f"{training.accumulate} x {devices} = {share}, got {training.batch_size}"
        )
