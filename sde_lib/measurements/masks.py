"""Measurement of some of the numbers of an example as they are, or each with a weight."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sde_lib.measurements.base import Decomposed
from sde_lib.pytree import pytree


@pytree
class Mask(Decomposed):
    """A x = kept x, with kept in {0, 1}: the values that are observed, and 0 for the others."""

    kept: Float[Array, "b *d"]

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The observed values."""
        return self.kept * x

    def times(self, numbers: Float[Array, "b *d"]) -> Diagonal:
        """The measurement with every weight times a number."""
        return Diagonal(self.kept * numbers)

    def observed(self, u: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The observed values, whatever stands in the place of the others."""
        return jnp.where(self.kept > 0, u, jnp.zeros_like(u))

    def values(self, y: Float[np.ndarray, "n *d"]) -> Float[np.ndarray, "n *d"]:
        """The observed values."""
        return np.where(np.asarray(self.kept) > 0, y, np.nan)

    def replaced(self, x: Float[Array, "b *d"], y: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The values of y where they are observed, to the last bit, and those of x elsewhere."""
        return jnp.where(self.kept > 0, y, x)

    def singular_values(self) -> Float[Array, "b *d"]:
        """1 for what is observed."""
        return self.kept

    def analyse(self, x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The values themselves are the coordinates."""
        return x

    def synthesise(self, c: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The coordinates are the values."""
        return c

    def analyse_measurement(self, y: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The observed values."""
        return self.kept * y

    def synthesise_measurement(self, c: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The observed values."""
        return self.kept * c


@pytree
class Diagonal(Decomposed):
    """A x = weight x, number by number; 0: not observed."""

    weight: Float[Array, "b *d"]

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The observed values times their weights."""
        return self.weight * x

    def times(self, numbers: Float[Array, "b *d"]) -> Diagonal:
        """The measurement with every weight times a number."""
        return Diagonal(self.weight * numbers)

    def observed(self, u: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The observed values, whatever stands in the place of the others."""
        return jnp.where(self.weight != 0, u, jnp.zeros_like(u))

    def measured(self) -> Bool[Array, "b *d"]:
        """The values with a weight, however small."""
        return self.weight != 0

    def singular_values(self) -> Float[Array, "b *d"]:
        """|weight|."""
        return jnp.abs(self.weight)

    def analyse(self, x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The values themselves are the coordinates."""
        return x

    def synthesise(self, c: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The coordinates are the values."""
        return c

    def analyse_measurement(self, y: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The values with the signs of their weights."""
        return self._divided(jnp.sign(self.weight) * y, jnp.ones_like(y))

    def synthesise_measurement(self, c: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The values with the signs of their weights."""
        return jnp.sign(self.weight) * c
