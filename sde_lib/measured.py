"""Posterior sampling: the score of p(x_0 | y) for a linear measurement y of x_0."""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import Number, Time, expand
from sde_lib.condition import Condition
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree, static
from sde_lib.score import Score, Wrapped


class LinearMap(Protocol):
    """A linear map A of examples, which acts on each alone."""

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        """A x."""


@pytree
class Mask:
    """A x = kept x: the values that are observed, and 0 for the others."""

    kept: Float[Array, "b *d"]

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The observed values."""
        return self.kept * x


@pytree
class Measured(Wrapped):
    """The score of p(x_0 | y), y = A x_0 + deviation n with n ~ N(0, I), by moment matching.

    With V = Cov(x_0 | x_t) = (sigma^2 / alpha) J, J = dD/dx_t, p(x_0 | x_t) is taken for the
    Gaussian N(D, V), so that

        D(x_t, y) = D + V A^T (deviation^2 I + A V A^T)^-1 (y - A D),

    whose system is solved by `iterations` of conjugate gradients, each a vector-Jacobian product of
    the network (MMPS: Rozet et al. 2024, arXiv:2405.13712). Exact for Gaussian data
    if there are as many iterations as numbers in y, an approximation for other data.
    """

    score: Score
    operator: LinearMap
    measurement: Float[Array, "b *m"]
    deviation: Number
    iterations: int = static(default=5)

    @property
    def evaluations(self) -> int:
        """One evaluation of the wrapped score, and as many for each of its backward passes."""
        return (self.iterations + 2) * self.score.evaluations

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The predictions given the measurement."""

        def predict(x: Array) -> tuple[Array, Predicted]:
            found = self.score.predict(x, t, condition)
            return found.x0, found

        x0, pull, found = jax.vjp(predict, x, has_aux=True)
        alpha, sigma = (expand(c, x) for c in self.marginal(t))
        transposed = jax.linear_transpose(self.operator, x)
        spread = lambda u: sigma**2 / alpha * pull(transposed(u)[0])[0]
        system = lambda u: self.deviation**2 * u + self.operator(spread(u))
        u = conjugate_gradients(system, self.measurement - self.operator(x0), self.iterations)
        change = spread(u)
        return Predicted(x0 + change, found.noise - alpha / sigma * change, found.fraction)


def conjugate_gradients(
    system: LinearMap, right: Float[Array, "b *m"], iterations: int
) -> Float[Array, "b *m"]:
    """u with system(u) = right for each example, after some iterations from 0.

    An example that has converged stays as it is (Hestenes & Stiefel 1952).
    """

    def inner(a: Array, b: Array) -> Array:
        return expand(jnp.sum((a * b).reshape(len(a), -1), axis=1), a)

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
