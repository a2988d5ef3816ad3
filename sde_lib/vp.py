"""Variance-preserving SDE (Song et al. 2021, arXiv:2011.13456, eq. 11 and appendix B)."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_lib.base import SDE, Number, Time
from sde_lib.pytree import pytree
from sde_lib.tabulated import Tabulated


def linear_beta_log_alpha(beta_min: Number, beta_max: Number, t: Time) -> Time:
    """log alpha of beta(t) = beta_min + t (beta_max - beta_min): -1/2 of its integral."""
    return -0.25 * t**2 * (beta_max - beta_min) - 0.5 * t * beta_min


def linear_beta_log_alpha_change(beta_min: Number, beta_max: Number, s: Time, t: Time) -> Time:
    """log alpha_t - log alpha_s: -1/2 of the integral of beta from s to t."""
    return -(t - s) * (0.25 * (t + s) * (beta_max - beta_min) + 0.5 * beta_min)


def linear_beta_time(beta_min: Number, beta_max: Number, log_alpha: Time) -> Time:
    """The inverse of `linear_beta_log_alpha`, free of cancellation near t = 0."""
    half = 0.5 * beta_min
    return -2 * log_alpha / (half + jnp.sqrt(half**2 - (beta_max - beta_min) * log_alpha))


@pytree
class VP(SDE):
    """dx = -beta(t)/2 x dt + sqrt(beta(t)) dw with beta linear in t; alpha^2 + sigma^2 = 1.

    Published constants: beta_min = 0.1, beta_max = 20, T = 1, prior N(0, I); training and
    likelihood from t = 1e-5, sampling down to t = 1e-3.
    """

    beta_min: Number = 0.1
    beta_max: Number = 20.0

    t_min_sampling: ClassVar[float] = 1e-3

    def beta(self, t: Time) -> Time:
        """beta(t), the noise rate."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def log_alpha(self, t: Time) -> Time:
        """-t^2 (beta_max - beta_min) / 4 - t beta_min / 2."""
        return linear_beta_log_alpha(self.beta_min, self.beta_max, t)

    def sigma(self, t: Time) -> Time:
        """sqrt(1 - alpha^2)."""
        return jnp.sqrt(-jnp.expm1(2 * self.log_alpha(t)))

    @property
    def prior_std(self) -> Float[Array, ""]:
        """1, as published; sigma(T) differs from it by 2e-5."""
        return jnp.ones(())

    def log_alpha_change(self, s: Time, t: Time) -> Time:
        """-1/2 of the integral of beta from s to t."""
        return linear_beta_log_alpha_change(self.beta_min, self.beta_max, s, t)

    def log_snr_change(self, s: Time, t: Time) -> Time:
        """log a^2 - log(sigma_t^2 / sigma_s^2), sigma_t^2 - sigma_s^2 = alpha_s^2 (1 - a^2)."""
        change = 2 * self.log_alpha_change(s, t)
        gain = -jnp.exp(2 * self.log_alpha(s)) * jnp.expm1(change)
        return change - jnp.log1p(gain / self.sigma(s) ** 2)

    def drift_rate(self, t: Time) -> Time:
        """-beta(t) / 2."""
        return -0.5 * self.beta(t)

    def diffusion(self, t: Time) -> Time:
        """sqrt(beta(t))."""
        return jnp.sqrt(self.beta(t))

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """Closed form: alpha^2 = sigmoid(log_snr)."""
        log_alpha = -0.5 * jnp.logaddexp(0.0, -log_snr)
        return linear_beta_time(self.beta_min, self.beta_max, log_alpha)

    def discrete(self, num_scales: int) -> Tabulated:
        """DDPM's levels: beta_i from beta_min / N to beta_max / N (Ho et al. 2020, eq. 4).

        Raises ValueError when num_scales is so small that a beta_i leaves (0, 1).
        """
        low, high = float(self.beta_min) / num_scales, float(self.beta_max) / num_scales
        if not 0 < low <= high < 1:
            raise ValueError(
                f"sde.num_scales={num_scales} gives discrete betas from {low:g} to {high:g}, "
                "outside (0, 1): raise sde.num_scales above sde.beta_max"
            )
        return Tabulated.of_betas(np.linspace(low, high, num_scales))
