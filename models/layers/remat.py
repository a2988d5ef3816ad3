"""Which results of a block are kept for the backward pass, and which are computed again.

Chen et al., 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174. Whoever
builds a network wraps its blocks: `remat(block)` is called as the block is. Parameters, their
names and the draws of dropout are the same in any case, and where nothing is differentiated
backwards, nothing is computed twice.
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
    """The block as it is: all that its derivative needs is kept."""
    return block


def products(primitive: Any, *_: Any, **__: Any) -> bool:
    """Keeps the results of convolutions and products of matrices."""
    return primitive.name in PRODUCTS


@dataclass(frozen=True)
class Recomputed:
    """The block's inputs are kept, and what `policy` says; all else is computed again.

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
