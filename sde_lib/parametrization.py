"""Parametrizations: the meaning of a network's raw output, and its inputs.

One hub: raw output F -> (x_0, eps) -> any other view. Every prediction is linear in (x_t, F), so
each class gives two pairs of coefficients in a form that is accurate at both ends of time:

    x_0 = data_skip x_t + data_out F,        eps = noise_skip x_t + noise_out F,

with x_t = alpha x_0 + sigma eps. A new prediction, conditioning or rounding is one class here and
one row in a table of `sde_lib/build.py`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_lib.base import SDE, Number, Time, expand
from sde_lib.pytree import pytree, static
from sde_lib.vp import VP

ROUNDING_SLACK = 5e-4
"""Added before truncating t (N - 1): float32 keeps an integer level to 1.2e-4 at N = 1000."""


class Coefficients(NamedTuple):
    """x_0 = data_skip x + data_out F and eps = noise_skip x + noise_out F, each like t."""

    data_skip: Time
    data_out: Time
    noise_skip: Time
    noise_out: Time


class Prediction(Protocol):
    """The meaning of the raw output F at noise level (alpha, sigma)."""

    def coefficients(self, alpha: Time, sigma: Time) -> Coefficients:
        """The map from (x_t, F) to (x_0, eps)."""

    def input_scale(self, alpha: Time, sigma: Time) -> Time:
        """The factor on x_t before it enters the network."""


@pytree
class Noise:
    """F = eps (Ho et al. 2020): score = -F / sigma."""

    def coefficients(self, alpha: Time, sigma: Time) -> Coefficients:
        return Coefficients(1 / alpha, -sigma / alpha, jnp.zeros_like(alpha), jnp.ones_like(alpha))

    def input_scale(self, alpha: Time, sigma: Time) -> Time:
        return jnp.ones_like(alpha)


@pytree
class UnitNoise:
    """F = eps, for a network that is given x_t / sqrt(alpha^2 + sigma^2).

    A network trained on a variance-preserving process (VP, iDDPM) can so be used with any other:
    Karras et al. 2022, arXiv:2206.00364, table 1, columns 'VP' and 'iDDPM'.
    """

    def coefficients(self, alpha: Time, sigma: Time) -> Coefficients:
        return Coefficients(1 / alpha, -sigma / alpha, jnp.zeros_like(alpha), jnp.ones_like(alpha))

    def input_scale(self, alpha: Time, sigma: Time) -> Time:
        return 1 / jnp.sqrt(alpha**2 + sigma**2)


@pytree
class ScaledScore:
    """F = sigma score = -eps: NCSN++'s `scale_by_sigma`, score = F / sigma."""

    def coefficients(self, alpha: Time, sigma: Time) -> Coefficients:
        return Coefficients(1 / alpha, sigma / alpha, jnp.zeros_like(alpha), -jnp.ones_like(alpha))

    def input_scale(self, alpha: Time, sigma: Time) -> Time:
        return jnp.ones_like(alpha)


@pytree
class RawScore:
    """F = score."""

    def coefficients(self, alpha: Time, sigma: Time) -> Coefficients:
        return Coefficients(1 / alpha, sigma**2 / alpha, jnp.zeros_like(alpha), -sigma)

    def input_scale(self, alpha: Time, sigma: Time) -> Time:
        return jnp.ones_like(alpha)


@pytree
class Data:
    """F = x_0."""

    def coefficients(self, alpha: Time, sigma: Time) -> Coefficients:
        return Coefficients(jnp.zeros_like(alpha), jnp.ones_like(alpha), 1 / sigma, -alpha / sigma)

    def input_scale(self, alpha: Time, sigma: Time) -> Time:
        return jnp.ones_like(alpha)


@pytree
class V:
    """F = alpha eps - sigma x_0 (Salimans & Ho 2022, arXiv:2202.00512), for any alpha, sigma."""

    def coefficients(self, alpha: Time, sigma: Time) -> Coefficients:
        power = alpha**2 + sigma**2
        return Coefficients(alpha / power, -sigma / power, sigma / power, alpha / power)

    def input_scale(self, alpha: Time, sigma: Time) -> Time:
        return jnp.ones_like(alpha)


