"""Sub-variance-preserving SDE (Song et al. 2021, arXiv:2011.13456, eq. 12 and appendix B)."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import SDE, Number, Time
from sde_lib.pytree import pytree
from sde_lib.vp import linear_beta_log_alpha, linear_beta_log_alpha_change, linear_beta_time


@pytree
class SubVP(SDE):
    """The VP drift with less noise: sigma(t) = 1 - alpha(t)^2, never above VP's.

    g(t)^2 = beta(t) (1 - alpha(t)^4). Published constants and times are those of VP.
    """

    beta_min: Number = 0.1
    beta_max: Number = 20.0

    t_min_sampling: ClassVar[float] = 1e-3

    def beta(self, t: Time) -> Time:
        """beta(t), the rate at which the mean decays (twice)."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def log_alpha(self, t: Time) -> Time:
        """VP's: -t^2 (beta_max - beta_min) / 4 - t beta_min / 2."""
        return linear_beta_log_alpha(self.beta_min, self.beta_max, t)

    def sigma(self, t: Time) -> Time:
        """1 - alpha^2."""
        return -jnp.expm1(2 * self.log_alpha(t))

    @property
    def prior_std(self) -> Float[Array, ""]:
        """1, as published; sigma(T) differs from it by 4e-5."""
        return jnp.ones(())

    def log_alpha_change(self, s: Time, t: Time) -> Time:
        """VP's: -1/2 of the integral of beta from s to t."""
        return linear_beta_log_alpha_change(self.beta_min, self.beta_max, s, t)

    def log_snr_change(self, s: Time, t: Time) -> Time:
        """2 (log a - log(sigma_t / sigma_s)), where sigma_t - sigma_s = alpha_s^2 (1 - a^2)."""
        change = 2 * self.log_alpha_change(s, t)
        gain = -jnp.exp(2 * self.log_alpha(s)) * jnp.expm1(change)
        return change - 2 * jnp.log1p(gain / self.sigma(s))

    def drift_rate(self, t: Time) -> Time:
        """-beta(t) / 2."""
        return -0.5 * self.beta(t)

    def diffusion(self, t: Time) -> Time:
        """sqrt(beta(t) (1 - alpha(t)^4))."""
        return jnp.sqrt(-self.beta(t) * jnp.expm1(4 * self.log_alpha(t)))

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """Closed form: u = sigma / (2 alpha) gives alpha = sqrt(1 + u^2) - u, its log -asinh(u)."""
        log_alpha = -jnp.arcsinh(jnp.exp(-log_snr / 2) / 2)
        return linear_beta_time(self.beta_min, self.beta_max, log_alpha)
