"""The loss on images that training never sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

import data_lib
from data_lib import codec
from runtime_lib import sharding
from train_lib import feed
from train_lib.step import Batch, Recipe

SEED = 1
"""Seed of the times and noises, the same at every evaluation."""


def make_eval(recipe: Recipe) -> Callable[[Any, Array, Batch], tuple[Array, Array]]:
    """evaluate(params, key, batch) -> (sum of losses, number of images), excluding padding."""

    @jax.jit
    def evaluate(params: Any, key: Array, batch: Batch) -> tuple[Array, Array]:
        score = recipe.score.with_params(params)
        condition = recipe.told(batch)
        losses = recipe.objective(score, key, batch["image"], condition, train=False)
        return jnp.sum(losses * batch["mask"]), jnp.sum(batch["mask"])

    return evaluate


def loss(
    evaluate: Callable[..., Any], params: Any, images: data_lib.Images, config: Any, mesh: Any
) -> float:
    """The mean loss over a whole split, with the same times and noises every time."""
    data = config.data
    batches = data_lib.epoch_batches(
        feed.used(images, config),
        batch_size=-(-config.eval.batch_size // mesh.size) * mesh.size,
        codec=codec.build(data),
        condition_codec=codec.build_condition(data),
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
    total, count = (sum(map(float, column)) for column in zip(*sums, strict=True))
    return total / count