@pytree
class Velocity:
    """F = eps - x_0, the velocity of the straight path (Liu et al. 2023, arXiv:2209.03003)."""

    def coefficients(self, alpha: Time, sigma: Time) -> Coefficients:
        total = alpha + sigma
        return Coefficients(1 / total, -sigma / total, 1 / total, alpha / total)

    def input_scale(self, alpha: Time, sigma: Time) -> Time:
        return jnp.ones_like(alpha)


@pytree
class EDM:
    """EDM's preconditioning (Karras et al. 2022, arXiv:2206.00364, eq. 7 and table 1).

    With r = sqrt(sigma^2 + alpha^2 d^2), d = sigma_data, the standard deviation of x_t:
    network input x_t / r, x_0 = alpha d^2 / r^2 x_t + sigma d / r F. Input, output and target
    have unit variance at every noise level.
    """

    sigma_data: Number = 0.5

    def _scale(self, alpha: Time, sigma: Time) -> Time:
        return jnp.sqrt(sigma**2 + (alpha * self.sigma_data) ** 2)

    def coefficients(self, alpha: Time, sigma: Time) -> Coefficients:
        d, r = self.sigma_data, self._scale(alpha, sigma)
        return Coefficients(alpha * d**2 / r**2, sigma * d / r, sigma / r**2, -alpha * d / r)

    def input_scale(self, alpha: Time, sigma: Time) -> Time:
        return 1 / self._scale(alpha, sigma)


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
class DescendingLevelLabel:
    """The level's number counted from the noisiest, as NCSN's discrete models expect it."""

    num_scales: int = static()

    of_log_sigma = False

    def label(self, sde: SDE, t: Time) -> Time:
        return jnp.round((sde.T - t) * (self.num_scales - 1))


class Rounding(Protocol):
    """Map from a time t to the time at which the network was trained that replaces it."""

    def snap(self, t: Time) -> Time:
        """The trained time that replaces t."""


@pytree
class Continuous:
    """The identity, for a network that was trained at every t."""

    def snap(self, t: Time) -> Time:
        return t


@pytree
class LevelBelow:
    """The level i <= t (N - 1): how the published code looks up DDPM's standard deviation."""

    num_scales: int = static()

    def snap(self, t: Time) -> Time:
        last = self.num_scales - 1
        return jnp.floor(t * last + ROUNDING_SLACK) / last


@pytree
class NearestLevel:
    """The level nearest to t (N - 1), as the published code does for NCSN's levels."""

    num_scales: int = static()

    def snap(self, t: Time) -> Time:
        last = self.num_scales - 1
        return 1 - jnp.round((1 - t) * last) / last


@pytree
class Parametrization:
    """Prediction, conditioning and rounding together: raw output <-> (x_0, eps)."""

    prediction: Prediction
    conditioning: Conditioning
    rounding: Rounding = Continuous()

    def marginal(self, sde: SDE, t: Time) -> tuple[Time, Time]:
        """(alpha, sigma) at the rounded time, which the network takes t for."""
        return sde.marginal(self.rounding.snap(t))

    def inputs(self, sde: SDE, x: Float[Array, "b *d"], t: Time) -> tuple[Array, Time]:
        """The network's inputs at (x_t, t): the scaled image and the label."""
        scale = self.prediction.input_scale(*self.marginal(sde, t))
        return expand(scale, x) * x, self.conditioning.label(sde, t)

    def interpret(
        self, sde: SDE, x: Float[Array, "b *d"], t: Time, raw: Float[Array, "b *d"]
    ) -> tuple[Float[Array, "b *d"], Float[Array, "b *d"]]:
        """(x_0, eps) from the raw output at (x_t, t)."""
        c = self.prediction.coefficients(*self.marginal(sde, t))
        x0 = expand(c.data_skip, x) * x + expand(c.data_out, x) * raw
        return x0, expand(c.noise_skip, x) * x + expand(c.noise_out, x) * raw
