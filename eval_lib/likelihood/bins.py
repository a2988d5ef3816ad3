"""Integer levels and densities: the interval of real numbers that stands for a level, and the noise
that fills it.

A model of continuous x gives level v the probability P(v) = integral of p over its bin.
Dequantization draws x in the bin by a law q and bounds P, by Jensen's inequality and over all
pixels at once,

    log P(v) >= E_q[log p(x) - log q(x | v)],                                              (1)

an equality for q proportional to p (Theis et al. 2016, arXiv:1511.01844, section 3.1). The mean of
k draws inside the logarithm tightens it (Burda et al. 2016, arXiv:1509.00519). In bits per
dimension -log P(v) / (d log 2) is the length of the best lossless code, whatever the range of x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from sde_lib.base import Number
from sde_lib.pytree import pytree, static


@pytree
class Bins:
    """Equal bins around v * spacing + first, in the network's range."""

    levels: int = static()
    first: float = static()
    spacing: float = static()

    @classmethod
    def of(cls, layout: str, levels: int, centered: bool) -> Bins:
        """The bins of a layout in `LAYOUTS`, for data scaled to [-1, 1] (`centered`) or [0, 1]."""
        first, spacing = LAYOUTS[layout](levels)
        low, span = (-1.0, 2.0) if centered else (0.0, 1.0)
        return cls(levels, low + span * first, span * spacing)

    def center(self, v: Int[Array, "..."]) -> Float[Array, "..."]:
        """The middle of level v's bin."""
        return self.first + self.spacing * v.astype(float)

    def log_prob(
        self,
        v: Int[Array, "..."],
        mean: Float[Array, "..."],
        deviation: Float[Array, ""],
    ) -> Float[Array, "..."]:
        """log of the mass of N(mean, deviation^2) on v's bin; the outermost bins are unbounded.

        (Ho et al. 2020, arXiv:2006.11239, eq. 13.)
        """
        middle, half = self.center(v) - mean, self.spacing / 2
        low = jnp.where(v == 0, -jnp.inf, (middle - half) / deviation)
        high = jnp.where(v == self.levels - 1, jnp.inf, (middle + half) / deviation)
        # The lower tail keeps its digits where 1 - tiny would not.
        flip = low + high > 0
        low, high = jnp.where(flip, -high, low), jnp.where(flip, -low, high)
        log_high = jax.scipy.stats.norm.logcdf(high)
        return log_high + jnp.log(-jnp.expm1(jax.scipy.stats.norm.logcdf(low) - log_high))


LAYOUTS: dict[str, Callable[[int], tuple[float, float]]] = {
    "equal": lambda levels: (0.5 / levels, 1 / levels),
    "nearest": lambda levels: (0.0, 1 / (levels - 1)),
}
"""Name -> (middle of level 0's bin, spacing), for data in [0, 1]. equal: [0, 1] in equal parts, v's
being [v, v + 1] / levels, as published and as dequantized training data lies; nearest: bins around
v / (levels - 1), where training data without dequantization lies."""


class Dequantization(Protocol):
    """The law of x within a bin, as u = (x - middle) / spacing in [-1/2, 1/2]."""

    def draw(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "*d"], Float[Array, ""]]:
        """(u, log q(u) in nats, summed)."""


@pytree
class UniformNoise:
    """u ~ U(-1/2, 1/2)."""

    def draw(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "*d"], Float[Array, ""]]:
        return jax.random.uniform(key, shape, float) - 0.5, jnp.zeros(())


@pytree
class TruncatedNormal:
    """u ~ N(0, deviation^2), truncated to the bin: the model's noise around the middle at t = eps.

    With deviation = sigma / (alpha spacing), x_eps / alpha of a bin's middle has this law up to the
    truncation, so that a network only sees inputs like those of its training (Zheng et al. 2023,
    arXiv:2305.03935, section 4.2).
    """

    deviation: Number

    def draw(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "*d"], Float[Array, ""]]:
        edge = 0.5 / jnp.asarray(self.deviation, float)
        z = jax.random.truncated_normal(key, -edge, edge, shape, float)
        mass = jax.scipy.special.erf(edge / math.sqrt(2))
        each = -0.5 * z**2 - jnp.log(math.sqrt(2 * math.pi) * self.deviation * mass)
        return self.deviation * z, jnp.sum(each)


DEQUANTIZATIONS: dict[str, Callable[[Number], Dequantization]] = {
    "uniform": lambda deviation: UniformNoise(),
    "truncated_normal": TruncatedNormal,
}
"""Name -> the law, given the deviation of the model's noise at t = eps in spacings."""


Numbers = TypeVar("Numbers", float, np.ndarray)


def bits_per_dim(nats: Numbers, d: int) -> Numbers:
    """Bits per dimension, the length of a code, from log-probability in nats."""
    return -nats / (d * math.log(2))
