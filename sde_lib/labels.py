"""Conditionings: the number that tells a network how noisy its input is."""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_lib.base import SDE, Number, Time
from sde_lib.pytree import pytree, static
from sde_lib.rounding import ROUNDING_SLACK
from sde_lib.vp import VP


class Conditioning(Protocol):
    """The number that tells the network how noisy its input is."""

    @property
    def of_log_sigma(self) -> bool:
        """True if the label is linear in log(sigma / alpha), as a schedule in training needs it."""

    def label(self, sde: SDE, t: Time) -> Time:
        """The network's second input at time t."""


@pytree
class TimeLabel:
    """scale * t: 999 for the published continuous VP models, N - 1 for the discrete ones."""

    scale: Number = 999.0

    of_log_sigma = False

    def label(self, sde: SDE, t: Time) -> Time:
        return self.scale * t


@pytree
class AlphaLabel:
    """alpha, the root of the share of signal in VP's variance: SR3's networks are given it.

    (Chen et al. 2021, arXiv:2009.00713, section 3; Saharia et al. 2021, arXiv:2104.07636.)
    """

    of_log_sigma = False

    def label(self, sde: SDE, t: Time) -> Time:
        return sde.marginal(t)[0]


@pytree
class LogSigmaLabel:
    """scale * log(sigma / alpha): 1 for NCSN++ (alpha = 1), 1/4 for EDM."""

    scale: Number = 1.0

    of_log_sigma = True

    def label(self, sde: SDE, t: Time) -> Time:
        return -0.5 * self.scale * sde.log_snr(t)


@pytree
class LogHalfSigmaLabel:
    """log(sigma / (2 alpha)), the label of EDM's VE networks (its table 1, column 'VE')."""

    of_log_sigma = True

    def label(self, sde: SDE, t: Time) -> Time:
        alpha, sigma = sde.marginal(t)
        return jnp.log(0.5 * (sigma / alpha))


@pytree
class VPTimeLabel:
    """scale * (the time at which the VP SDE has the SNR of t): EDM's table 1, column 'VP'.

    A network trained on VP with labels 999 t can so be used with any SDE; under VP itself the label
    is that of `TimeLabel`.
    """

    vp: VP = VP()
    scale: Number = 999.0

    of_log_sigma = False

    def label(self, sde: SDE, t: Time) -> Time:
        return self.scale * self.vp.time_of_log_snr(sde.log_snr(t))


IDDPM_RATIO, IDDPM_OFFSET = 0.001, 0.008
"""iDDPM's C_1, the least ratio of successive a_j, and C_2, the offset at the cosine's end."""


@pytree
class CosineLevelLabel:
    """The index, in iDDPM's order, of the noise level nearest to sigma / alpha.

    The levels are u_M = 0, u_{j-1} = sqrt((u_j^2 + 1) / max(a_{j-1} / a_j, C_1) - 1) with
    a_j = sin^2(pi j / (2 M (C_2 + 1))), falling from u_0 (Nichol & Dhariwal 2021,
    arXiv:2102.09672, as in EDM's table 1, column 'iDDPM'); level j has the label M - 1 - j.
    """

    levels: Float[Array, " m_plus_1"]

    of_log_sigma = False

    @classmethod
    def of(cls, num_scales: int) -> CosineLevelLabel:
        """The M = num_scales levels and u_M, computed in float64 and cast once."""
        angle = np.pi / 2 * np.arange(num_scales + 1) / (num_scales * (IDDPM_OFFSET + 1))
        kept = np.sin(angle) ** 2
        u = np.zeros(num_scales + 1)
        for j in range(num_scales, 0, -1):
            ratio = max(kept[j - 1] / kept[j], IDDPM_RATIO)
            u[j - 1] = np.sqrt((u[j] ** 2 + 1) / ratio - 1)
        return cls(jnp.asarray(u, float))

    def label(self, sde: SDE, t: Time) -> Time:
        alpha, sigma = sde.marginal(t)
        levels = self.levels.astype(t.dtype).reshape((1,) * t.ndim + (-1,))
        nearest = jnp.argmin(jnp.abs((sigma / alpha)[..., None] - levels), axis=-1)
        return (self.levels.shape[0] - 2 - nearest).astype(t.dtype)


@pytree
class IndexLabel:
    """scale i at the level i nearest to t, counted from 0, the least noisy one.

    Improved DDPM's networks are given i, or 1000 i / N (Nichol & Dhariwal 2021, their code).
    """

    num_scales: int = static()
    scale: Number = 1.0

    of_log_sigma = False

    def label(self, sde: SDE, t: Time) -> Time:
        return self.scale * jnp.round(t * (self.num_scales - 1))


@pytree
class IndexBelowLabel:
    """i at the level i at t or below it, or with `strictly` below it, counted from 0.

    diffusers tells the levels of some warped grids so.
    """

    num_scales: int = static()
    strictly: bool = static(default=False)

    of_log_sigma = False

    def label(self, sde: SDE, t: Time) -> Time:
        slack = -ROUNDING_SLACK if self.strictly else ROUNDING_SLACK
        return jnp.maximum(jnp.floor(t * (self.num_scales - 1) + slack), 0.0)


@pytree
class DescendingLevelLabel:
    """The level's number counted from the noisiest, as NCSN's discrete models expect it."""

    num_scales: int = static()

    of_log_sigma = False

    def label(self, sde: SDE, t: Time) -> Time:
        return jnp.round((sde.T - t) * (self.num_scales - 1))
