"""A network as the pure function that a ModelScore evaluates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

from models.layers.keys import hashed


@dataclass(frozen=True)
class Apply:
    """apply(params, x, label, condition, dropout_key); equal networks share compiled programs."""

    network: nn.Module

    def __call__(
        self,
        params: Any,
        x: Float[Array, "b *d"],
        label: Float[Array, " b"],
        condition: Any = None,
        dropout_key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b *e"]:
        """The raw output; dropout is active when it has a key."""
        train = dropout_key is not None
        rngs = {} if dropout_key is None else {"dropout": hashed(dropout_key)}
        apply: Any = self.network.apply
        return apply({"params": params}, x, label, condition, train=train, rngs=rngs)
