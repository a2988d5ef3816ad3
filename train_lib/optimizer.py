"""The published optimizer: Adam, linear warm-up from zero, clipping by global norm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sde_lib import choose

Section = Any
"""The `optim` section of an ml_collections ConfigDict."""

DECAYS: dict[str, Callable[[int], optax.Schedule]] = {
    "constant": lambda steps: optax.constant_schedule(1.0),
    "cosine": lambda steps: optax.cosine_decay_schedule(1.0, steps),
    "linear": lambda steps: optax.linear_schedule(1.0, 0.0, steps),
}


def _adam(config: Section, lr: optax.Schedule) -> optax.GradientTransformation:
    if config.weight_decay:
        raise ValueError("optim.weight_decay needs optim.optimizer='AdamW', got 'Adam'")
    return optax.adam(lr, b1=config.beta1, b2=config.beta2, eps=config.eps)


OPTIMIZERS: dict[str, Callable[[Section, optax.Schedule], optax.GradientTransformation]] = {
    "Adam": _adam,
    "AdamW": lambda c, lr: optax.adamw(
        lr, b1=c.beta1, b2=c.beta2, eps=c.eps, weight_decay=c.weight_decay
    ),
}
"""Elementwise, because the step gives them small arrays as one (`models.layers.cpu.together`)."""


def learning_rate(config: Section, n_iters: int) -> optax.Schedule:
    """lr min(step / warmup, 1) decay(step), the step counted from 0 as published.

    The first update therefore has rate 0 when there is a warm-up.
    """
    decay = choose("optim.schedule", config.schedule, DECAYS)(n_iters)
    lr, warmup = config.lr, config.warmup

    def rate(step: Any) -> Any:
        ramp = jnp.minimum(step / warmup, 1.0) if warmup > 0 else 1.0
        return lr * ramp * decay(step)

    return rate


def apart(config: Section, n_iters: int, part: str) -> optax.GradientTransformation:
    """`build` for one part of the parameters, by its name at their top, and again for the rest."""
    in_part = lambda path, _: path[0].key == part
    labels = partial(jax.tree_util.tree_map_with_path, in_part)
    return optax.multi_transform({k: build(config, n_iters) for k in (True, False)}, labels)


def build(config: Section, n_iters: int) -> optax.GradientTransformation:
    """Clipping (off when `grad_clip` is negative or zero), then the optimizer."""
    chosen = choose("optim.optimizer", config.optimizer, OPTIMIZERS)
    optimizer = chosen(config, learning_rate(config, n_iters))
    if config.grad_clip <= 0:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.grad_clip), optimizer)
