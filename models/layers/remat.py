"""Rematerialization: the results of a block that are kept for the backward pass.

Chen et al., 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174. The functions
that build a network wrap its blocks: `remat(block)` is called as the block is. Parameters, their
names and the draws of dropout are the same in any case, and without a backward pass nothing is
computed twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from flax import linen as nn

Remat = Callable[[nn.Module], Callable[..., Any]]
PRODUCTS = ("correlate_3x3", "conv_general_dilated", "dot_general")
"""Primitives that take nearly all the time of a network here."""


def kept(block: nn.Module) -> Callable[..., Any]:
    """Keep all that the block's derivative needs."""
    return block


def products(primitive: Any, *_: Any, **__: Any) -> bool:
    """Keep the results of convolutions and products of matrices."""
    return primitive.name in PRODUCTS


@dataclass(frozen=True)
class Recomputed:
    """Keep the block's inputs and the results that `policy` selects; recompute the others.

    Arguments given by keyword are not traced.
    """

    policy: Callable[..., bool] = jax.checkpoint_policies.nothing_saveable

    def __call__(self, block: nn.Module) -> Callable[..., Any]:
        def call(*arrays: Any, **static: Any) -> Any:
            again = nn.remat(lambda inner, *given: inner(*given, **static), policy=self.policy)
            return again(block, *arrays)

        return call


REMATS: dict[str, Remat] = {
    "none": kept,
    "blocks": Recomputed(),
    "products": Recomputed(products),
}
