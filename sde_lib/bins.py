"""Integer gray levels: the interval of real numbers that stands for one, and its probability."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from configs.names import choose
from sde_lib.pytree import pytree, static

LAYOUTS: dict[str, Callable[[int], tuple[float, float]]] = {
    "equal": lambda levels: (0.5 / levels, 1 / levels),
    "nearest": lambda levels: (0.0, 1 / (levels - 1)),
}
"""Name -> (middle of level 0's bin, spacing), for data in [0, 1]. equal: [0, 1] in equal parts, v's
being [v, v + 1] / levels, as published and as dequantized training data lies; nearest: bins around
v / (levels - 1), where training data without dequantization lies."""

Values = Float[Array, "..."]


def exact(
    low: Values, high: Values, lowest: Bool[Array, "..."], highest: Bool[Array, "..."]
) -> Values:
    """log(Phi(high) - Phi(low)); the lowest bin has no lower end, the highest no upper one."""
    logcdf = jax.scipy.stats.norm.logcdf
    # The lower tail keeps its digits where 1 - tiny would not.
    flip = low + high > 0
    near, far = jnp.where(flip, -low, high), jnp.where(flip, -high, low)
    log_near = logcdf(near)
    inner = log_near + jnp.log(-jnp.expm1(logcdf(far) - log_near))
    return jnp.where(lowest, logcdf(high), jnp.where(highest, logcdf(-low), inner))


LEAST = 1e-12
"""The least probability of a bin in `tanh`."""


def tanh(
    low: Values, high: Values, lowest: Bool[Array, "..."], highest: Bool[Array, "..."]
) -> Values:
    """Logs of at least 1e-12, with (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2 for Phi.

    So bits per dimension are published for Improved DDPM (Nichol & Dhariwal 2021, their code).
    """
    cdf = lambda z: 0.5 * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    above, below = cdf(high), cdf(low)
    mass = jnp.where(lowest, above, jnp.where(highest, 1 - below, above - below))
    return jnp.log(jnp.maximum(mass, LEAST))


CDFS = {"exact": exact, "tanh": tanh}
"""Name -> log of the probability of a bin, given its ends in standard deviations from the mean."""


@pytree
class Bins:
    """Equal bins around v * spacing + first, in the network's range; cdf: a name in `CDFS`."""

    levels: int = static()
    first: float = static()
    spacing: float = static()
    cdf: str = static(default="exact")

    @classmethod
    def of(cls, layout: str, levels: int, centered: bool, cdf: str = "exact") -> Bins:
        """The bins of a layout in `LAYOUTS`, for data scaled to [-1, 1] (`centered`) or [0, 1]."""
        first, spacing = LAYOUTS[layout](levels)
        low, span = (-1.0, 2.0) if centered else (0.0, 1.0)
        return cls(levels, low + span * first, span * spacing, cdf)

    def center(self, v: Int[Array, "..."]) -> Values:
        """The middle of level v's bin."""
        return self.first + self.spacing * v.astype(float)

    def nearest(self, x: Values) -> Int[Array, "..."]:
        """The level whose bin x lies in."""
        v = jnp.round((x - self.first) / self.spacing)
        return jnp.clip(v, 0, self.levels - 1).astype(jnp.int32)

    def log_prob(self, v: Int[Array, "..."], mean: Values, deviation: Values) -> Values:
        """log of the mass of N(mean, deviation^2) on v's bin; the outermost bins are unbounded.

        (Ho et al. 2020, arXiv:2006.11239, eq. 13.)
        """
        middle, half = self.center(v) - mean, self.spacing / 2
        low, high = (middle - half) / deviation, (middle + half) / deviation
        return choose("cdf", self.cdf, CDFS)(low, high, v == 0, v == self.levels - 1)


def check_cdf(key: str, name: str) -> str:
    """The name; ValueError, in terms of its setting, for one that is not in `CDFS`."""
    choose(key, name, CDFS)
    return name
