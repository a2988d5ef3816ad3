"""Solution of linear systems for each example alone."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import expand

FLATTEST = 10.0
"""Slope of a direction, in round-off of the steepest, below which a system maps it to nothing."""


def inner(a: Float[Array, "b *m"], b: Float[Array, "b *m"]) -> Float[Array, "b *_"]:
    """The inner product of each example, [b, 1, ...]."""
    return expand(jnp.sum((a * b).reshape(len(a), -1), axis=1), a)


def conjugate_gradients(
    system: Callable[[Array], Array], right: Float[Array, "b *m"], iterations: int
) -> Float[Array, "b *m"]:
    """u with system(u) = right for each example, after some iterations from 0.

    The system is symmetric and positive (Hestenes & Stiefel 1952). Nothing moves along directions
    that it maps to nothing, to round-off, and not once the residual is round-off of `right`: in a
    singular system such steps have no bounds.
    """
    eps = float(jnp.finfo(right.dtype).eps)
    least = eps**2 * inner(right, right)

    def over(a: Array, b: Array, above: Array | float = 0.0) -> Array:
        return jnp.where(b > above, a / jnp.where(b > above, b, 1), 0)

    def step(_: int, state: tuple[Array, ...]) -> tuple[Array, ...]:
        u, residual, direction, square, steepest = state
        moved = system(direction)
        slope, size = inner(direction, moved), inner(direction, direction)
        steepest = jnp.maximum(steepest, over(slope, size))
        length = over(square, slope, FLATTEST * eps * steepest * size)
        length = jnp.where(square > least, length, 0)
        u, residual = u + length * direction, residual - length * moved
        left = inner(residual, residual)
        return u, residual, residual + over(left, square) * direction, left, steepest

    none = jnp.zeros_like(least)
    start = jnp.zeros_like(right), right, right, inner(right, right), none
    return jax.lax.fori_loop(0, iterations, step, start)[0]
