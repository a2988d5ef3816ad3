"""Rematerialization: the results of a block that are kept for the backward pass.

Chen et al., 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174. The functions
that build a network wrap its blocks: `remat(block)` is called as the block is, and
`remat(block, joining)` with a skip after its first array. Parameters, their names and the draws of
dropout are the same in any case, and without a backward pass nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.cpu.outline import outlined
from models.layers.cpu.switch import TUNED

Call = Callable[..., Any]
"""(block, *arrays, **static) -> the block's result."""
PRODUCTS = ("correlate_3x3", "conv_general_dilated", "dot_general")
"""Primitives that take nearly all the time of a network here."""


class Remat(Protocol):
    """A wrapper of blocks; `call` is what is called with the block before its arrays."""

    def __call__(self, block: nn.Module, call: Call = ..., /) -> Callable[..., Any]: ...


def alone(block: nn.Module, *arrays: Any, **static: Any) -> Any:
    """The block of its own arrays."""
    return block(*arrays, **static)


def joining(
    block: nn.Module, h: Float[Array, "b *s c"], skip: Float[Array, "b *s k"], *told: Any,
    **static: Any,
) -> Any:  # fmt: skip
    """The block of h and a skip joined, a copy of what is kept anyway and so not kept itself."""
    return block(_joined(h, skip), *told, **static)


# XLA otherwise keeps the gradient of what is joined until the way down wants the skip's part of it.
@outlined
def _joined(h: Array, skip: Array) -> Array:
    return jnp.concatenate([h, skip], axis=-1)


def kept(block: nn.Module, call: Call = alone, /) -> Callable[..., Any]:
    """Keep all that the block's derivative needs."""
    return partial(call, block)


def products(primitive: Any, *_: Any, **__: Any) -> bool:
    """Keep the results of convolutions and products of matrices."""
    return primitive.name in PRODUCTS


@dataclass(frozen=True)
class Recomputed:
    """Keep the block's inputs and the results that `policy` selects; recompute the others.

    Arguments given by keyword are not traced.
    """

    policy: Callable[..., bool] = jax.checkpoint_policies.nothing_saveable

    def __call__(self, block: nn.Module, call: Call = alone, /) -> Callable[..., Any]:
        def again(*arrays: Any, **static: Any) -> Any:
            return nn.remat(partial(call, **static), policy=self.policy)(block, *arrays)

        return again


def by_backend(block: nn.Module, call: Call = alone, /) -> Callable[..., Any]:
    """Keep what is cheapest: on a CPU the products, whose other results cost no time to redo.

    Memory that a step touches anew costs a CPU as much as the operations that would fill it.
    """
    on_cpu = TUNED.value and jax.default_backend() == "cpu"
    return Recomputed(products)(block, call) if on_cpu else kept(block, call)


REMATS: dict[str, Remat] = {
    "auto": by_backend,
    "none": kept,
    "blocks": Recomputed(),
    "products": Recomputed(products),
}
ONCE = ("auto", "none", "products")
"""Those that compute no product of a forward pass twice."""
