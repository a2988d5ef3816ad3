"""Variance-exploding SDE (Song et al. 2021, arXiv:2011.13456, eq. 9 and appendix B)."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import SDE, Number, Time
from sde_lib.pytree import pytree


@pytree
class VE(SDE):
    """dx = g(t) dw with sigma(t) = sigma_min (sigma_max / sigma_min)^t and alpha = 1.

    Published constants: sigma_min = 0.01, sigma_max = 50 (CIFAR-10), T = 1, prior
    N(0, sigma_max^2 I); training, likelihood and sampling from t = 1e-5. NCSN's geometric noise
    levels are exactly sigma(i / (N - 1)), so the discrete model shares this SDE.
    """

    sigma_min: Number = 0.01
    sigma_max: Number = 50.0

    t_min_sampling: ClassVar[float] = 1e-5

    def _log_ratio(self) -> Float[Array, ""]:
        return jnp.log(self.sigma_max) - jnp.log(self.sigma_min)

    def log_alpha(self, t: Time) -> Time:
        """0: the mean does not decay."""
        return jnp.zeros_like(t)

    def log_sigma(self, t: Time) -> Time:
        """Linear in t."""
        return jnp.log(self.sigma_min) + t * self._log_ratio()

    def sigma(self, t: Time) -> Time:
        """sigma_min (sigma_max / sigma_min)^t."""
        return jnp.exp(self.log_sigma(t))

    def log_snr_change(self, s: Time, t: Time) -> Time:
        """-2 (t - s) log(sigma_max / sigma_min)."""
        return -2 * (t - s) * self._log_ratio()

    @property
    def prior_std(self) -> Float[Array, ""]:
        """sigma_max."""
        return jnp.asarray(self.sigma_max)

    def drift_rate(self, t: Time) -> Time:
        """0."""
        return jnp.zeros_like(t)

    def diffusion(self, t: Time) -> Time:
        """sigma(t) sqrt(2 log(sigma_max / sigma_min))."""
        return self.sigma(t) * jnp.sqrt(2 * self._log_ratio())

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """Closed form: log sigma = -log_snr / 2."""
        return (-log_snr / 2 - jnp.log(self.sigma_min)) / self._log_ratio()
