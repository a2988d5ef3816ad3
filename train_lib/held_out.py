"""The loss on images that training never sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

import data_lib
from data_lib import codec
from data_lib.conditions import build_condition
from runtime_lib import sharding
from train_lib import feed
from train_lib.loss import TrainingLoss
from train_lib.measures import measured, summarised
from train_lib.step import COARSE_STREAM, Batch, Recipe

SEED = 1
"""Seed of the times and noises, the same at every evaluation."""


def make_eval(recipe: Recipe) -> Callable[[Any, Array, Batch], tuple[dict[str, Array], Array]]:
    """evaluate(params, key, batch) -> (sums by name, number of images), excluding padding.

    The sums are of the losses, "loss", and of what else the objective measures.
    """

    @jax.jit
    def evaluate(params: Any, key: Array, batch: Batch) -> tuple[dict[str, Array], Array]:
        score = recipe.score.with_params(params)
        image, mask = batch["image"], batch["mask"]
        condition = recipe.told(batch, image, jax.random.fold_in(key, COARSE_STREAM))
        losses, others = measured(recipe.objective, score, key, image, condition, train=False)
        sums = {name: jnp.sum(each * mask) for name, each in {"loss": losses, **others}.items()}
        return sums, jnp.sum(mask)

    return evaluate


def means(
    evaluate: Callable[..., Any],
    params: Any,
    images: data_lib.Images,
    config: Any,
    mesh: Any,
    objective: TrainingLoss,
) -> dict[str, float]:
    """The mean "loss", and means of what else is measured, over a whole split.

    Times and noises are the same every time.
    """
    data = config.data
    batches = data_lib.epoch_batches(
        feed.used(images, config),
        batch_size=-(-config.eval.batch_size // mesh.size) * mesh.size,
        codec=codec.build(data),
        condition_codec=build_condition(config),
        missing=data.missing == "mask",
        dequantize_seed=SEED if data.uniform_dequantization else None,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    key = jax.random.key(SEED)
    sums = [
        evaluate(params, jax.random.fold_in(key, k), sharding.shard_batch(batch, mesh))
        for k, batch in enumerate(batches)
    ]
    count = sum(float(number) for _, number in sums)
    found = {name: sum(float(part[name]) for part, _ in sums) / count for name in sums[0][0]}
    return summarised(objective, found)
