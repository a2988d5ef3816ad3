"""Solution of linear systems for each example alone."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import expand


def inner(a: Float[Array, "b *m"], b: Float[Array, "b *m"]) -> Float[Array, "b *_"]:
    """The inner product of each example, [b, 1, ...]."""
    return expand(jnp.sum((a * b).reshape(len(a), -1), axis=1), a)


def conjugate_gradients(
    system: Callable[[Array], Array], right: Float[Array, "b *m"], iterations: int
) -> Float[Array, "b *m"]:
    """u with system(u) = right for each example, after some iterations from 0.

    The system is symmetric and positive. An example that has converged stays as it is (Hestenes &
    Stiefel 1952).
    """

    def over(a: Array, b: Array) -> Array:
        return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)

    def step(_: int, state: tuple[Array, ...]) -> tuple[Array, ...]:
        u, residual, direction, square = state
        moved = system(direction)
        length = over(square, inner(direction, moved))
        residual = residual - length * moved
        left = inner(residual, residual)
        return u + length * direction, residual, residual + over(left, square) * direction, left

    start = jnp.zeros_like(right), right, right, inner(right, right)
    return jax.lax.fori_loop(0, iterations, step, start)[0]
