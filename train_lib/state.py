"""TrainState: everything that the next training step depends on, besides the data."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from sde_lib.pytree import pytree
from train_lib.ema import EMA
from train_lib.guard import Watch


@pytree
class TrainState:
    """step: updates made or refused, also the position in the data; ema: one tree per rate; key:
    the run's; watch: statistics of bad updates."""

    step: Int[Array, ""]
    params: Any
    ema: tuple[Any, ...]
    opt_state: Any
    key: PRNGKeyArray
    watch: Watch

    @classmethod
    def create(
        cls, params: Any, optimizer: optax.GradientTransformation, ema: EMA, key: PRNGKeyArray
    ) -> TrainState:
        """The state before the first update."""
        step, averages = jnp.zeros((), jnp.int32), ema.init(params)
        return cls(step, params, averages, optimizer.init(params), key, Watch.start())

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as checkpoints store them."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> TrainState:
        """The inverse of `as_dict`."""
        return cls(**stored)
