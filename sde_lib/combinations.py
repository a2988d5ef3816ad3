"""Combinations of two predictions, with a condition and without: what guidance makes of them.

The sum of a linear combination is the same for x_0, noise, score or velocity. Those that rescale,
clip or project are not linear: each says in which view it is published, and the other follows.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import Number, expand
from sde_lib.parametrization import Noise, Prediction
from sde_lib.pytree import pytree, static

Pair = tuple[Float[Array, "b *d"], Float[Array, "b *d"]]
"""(x_0, noise)."""


class Point(NamedTuple):
    """x_t and its noise level, alpha and sigma with as many axes as x."""

    x: Float[Array, "b *d"]
    alpha: Array
    sigma: Array

    def noise(self, x0: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The noise that belongs to x_0."""
        return (self.x - self.alpha * x0) / self.sigma

    def data(self, noise: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """The x_0 that belongs to the noise."""
        return (self.x - self.sigma * noise) / self.alpha


class Combination(Protocol):
    """A rule that makes one prediction of those with and without a condition."""

    def __call__(self, weight: Array, told: Pair, untold: Pair, at: Point) -> Pair:
        """The combined (x_0, noise)."""


def mixed(weight: Array, a: Float[Array, "b *d"], b: Float[Array, "b *d"]) -> Array:
    """a + (weight - 1) (a - b), exactly a at 1 and b at 0 even if the other is infinite."""
    between = a + (weight - 1) * (a - b)
    return jnp.where(weight == 1, a, jnp.where(weight == 0, b, between))


def _neutral(weight: Array, told: Pair, found: Pair) -> Pair:
    """The combination, and at weight 1 the prediction with the condition to the last bit."""
    x0, noise = (jnp.where(weight == 1, a, b) for a, b in zip(told, found, strict=True))
    return x0, noise


def _sums(x: Float[Array, "b *d"]) -> Array:
    """Sums over each example, with as many axes as x."""
    return expand(jnp.sum(x.reshape(len(x), -1), axis=1), x)


def expand_last(of_channels: Array, x: Float[Array, "b *d"]) -> Array:
    """One value for each channel, with as many axes as x."""
    return of_channels.reshape((1,) * (x.ndim - 1) + (-1,))


def _over(a: Array, b: Array) -> Array:
    """a / b, and 1 where b is 0."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 1)


def _deviations(x: Float[Array, "b *d"]) -> Array:
    return expand(jnp.std(x.reshape(len(x), -1), axis=1), x)


@pytree
class Mixed:
    """with + (weight - 1) (with - without)."""

    def __call__(self, weight: Array, told: Pair, untold: Pair, at: Point) -> Pair:
        """The extrapolated predictions."""
        x0, noise = (mixed(weight, a, b) for a, b in zip(told, untold, strict=True))
        return x0, noise


@pytree
class FirstChannels:
    """The extrapolated predictions in the first `count` channels, those with the condition beside.

    DiT's published samples are guided so, in 3 of 4 channels of latents (Peebles & Xie 2023,
    arXiv:2212.09748, section 5, and its code).
    """

    count: int = static(default=3)

    def __call__(self, weight: Array, told: Pair, untold: Pair, at: Point) -> Pair:
        """The predictions; ValueError for examples of fewer channels."""
        channels = at.x.shape[-1]
        if self.count > channels:
            raise ValueError(
                f"sampling.guidance_channels must be at most the examples' {channels} channels, "
                f"got {self.count}"
            )
        first = expand_last(jnp.arange(channels) < self.count, at.x)
        x0, noise = (jnp.where(first, mixed(weight, a, b), a)
                     for a, b in zip(told, untold, strict=True))  # fmt: skip
        return x0, noise


@pytree
class Rescaled:
    """The extrapolated output, made part of the way as large as that with the condition.

        F <- share F std(F with) / std(F) + (1 - share) F,

    F the network's output, noise or v or what else it says, std over all values of an example (Lin
    et al. 2024, arXiv:2305.08891, eq. 15 and 16). share = 0 rescales nothing.
    """

    share: Number = 0.7
    prediction: Prediction = Noise()

    def __call__(self, weight: Array, told: Pair, untold: Pair, at: Point) -> Pair:
        """The rescaled predictions."""
        c = self.prediction.coefficients(at.alpha, at.sigma)
        size = c.data_out**2 + c.noise_out**2

        def output(pair: Pair) -> Array:
            x0, noise = pair[0] - c.data_skip * at.x, pair[1] - c.noise_skip * at.x
            return (c.data_out * x0 + c.noise_out * noise) / size

        own = output(told)
        raw = mixed(weight, own, output(untold))
        raw = raw * (self.share * _over(_deviations(own), _deviations(raw)) + (1 - self.share))
        x0 = c.data_skip * at.x + c.data_out * raw
        return _neutral(weight, told, (x0, c.noise_skip * at.x + c.noise_out * raw))


@pytree
class Thresholded:
    """The extrapolated x_0, scaled into the range of the data if too much of it is outside.

        x_0 <- clip(x_0, -s, s) / s,   s = max(1, quantile of |x_0| of an example),

    for data in [-1, 1] (Saharia et al. 2022, arXiv:2205.11487, section 2.3). Data in another range
    of the same width on both sides of `middle` is treated alike.
    """

    quantile: Number = 0.995
    middle: Number = 0.0
    half: Number = 1.0

    def __call__(self, weight: Array, told: Pair, untold: Pair, at: Point) -> Pair:
        """The predictions within the range."""
        x0 = (mixed(weight, told[0], untold[0]) - self.middle) / self.half
        flat = jnp.abs(x0).reshape(len(x0), -1)
        bound = expand(jnp.maximum(jnp.quantile(flat, self.quantile, axis=1), 1.0), x0)
        x0 = self.middle + self.half * (jnp.clip(x0, -bound, bound) / bound)
        return _neutral(weight, told, (x0, at.noise(x0)))


@pytree
class Projected:
    """The difference d of the two x_0, shortened, with little of it along x_0: APG.

        x_0 <- with + (weight - 1) (d' - (1 - parallel) d'_par),   d' = d min(1, radius / |d|),

    d'_par the part of d' along the x_0 with the condition, which saturates pictures (Sadat et al.
    2024, arXiv:2410.02416; its momentum is that of `ClassifierFree`). parallel = 1 with an infinite
    radius is plain guidance.
    """

    parallel: Number = 0.0
    radius: Number = jnp.inf

    def __call__(self, weight: Array, told: Pair, untold: Pair, at: Point) -> Pair:
        """The projected predictions."""
        toward, difference = told[0], told[0] - untold[0]
        length = jnp.sqrt(_sums(difference**2))
        difference = difference * jnp.where(length > self.radius, self.radius / length, 1.0)
        square = _sums(toward**2)
        along = _over(_sums(difference * toward), square) * toward
        x0 = toward + (weight - 1) * (difference - (1 - self.parallel) * along)
        return _neutral(weight, told, (x0, at.noise(x0)))


@pytree
class Renoised:
    """The extrapolated x_0 with the noise of the prediction without a condition: CFG++.

    With DDIM's step, x_s = alpha_s x_0 + sigma_s noise (Chung et al. 2024, arXiv:2406.08070), for
    weights in [0, 1]; 0 is DDIM without a condition, and 1 is not DDIM with it.
    """

    def __call__(self, weight: Array, told: Pair, untold: Pair, at: Point) -> Pair:
        """(x_0, noise), which do not belong to one x_t."""
        return mixed(weight, told[0], untold[0]), untold[1]
