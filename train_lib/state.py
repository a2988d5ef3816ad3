"""TrainState: everything that the next training step depends on, besides the data."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from sde_lib.pytree import pytree
from train_lib.ema import EMA
from train_lib.guard import Watch
from train_lib.history import Remembering


@pytree
class TrainState:
    """step: updates made or refused, also the position in the data; ema: one tree per rate; key:
    the run's; watch: statistics of bad updates; law: the law of t, if it learns from losses."""

    step: Int[Array, ""]
    params: Any
    ema: tuple[Any, ...]
    opt_state: Any
    key: PRNGKeyArray
    watch: Watch
    law: Remembering | None = None

    @classmethod
    def create(
        cls,
        params: Any,
        optimizer: optax.GradientTransformation,
        ema: EMA,
        key: PRNGKeyArray,
        law: Remembering | None = None,
    ) -> TrainState:
        """The state before the first update."""
        step, averages = jnp.zeros((), jnp.int32), ema.init(params)
        return cls(step, params, averages, optimizer.init(params), key, Watch.start(), law)

    def as_dict(self) -> dict[str, Any]:
        """The fields that there are, by name, as checkpoints store them."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> TrainState:
        """The inverse of `as_dict`."""
        return cls(**stored)
