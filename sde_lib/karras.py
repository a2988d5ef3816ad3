"""The SDE whose time is the noise level (Karras et al. 2022, arXiv:2206.00364, section 3)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import SDE, Number, Time
from sde_lib.pytree import pytree


@pytree
class KarrasVE(SDE):
    """dx = sqrt(2 t) dw: x_t = x_0 + t eps, so that t is sigma itself (table 1, column 'EDM').

    Times run from sigma_min to T = sigma_max, by default 0.002 and 80, the range that EDM samples
    in for every network; the prior is N(0, sigma_max^2 I). The network may know any t > 0.
    """

    sigma_min: Number = 0.002
    sigma_max: Number = 80.0

    @property
    def T(self) -> Number:
        """sigma_max."""
        return self.sigma_max

    @property
    def t_min(self) -> Number:
        """sigma_min."""
        return self.sigma_min

    @property
    def t_min_sampling(self) -> Number:
        """sigma_min; the denoiser at this level is EDM's last step, to 0."""
        return self.sigma_min

    def log_alpha(self, t: Time) -> Time:
        """0: the mean does not decay."""
        return jnp.zeros_like(t)

    def sigma(self, t: Time) -> Time:
        """t."""
        return t

    def log_snr_change(self, s: Time, t: Time) -> Time:
        """-2 log(t / s)."""
        return -2 * jnp.log1p((t - s) / s)

    @property
    def prior_std(self) -> Float[Array, ""]:
        """sigma_max."""
        return jnp.asarray(self.sigma_max)

    def drift_rate(self, t: Time) -> Time:
        """0."""
        return jnp.zeros_like(t)

    def diffusion(self, t: Time) -> Time:
        """sqrt(2 t)."""
        return jnp.sqrt(2 * t)

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """Closed form: exp(-log_snr / 2)."""
        return jnp.exp(-log_snr / 2)
