"""The Markov chain of a model's noise levels, and the terms of its bound.

With a, b of the kernel x_t | x_s ~ N(a x_s, b), the posterior of x_s given x_t and x_0 has the
variance b~ = b sigma_s^2 / sigma_t^2; the model's p(x_s | x_t) has the same mean with its x_0, and

    log Sigma = v log b + (1 - v) log b~,                                                      (1)

v being 0, 1, or what the network says, number by number (Nichol & Dhariwal 2021, arXiv:2102.09672,
eq. 15). Their divergence, in nats by number (Ho et al. 2020, arXiv:2006.11239, eq. 5), is

    (v gap + e^(-v gap) - 1 + gain e^(-v gap) (eps_hat - eps)^2) / 2,                          (2)

    gap = log(b / b~),    gain = b / (a^2 sigma_s^2) = snr_s / snr_t - 1.

p(x_0 | x_0-th level), the decoder, ends the chain: alpha_s = 1 and sigma_s = 0 there, so that
b = sigma_t^2 and b~ = 0, for which that of the step above is taken, as published.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from sde_lib.base import SDE, Number, Time, expand
from sde_lib.bins import Bins
from sde_lib.pytree import pytree

Fraction = Number | Float[Array, "b *d"]
"""v of (1): a number, or one for every number of x."""


VARIANCES: dict[str, float | None] = {"posterior": 0.0, "kernel": 1.0, "learned": None}
"""v of (1) by the variance of the reverse kernel: the posterior's (Ho et al.'s beta tilde), the
forward kernel's (their beta), or None for what the network says."""


class Link(NamedTuple):
    """gap and gain of (2), each like the times."""

    gap: Time
    gain: Time

    @classmethod
    def of(cls, sde: SDE, s: Time, t: Time) -> Link:
        """The step from t down to s < t."""
        change = sde.log_snr_change(s, t)
        return cls(2 * sde.log_alpha_change(s, t) - change, jnp.expm1(-change))

    def divergence(self, fraction: Fraction, error: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """(2), given eps_hat - eps."""
        gap, gain = expand(self.gap, error), expand(self.gain, error)
        wider = fraction * gap
        return 0.5 * (wider + jnp.expm1(-wider) + gain * jnp.exp(-wider) * error**2)


def decoder_deviation(sde: SDE, t: Time, above: Time, fraction: Fraction) -> Float[Array, "..."]:
    """The square root of (1) for the decoder at the lowest level t; `above` is the next level."""
    log_share = jnp.log(-jnp.expm1(sde.log_snr_change(t, above)))
    return jnp.exp(sde.log_sigma(t) + 0.5 * (1 - fraction) * log_share)


class Decoder(Protocol):
    """p(data | x_t) at the lowest level t, centred at the denoiser's x_0."""

    def log_prob(
        self,
        data: Shaped[Array, "b *d"],
        x: Float[Array, "b *d"],
        mean: Float[Array, "b *d"],
        deviation: Float[Array, "..."],
    ) -> Float[Array, "b *d"]:
        """log p in nats of each number of the data, or of x, their value in the network's range."""


@pytree
class GaussianDecoder:
    """The density N(mean, deviation^2) at x."""

    def log_prob(
        self,
        data: Shaped[Array, "b *d"],
        x: Float[Array, "b *d"],
        mean: Float[Array, "b *d"],
        deviation: Float[Array, "..."],
    ) -> Float[Array, "b *d"]:
        z = (x - mean) / deviation
        return -0.5 * (z**2 + jnp.log(2 * jnp.pi)) - jnp.log(deviation)


@pytree
class LevelDecoder:
    """The mass of N(mean, deviation^2) on the bin of each integer gray level of the data."""

    bins: Bins

    def log_prob(
        self,
        data: Int[Array, "b *d"],
        x: Float[Array, "b *d"],
        mean: Float[Array, "b *d"],
        deviation: Float[Array, "..."],
    ) -> Float[Array, "b *d"]:
        return self.bins.log_prob(data, mean, deviation)
