"""A user's own function as an operator."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.measurements.base import Operator
from sde_lib.pytree import pytree, static

Function = Callable[[Array], Array]
ROUNDED = 3e-3
"""Difference of a linear function from itself, where devices multiply with ten bits."""


@pytree
class OwnOperator(Operator):
    """A x = f(x) - constant, f differentiable.

    constant: f(0) [1, *m] of an affine function, which is to be taken off what was measured as well
    (`without_constant`); zeros for another function.
    """

    constant: Float[Array, "b *m"]
    function: Function = static()
    linear: bool = static(default=True)

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        """f(x) - constant."""
        return self.function(x) - self.constant

    def transpose(self, u: Float[Array, "b *m"], x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """A^T u, as the derivative of f, so that any form in which f is written will do."""
        found: Array = jax.vjp(self, jnp.zeros_like(x))[1](u)[0]
        return found


def without_constant(operator: Operator, y: Float[Array, "b *m"]) -> Float[Array, "b *m"]:
    """Measurements less what an affine function of the user's adds to its linear part."""
    return y - operator.constant if isinstance(operator, OwnOperator) else y


def is_affine(f: Function, shape: tuple[int, ...], tolerance: float) -> bool:
    """True if f(a x + b y) - f(0) = a (f(x) - f(0)) + b (f(y) - f(0)) for random numbers.

    tolerance: of the largest difference, as a share of the largest term.
    """
    x, y = jax.random.normal(jax.random.key(0), (2, 2, *shape))
    zero = f(jnp.zeros_like(x))
    whole, one, other = (f(v) - zero for v in (0.7 * x - 1.9 * y, x, y))
    scale = jnp.max(jnp.abs(one)) + jnp.max(jnp.abs(other))
    return bool(jnp.max(jnp.abs(whole - 0.7 * one + 1.9 * other)) <= tolerance * scale)


def own_operator(f: Function, shape: tuple[int, ...], tolerance: float = ROUNDED) -> OwnOperator:
    """The operator of a function of examples of a shape, linear if the function is affine."""
    zero = f(jnp.zeros((1, *shape)))
    linear = is_affine(f, shape, tolerance)
    return OwnOperator(zero if linear else jnp.zeros_like(zero), f, linear)
