"""Parametrizations: the meaning of a network's raw output, and its inputs.

One hub: raw output F -> (x_0, eps) -> any other view. Every prediction is linear in (x_t, F), so
each class gives two pairs of coefficients in a form that is accurate at both ends of time:

    x_0 = data_skip x_t + data_out F,        eps = noise_skip x_t + noise_out F,

with x_t = alpha x_0 + sigma eps. A new prediction, conditioning or rounding is one class here and
one row in a table of `sde_lib/build.py`; labels are in `sde_lib/labels.py`, roundings in
`sde_lib/rounding.py`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import SDE, Number, Time, expand
from sde_lib.labels import Conditioning
from sde_lib.pytree import pytree, static
from sde_lib.rounding import Continuous, Rounding


class Predicted(NamedTuple):
    """One evaluation at x_t: x0 = E[x_0 | x_t] and noise = E[eps | x_t].

    fraction: of a network that says a variance of its own for the step from t to any s < t,

        log Sigma = fraction log b + (1 - fraction) log b~,

    with b and b~ the variances of x_t given x_s and of x_s given x_t and x_0 (Nichol & Dhariwal
    2021, arXiv:2102.09672, eq. 15); it may leave [0, 1]. None of any other.
    shift: of guidance that moves a step and not x0: the mean of x_s is moved by the variance of the
    step times it. None of any other.
    memory: of a score that remembers (`Score.remembers`), what it does after this evaluation. None
    of any other.
    """

    x0: Float[Array, "b *d"]
    noise: Float[Array, "b *d"]
    fraction: Float[Array, "b *d"] | None = None
    shift: Float[Array, "b *d"] | None = None
    memory: Float[Array, "b *d"] | None = None


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


@pytree
class Parametrization:
    """Prediction, conditioning and rounding together: raw output <-> (x_0, eps).

    learn_variance: the raw output has twice the channels of x, those of the prediction and then v'
    with `Predicted.fraction` = (v' + 1) / 2.
    """

    prediction: Prediction
    conditioning: Conditioning
    rounding: Rounding = Continuous()
    learn_variance: bool = static(default=False)

    def marginal(self, sde: SDE, t: Time) -> tuple[Time, Time]:
        """(alpha, sigma) at the rounded time, which the network takes t for."""
        return sde.marginal(self.rounding.snap(t))

    def inputs(self, sde: SDE, x: Float[Array, "b *d"], t: Time) -> tuple[Array, Time]:
        """The network's inputs at (x_t, t): the scaled image and the label."""
        scale = self.prediction.input_scale(*self.marginal(sde, t))
        return expand(scale, x) * x, self.conditioning.label(sde, t)

    def interpret(
        self, sde: SDE, x: Float[Array, "b *d"], t: Time, raw: Float[Array, "b *e"]
    ) -> Predicted:
        """The prediction from the raw output at (x_t, t)."""
        fraction = None
        if self.learn_variance:
            if raw.shape[-1] != 2 * x.shape[-1]:
                raise ValueError(
                    "model.learn_variance=True needs a network whose output has twice the channels "
                    f"of an example, {2 * x.shape[-1]}, got {raw.shape[-1]}"
                )
            raw, variance = jnp.split(raw, 2, axis=-1)
            fraction = (variance + 1) / 2
        c = self.prediction.coefficients(*self.marginal(sde, t))
        x0 = expand(c.data_skip, x) * x + expand(c.data_out, x) * raw
        noise = expand(c.noise_skip, x) * x + expand(c.noise_out, x) * raw
        return Predicted(x0, noise, fraction)
