"""Noise of measurements: drawn, and of another law than N(0, deviation^2 I) approximated by it."""

from __future__ import annotations

from functools import singledispatch

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sde_lib.base import Number
from sde_lib.measurements.base import Measurement, Operator
from sde_lib.measurements.masks import Diagonal, Mask
from sde_lib.pytree import pytree


@pytree
class Weighted(Operator):
    """weight A x, number by number."""

    operator: Operator
    weight: Float[Array, "b *m"]

    @property
    def linear(self) -> bool:
        """True if A is linear."""
        return self.operator.linear

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        """Weight A x."""
        return self.weight * self.operator(x)

    def transpose(self, u: Float[Array, "b *m"], x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """A^T weight u."""
        return self.operator.transpose(self.weight * u, x)

    def observed(self, u: Float[Array, "b *m"]) -> Float[Array, "b *m"]:
        """The observed values of A."""
        return self.operator.observed(u)


@singledispatch
def weighted(operator: Operator, weight: Float[Array, "b *m"]) -> Operator:
    """weight A, with a decomposition where A measures numbers of an example as they are."""
    return Weighted(operator, weight)


@weighted.register(Mask)
@weighted.register(Diagonal)
def _(operator: Mask | Diagonal, weight: Float[Array, "b *m"]) -> Operator:
    return operator.times(weight)


def poisson(measurement: Measurement, rate: Number) -> Measurement:
    """The measurement y ~ Poisson(rate A x_0) / rate as one of noise N(0, I). An approximation.

    The law is taken for N(A x_0, v), v = max(y, 1 / rate) / rate + deviation^2: the variance of
    Poisson's law, with y for A x_0 and at least that of one count, and of Gaussian noise beside it.
    y and A are divided by sqrt(v). It is close for many counts, rate A x_0 > 10, and not for few.
    """
    y = measurement.y
    variance = jnp.maximum(y, 1 / rate) / rate + measurement.variance
    weight = 1 / jnp.sqrt(variance)
    one = jnp.ones((), y.dtype)
    return Measurement(weighted(measurement.operator, weight), weight * y, one)


def _keys(key: PRNGKeyArray, n: int, first: int) -> PRNGKeyArray:
    """A key of each example's own, whatever the other examples are."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(n))


def simulate(
    operator: Operator, x: Float[Array, "b *d"], deviation: Number, key: PRNGKeyArray,
    first: int = 0,
) -> Float[Array, "b *m"]:  # fmt: skip
    """A x + deviation n, with noise that depends on the key and the number of an example alone.

    first: the number of the first example.
    """
    y = operator(x)
    draw = lambda key: jax.random.normal(key, y.shape[1:], y.dtype)
    return operator.observed(y + deviation * jax.vmap(draw)(_keys(key, len(y), first)))


def simulate_poisson(
    operator: Operator, x: Float[Array, "b *d"], rate: Number, key: PRNGKeyArray, first: int = 0
) -> Float[Array, "b *m"]:
    """Poisson(rate A x) / rate, as `simulate`; what is negative in A x counts nothing."""
    y = operator(x)
    draw = lambda key, mean: jax.random.poisson(key, rate * jnp.maximum(mean, 0)).astype(y.dtype)
    return operator.observed(jax.vmap(draw)(_keys(key, len(y), first), y) / rate)
