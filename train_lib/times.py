"""Distributions of the time t in training."""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sde_lib import SDE
from sde_lib.base import Number, Time
from sde_lib.pytree import pytree, static


class TimeLaw(Protocol):
    """The distribution of t, given by its quantile function."""

    def quantile(self, sde: SDE, u: Float[Array, " b"]) -> Time:
        """t such that P(time <= t) = u, for u in [0, 1)."""

    def correction(self, sde: SDE, t: Time) -> Time:
        """The factor on a loss at t that makes up for drawing from this law instead of another."""


class _OwnLaw:
    """A law whose losses need no correction."""

    def correction(self, sde: SDE, t: Time) -> Time:
        return jnp.ones_like(t)


@pytree
class UniformTime(_OwnLaw):
    """t ~ U(eps, T); score_sde trains with eps = 1e-5."""

    eps: Number = 1e-5

    def quantile(self, sde: SDE, u: Float[Array, " b"]) -> Time:
        return self.eps + u * (sde.T - self.eps)


@pytree
class ImportanceTime:
    """p(t) proportional to g^2 / sigma^2, instead of U(eps, T): all likelihood losses weigh alike.

    Since g^2 / sigma^2 = -d log_snr / dt, the log-SNR is uniform under this law, and its quantiles
    follow from the SDE's own inverse: in closed form, or by bisection if there is none (Song et
    al. 2021, arXiv:2101.09258, section 5.1; Kingma et al. 2021, arXiv:2107.00630, eq. 18).
    """

    eps: Number = 1e-5

    def _ends(self, sde: SDE) -> tuple[Time, Time, Time]:
        """(first time, log-SNR there, log-SNR at T)."""
        start = jnp.maximum(jnp.asarray(self.eps, float), sde.t_min)
        return start, sde.log_snr(start), sde.log_snr(jnp.full_like(start, sde.T))

    def quantile(self, sde: SDE, u: Float[Array, " b"]) -> Time:
        start, high, low = self._ends(sde)
        return jnp.clip(sde.time_of_log_snr(high + u * (low - high)), start, sde.T)

    def correction(self, sde: SDE, t: Time) -> Time:
        start, high, low = self._ends(sde)
        return (high - low) / (sde.T - start) / (sde.diffusion(t) / sde.sigma(t)) ** 2


@pytree
class UniformLevel(_OwnLaw):
    """t uniform on the N levels i / (N - 1): discrete training (DDPM, SMLD)."""

    num_scales: int = static()

    def quantile(self, sde: SDE, u: Float[Array, " b"]) -> Time:
        last = self.num_scales - 1
        return jnp.clip(jnp.floor(u * self.num_scales), 0, last) / last


@pytree
class LogNormalSigma(_OwnLaw):
    """log(sigma / alpha) ~ N(mean, std^2), kept within the SDE's times (Karras et al. 2022)."""

    mean: Number = -1.2
    std: Number = 1.2

    def quantile(self, sde: SDE, u: Float[Array, " b"]) -> Time:
        tiny = jnp.finfo(u.dtype).eps
        z = jax.scipy.special.ndtri(jnp.clip(u, tiny, 1 - tiny))
        t = sde.time_of_log_snr(-2 * (self.mean + self.std * z))
        return jnp.clip(t, sde.t_min, sde.T)


def _spread_order(n: int) -> Float[Array, " n"]:
    """0 to n - 1 in an order whose beginnings are all spread evenly (by the golden ratio).

    So the images of a batch that ends with padding have times from the whole law, too.
    """
    place = np.argsort(np.argsort(np.arange(n) * (np.sqrt(5) - 1) / 2 % 1))
    return jnp.asarray(place, float)


def draw_times(
    law: TimeLaw, sde: SDE, key: PRNGKeyArray, n: int, *, stratified: bool
) -> Float[Array, " n"]:
    """n times from a law, spread evenly over it if `stratified`."""
    if stratified:
        u = (jax.random.uniform(key) + _spread_order(n) / n) % 1.0
    else:
        u = jax.random.uniform(key, (n,))
    return law.quantile(sde, u)
