"""Measurements of data, as measurements of the arrays that are diffused.

Data are centre + scale z, with z what is diffused (the codec); operators and noise are in the units
of the data. With one scale for all numbers the operator stays, and y and deviation are divided by
the scale.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sde_lib.measurements.base import Decomposed, Measurement, Operator
from sde_lib.measurements.masks import Diagonal, Mask
from sde_lib.pytree import pytree, static

Sizes = float | np.ndarray


@pytree
class ScaledOperator(Operator):
    """A scale z, scale [1, *d] number by number."""

    operator: Operator
    scale: Float[Array, "b *d"]

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        """A scale x."""
        return self.operator(self.scale * x)

    def transpose(self, u: Float[Array, "b *m"], x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """A^T u times the scale."""
        return self.scale * self.operator.transpose(u, x)

    def observed(self, u: Float[Array, "b *m"]) -> Float[Array, "b *m"]:
        """The observed values of A."""
        return self.operator.observed(u)


@pytree
class ScaledChannels(Decomposed):
    """A scale z of an operator of each channel alone, which a scale > 0 of channels passes."""

    operator: Decomposed
    scale: Float[Array, "b *d"]
    channelwise = True

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        """A scale x."""
        return self.operator(self.scale * x)

    def transpose(self, u: Float[Array, "b *m"], x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """A^T u times the scale."""
        return self.scale * self.operator.transpose(u, x)

    def observed(self, u: Float[Array, "b *m"]) -> Float[Array, "b *m"]:
        """The observed values of A."""
        return self.operator.observed(u)

    def measured(self) -> Bool[Array, "b *k"]:
        """The coordinates that A measures, however small the scale of a channel."""
        return self.operator.measured() & (self.scale > 0)

    def singular_values(self) -> Float[Array, "b *k"]:
        """Those of A times the scale of each channel."""
        return self.scale * self.operator.singular_values()

    def analyse(self, x: Float[Array, "b *d"]) -> Float[Array, "b *k"]:
        """V^T x of A."""
        return self.operator.analyse(x)

    def synthesise(self, c: Float[Array, "b *k"]) -> Float[Array, "b *d"]:
        """V c of A."""
        return self.operator.synthesise(c)

    def analyse_measurement(self, y: Float[Array, "b *m"]) -> Float[Array, "b *k"]:
        """U^T y of A."""
        return self.operator.analyse_measurement(y)

    def synthesise_measurement(self, c: Float[Array, "b *k"]) -> Float[Array, "b *m"]:
        """U c of A."""
        return self.operator.synthesise_measurement(c)


@singledispatch
def scaled(operator: Operator, scale: Float[Array, "b *d"]) -> Operator:
    """A scale, with a decomposition where A has one that several scales leave."""
    return ScaledOperator(operator, scale)


@scaled.register(Decomposed)
def _(operator: Decomposed, scale: Float[Array, "b *d"]) -> Operator:
    if operator.channelwise and scale.size == scale.shape[-1]:
        return ScaledChannels(operator, scale)
    return ScaledOperator(operator, scale)


@scaled.register(Mask)
@scaled.register(Diagonal)
def _(operator: Mask | Diagonal, scale: Float[Array, "b *d"]) -> Operator:
    return operator.times(scale)


def encoded(
    measurement: Measurement, scale: Sizes, centre: Sizes, shape: tuple[int, ...]
) -> Measurement:
    """A linear measurement of data as one of z, data = centre + scale z, scale > 0.

    scale, centre: numbers, or arrays that broadcast against an example, whose shape is `shape`.
    """
    operator, y, deviation = measurement.operator, measurement.y, measurement.deviation
    whole = lambda numbers: np.broadcast_to(np.asarray(numbers, y.dtype), (1, *shape))
    y = y - operator(jnp.repeat(jnp.asarray(whole(centre)), len(y), axis=0))
    several = np.unique(scale)
    if several.size > 1:
        each = np.asarray(scale, y.dtype)
        each = each.reshape((1,) * (len(shape) + 1 - each.ndim) + each.shape)
        return Measurement(scaled(operator, jnp.asarray(each)), y, deviation)
    alone = jnp.asarray(several[0], y.dtype)
    return Measurement(operator, y / alone, deviation / alone)


@pytree
class ThroughDecoder(Operator):
    """A decode(z), of a codec that is not affine. It is not linear."""

    operator: Operator
    decode: Callable[[Array], Array] = static()
    linear = False  # even where A is

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        """A decode(x)."""
        return self.operator(self.decode(x))

    def observed(self, u: Float[Array, "b *m"]) -> Float[Array, "b *m"]:
        """The observed values of A."""
        return self.operator.observed(u)
