"""A network that is given its condition as published: every part as it is, its nulls included.

Parameters of a wrapped network have the same names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from models.inputs import Inputs
from models.layers.conditions import Condition, as_parts, check_parts, hide
from sde_lib.condition import CONDITIONS, NULLS

OWN = ("label", "augment", "guidance")
"""Parts that the networks themselves hide, at rates of their own or never."""


class AsPublished(nn.Module):
    """`network`, which resolves unknown parts and entries by itself.

    An absent part stays absent. While training, the condition of a fraction of the examples is
    that of which nothing is known: all of its parts are their nulls (`sde_lib.condition.NULLS`).

    Attributes:
      network: any network that takes its condition so.
      inputs: what it is given.
      told: other parts that it takes.
    """

    network: nn.Module
    inputs: Inputs
    told: tuple[str, ...] = ()

    def setup(self) -> None:
        """Give the network's parameters the names that they have without the wrapper."""
        nn.share_scope(self, self.network)

    def __call__(
        self,
        x: Float[Array, "b *s c"],
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b *s o"]:
        """Raw output of the network.

        Raises:
          ValueError: the condition has a part that this network does not take.
        """
        parts = as_parts(condition)
        check_parts(parts, (*self.inputs.parts, *self.told))
        if train and self.inputs.dropout:
            hidden = hide(self.make_rng("dropout"), x.shape[0], self.inputs.dropout)
            kept = {part for kind in self.inputs.kept for part in CONDITIONS[kind].parts}
            parts = _hidden(parts, hidden, kept)
        network: Any = self.network
        return network(x, label, parts or None, train=train)


def _hidden(
    parts: Mapping[str, Array], hidden: Bool[Array, "b"], kept: Collection[str]
) -> dict[str, Array]:
    """The parts with their nulls in the rows of hidden examples, but for those that are kept."""
    if "tokens" in parts:
        parts = {"mask": jnp.ones(parts["tokens"].shape[:2], bool), **parts}

    def part(name: str, values: Array) -> Array:
        if name in OWN or name in kept:
            return values
        rows = jnp.expand_dims(hidden, tuple(range(1, values.ndim)))
        return jnp.where(rows, jnp.asarray(NULLS[name], values.dtype), values)

    return {name: part(name, values) for name, values in parts.items()}
