"""Codecs of values between two bounds, which become any numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float

Numbers = TypeVar("Numbers", np.ndarray, jax.Array)
Row = tuple[float, ...]


@dataclass(frozen=True)
class Bounded:
    """Phi^-1((x - low) / (high - low)), Phi the standard normal's distribution function.

    Values between two bounds become any numbers, those of a uniform law standard normal ones, so
    that a sample cannot leave the bounds and a density may end at them with a step.
    """

    low: Row
    high: Row
    of_levels = False
    centered = True

    def encode(self, x: Numbers) -> Numbers:
        """Values without bounds."""
        share = (x - like(x, self.low)) / (like(x, self.high) - like(x, self.low))
        return _ppf(_inside(share))

    def decode(self, z: Numbers) -> Numbers:
        """Values between the bounds."""
        low, high = like(z, self.low), like(z, self.high)
        return low + (high - low) * _cdf(z)

    def log_det(self, x: Float[Array, "b *d"]) -> Float[Array, " b"]:
        """sum of log(1 / (high - low)) - log phi(z)."""
        span = like(x, self.high) - like(x, self.low)
        each = -jax.scipy.stats.norm.logpdf(self.encode(x)) - jnp.log(span)
        return jnp.sum(each.reshape(len(x), -1), axis=1)

    def affine(self) -> tuple[Row, Row] | None:
        """None: the map bends at the bounds."""
        return None


@dataclass(frozen=True)
class Straight:
    """A straight line that bends within a share `edge` of the span before each bound.

    With s = (x - low) / (high - low) in units of the edge and b = 1 / edge,

        z = sqrt(12) (edge (log(e^s - 1) - log(1 - e^(s - b))) - 1/2),

    the inverse of softplus(a) - softplus(a - b), which is s between the bounds' neighbourhoods. A
    uniform law has nearly mean 0 and deviation 1. What depends on differences of values, as a
    posterior often does, is alike for all of them, which Phi^-1 undoes.
    """

    low: Row
    high: Row
    edge: float
    of_levels = False
    centered = True

    def encode(self, x: Numbers) -> Numbers:
        """Values without bounds."""
        share = (x - like(x, self.low)) / (like(x, self.high) - like(x, self.low))
        at, end, m = _inside(share) / self.edge, 1 / self.edge, _module(x)
        bent = at + m.log(-m.expm1(-at)) - m.log(-m.expm1(at - end))
        return (self.edge * bent - 0.5) * math.sqrt(12)

    def decode(self, z: Numbers) -> Numbers:
        """Values between the bounds."""
        low, high = like(z, self.low), like(z, self.high)
        bent, end, m = (z / math.sqrt(12) + 0.5) / self.edge, 1 / self.edge, _module(z)
        share = self.edge * (m.logaddexp(0, bent) - m.logaddexp(0, bent - end))
        return low + (high - low) * share.clip(0, 1)  # rounding may go beyond

    def log_det(self, x: Float[Array, "b *d"]) -> Float[Array, " b"]:
        """sum of log(sqrt(12) / (high - low) (1 / (1 - e^-s) + 1 / (e^(b - s) - 1)))."""
        span = like(x, self.high) - like(x, self.low)
        at = _inside((x - like(x, self.low)) / span) / self.edge
        slope = -1 / jnp.expm1(-at) + 1 / jnp.expm1(1 / self.edge - at)
        each = jnp.log(math.sqrt(12) * slope) - jnp.log(span)
        return jnp.sum(each.reshape(len(x), -1), axis=1)

    def affine(self) -> tuple[Row, Row] | None:
        """None: the map bends at the bounds."""
        return None


def _module(x: Numbers) -> Any:
    return np if isinstance(x, np.ndarray) else jnp


def like(x: Numbers, row: Row) -> np.ndarray:
    """A row over the last axis, in float64 beside an array of NumPy's and x's type beside JAX's."""
    dtype = np.float64 if isinstance(x, np.ndarray) else x.dtype
    return np.asarray(row, dtype).reshape((1,) * (x.ndim - 1) + (-1,))


def _ppf(share: Numbers) -> Numbers:
    return (scipy if isinstance(share, np.ndarray) else jax.scipy).special.ndtri(share)


def _cdf(z: Numbers) -> Numbers:
    return (scipy if isinstance(z, np.ndarray) else jax.scipy).special.ndtr(z)


def _inside(share: Numbers) -> Numbers:
    """Shares that are within rounding of the bounds moved off them."""
    tiny = float(np.finfo(np.float32).eps)
    return share.clip(tiny, 1 - tiny)
