"""Borders around feature maps [b, *spatial, c]: the other end of periodic axes, zeros of others.

Spatial axes are counted from 0, the one after the batch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

Pads = Sequence[tuple[int, int]]
"""Numbers of elements before and behind, for each spatial axis."""


def wrapped(
    x: Float[Array, "b *s c"], pads: Pads, periodic: Collection[int]
) -> Float[Array, "b *p c"]:
    """x continued along its periodic axes, which may be shorter than the border."""
    own = [pad if axis in periodic else (0, 0) for axis, pad in enumerate(pads)]
    return jnp.pad(x, [(0, 0), *own, (0, 0)], mode="wrap") if any(map(any, own)) else x


def bordered(
    x: Float[Array, "b *s c"], pads: Pads, periodic: Collection[int] = ()
) -> Float[Array, "b *p c"]:
    """x with a border on all sides."""
    rest = [(0, 0) if axis in periodic else pad for axis, pad in enumerate(pads)]
    x = wrapped(x, pads, periodic)
    return jnp.pad(x, [(0, 0), *rest, (0, 0)]) if any(map(any, rest)) else x


def mirrored(
    x: Float[Array, "b *s c"], pads: Pads, periodic: Collection[int] = ()
) -> Float[Array, "b *p c"]:
    """x with a border on all sides, its mirror image in place of `bordered`'s zeros."""
    rest = [(0, 0) if axis in periodic else pad for axis, pad in enumerate(pads)]
    x = wrapped(x, pads, periodic)
    return jnp.pad(x, [(0, 0), *rest, (0, 0)], mode="symmetric") if any(map(any, rest)) else x
