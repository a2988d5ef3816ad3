"""Integer levels and densities: the noise that fills a gray level's bin (`sde_lib.bins`).

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
from jaxtyping import Array, Float, PRNGKeyArray

from sde_lib.base import Number
from sde_lib.pytree import pytree


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
