"""Operators, and what is measured with them.

An operator A maps examples x [b, *d] to measurements [b, *m], each example alone. It is a pytree:
masks and kernels are leaves, with a first axis of 1 (shared) or b (one for each example), so that
another mask compiles nothing. What is complex has its real and imaginary parts as two channels.
"""

from __future__ import annotations

import abc

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sde_lib.base import Number
from sde_lib.measurements.solve import conjugate_gradients
from sde_lib.pytree import pytree

SMALLEST = 1e-5
"""Singular values below this share of the largest are those of nothing measured."""
ITERATIONS = 50
"""Iterations of conjugate gradients for operators without a decomposition."""

Variance = float | Float[Array, "*c"]


def each(c: Variance, like: Float[Array, "b *m"]) -> Float[Array, "..."]:
    """A number, or one for each example [b, 1, ...], that broadcasts against [b, *m]."""
    c = jnp.asarray(c)
    return c if c.ndim == 0 else c.reshape(len(c), *(1,) * (like.ndim - 1))


class Operator(abc.ABC):
    """A measurement without noise. Holds no state."""

    @property
    def linear(self) -> bool:
        """True if A (a x + b y) = a A x + b A y, which all that follows A x needs."""
        return True

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        """A x."""

    def observed(self, u: Float[Array, "b *m"]) -> Float[Array, "b *m"]:
        """u with 0 for numbers that stand in its array and are no part of a measurement."""
        return u

    def values(self, y: Float[np.ndarray, "n *m"]) -> Float[np.ndarray, "n *d"] | None:
        """Numbers of examples that stand in measurements as they are, NaN elsewhere; None: none."""
        return None

    def transpose(self, u: Float[Array, "b *m"], x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """A^T u; `x` has the shape and the type of examples."""
        found: Array = jax.linear_transpose(self, x)(u)[0]
        return found

    def pseudo_inverse(
        self, u: Float[Array, "b *m"], x: Float[Array, "b *d"]
    ) -> Float[Array, "b *d"]:
        """A^+ u, the shortest of the examples that come nearest to u; `x` has their shape."""
        system = lambda v: (self.transpose(self(v), x), v)
        return conjugate_gradients(system, self.transpose(u, x), ITERATIONS)

    def replaced(self, x: Float[Array, "b *d"], y: Float[Array, "b *m"]) -> Float[Array, "b *d"]:
        """x + A^+ (y - A x), the nearest example to x of which y is the measurement."""
        return x + self.pseudo_inverse(y - self(x), x)

    def solve(
        self, variance: Variance, noise: Number, u: Float[Array, "b *m"], x: Float[Array, "b *d"]
    ) -> Float[Array, "b *m"]:
        """(variance A A^T + noise I)^-1 u, `noise` a variance; `x` has the shape of examples.

        variance: a number, or one for each example [b, 1, ...]. Without noise, what no example
        explains is left out.
        """
        variance = each(variance, u)
        explained = lambda u: self(self.pseudo_inverse(u, x))
        right = jax.lax.cond(jnp.asarray(noise) > 0, lambda u: u, explained, u)
        system = lambda v: (variance * self(self.transpose(v, x)) + noise * v, v)
        return conjugate_gradients(system, right, ITERATIONS)


class Decomposed(Operator):
    """A linear operator with its singular value decomposition A = U S V^T.

    Coordinates V^T x of an example form an array [b, *k] of as many numbers as the example has.
    """

    @property
    def channelwise(self) -> bool:
        """True if channels, the last axis of examples and coordinates, are measured alike, and each
        alone."""
        return False

    @abc.abstractmethod
    def singular_values(self) -> Float[Array, "b *k"]:
        """S of each coordinate, broadcast against [b, *k], at least 0; 0: not measured."""

    @abc.abstractmethod
    def analyse(self, x: Float[Array, "b *d"]) -> Float[Array, "b *k"]:
        """V^T x."""

    @abc.abstractmethod
    def synthesise(self, c: Float[Array, "b *k"]) -> Float[Array, "b *d"]:
        """V c."""

    @abc.abstractmethod
    def analyse_measurement(self, y: Float[Array, "b *m"]) -> Float[Array, "b *k"]:
        """U^T y, 0 at the coordinates that are not measured."""

    @abc.abstractmethod
    def synthesise_measurement(self, c: Float[Array, "b *k"]) -> Float[Array, "b *m"]:
        """U c; coordinates that are not measured do not matter."""

    def measured(self) -> Bool[Array, "b *k"]:
        """The coordinates that are measured at all, of each example alone."""
        s = self.singular_values()
        return s > SMALLEST * jnp.max(s, axis=tuple(range(1, s.ndim)), keepdims=True)

    def _divided(self, c: Array, by: Array) -> Array:
        """c / by at the coordinates that are measured, 0 at the others."""
        measured = self.measured()
        return jnp.where(measured, c / jnp.where(measured, by, 1), 0)

    def _unexplained(self, u: Array) -> Array:
        """(I - U U^T) u."""
        c = self.analyse_measurement(u)
        return u - self.synthesise_measurement(self._divided(c, jnp.ones_like(c)))

    def pseudo_inverse(
        self, u: Float[Array, "b *m"], x: Float[Array, "b *d"]
    ) -> Float[Array, "b *d"]:
        """V S^+ U^T u."""
        return self.synthesise(self._divided(self.analyse_measurement(u), self.singular_values()))

    def solve(
        self, variance: Variance, noise: Number, u: Float[Array, "b *m"], x: Float[Array, "b *d"]
    ) -> Float[Array, "b *m"]:
        """U (variance S^2 + noise)^-1 U^T u, and what no example explains over the noise."""
        c, noise = self.analyse_measurement(u), jnp.asarray(noise)
        found = self._divided(c, each(variance, c) * self.singular_values() ** 2 + noise)
        # Twice, since division by little noise would make much of the round-off of once.
        rest = self._unexplained(self._unexplained(u))
        outside = jnp.where(noise > 0, rest / jnp.where(noise > 0, noise, 1), 0)
        return self.synthesise_measurement(found) + outside


@pytree
class Measurement:
    """y = A x_0 + deviation n, n ~ N(0, I), of a batch of examples as they are diffused."""

    operator: Operator
    y: Float[Array, "b *m"]
    deviation: Number

    def residual(self, x0: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        """y - A x_0."""
        return self.y - self.operator(x0)

    @property
    def variance(self) -> Float[Array, ""]:
        """deviation^2."""
        return jnp.square(self.deviation)
