"""Linear SDEs with scalar coefficients, each described by its marginal.

    x_t = alpha(t) x_0 + sigma(t) eps,   eps ~ N(0, I),   0 < t <= T                    (1)

is the law at time t of dx = f(x, t) dt + g(t) dw with (Song et al. 2021, arXiv:2011.13456, eq. 5)

    f(x, t) = (d log alpha / dt) x,      g(t)^2 = -sigma(t)^2 (d lambda / dt),           (2)

where lambda(t) = log(alpha^2 / sigma^2) is the log-SNR (Kingma et al. 2021, arXiv:2107.00630).
Generation runs time backwards (eq. 6 and 13 of the first paper; eta = 1 and eta = 0):

    dx = [f(x, t) - (1 + eta^2) / 2 g(t)^2 score(x, t)] dt + eta g(t) dw.                (3)

A subclass states alpha, sigma and the prior; everything else follows from (1) to (3).
Numbers are pytree leaves: a changed beta_max compiles nothing.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from sde_lib.pytree import pytree

Time = Float[Array, "*b"]
"""Times in (0, T]: a scalar, or one per example."""

Number = float | Float[Array, ""]
"""A constant of an SDE or a method: a Python number, or a traced one under jit."""

ScoreFunction = Callable[[Float[Array, "b *d"], Time], Float[Array, "b *d"]]

BISECTIONS = 60
"""Halvings of [0, T] in the generic inverse of the log-SNR, more than float64's 53 bits."""


def expand(c: Shaped[Array, "*b"], x: Float[Array, "b *d"]) -> Shaped[Array, "..."]:
    """Append axes to the coefficients `c` ([] or [b]) so that they multiply `x` ([b, ...])."""
    return c if c.ndim == 0 else c.reshape(c.shape + (1,) * (x.ndim - c.ndim))


def time_derivative(f: Callable[[Time], Time], t: Time) -> Time:
    """df/dt of an elementwise function, exactly (forward mode)."""
    return jax.jvp(f, (t,), (jnp.ones_like(t),))[1]


class SDE(abc.ABC):
    """Protocol of a forward SDE; see the module docstring for notation. Holds no state."""

    learned: ClassVar[bool] = False
    """True for an SDE with trained parameters of its own, beside the network's."""

    @property
    def T(self) -> Number:
        """The largest time."""
        return 1.0

    @property
    def t_min(self) -> Number:
        """Smallest usable time: training and likelihood stop here (published `eps`)."""
        return 1e-5

    @property
    def t_min_sampling(self) -> Number:
        """Time at which published sampling stops."""
        return 1e-3

    @abc.abstractmethod
    def log_alpha(self, t: Time) -> Time:
        """log of the mean coefficient alpha(t)."""

    @abc.abstractmethod
    def sigma(self, t: Time) -> Time:
        """Standard deviation of x_t given x_0."""

    @property
    @abc.abstractmethod
    def prior_std(self) -> Float[Array, ""]:
        """Standard deviation of the Gaussian from which generation starts."""

    def alpha(self, t: Time) -> Time:
        """Mean coefficient: E[x_t | x_0] = alpha(t) x_0."""
        return jnp.exp(self.log_alpha(t))

    def log_sigma(self, t: Time) -> Time:
        """log sigma(t)."""
        return jnp.log(self.sigma(t))

    def marginal(self, t: Time) -> tuple[Time, Time]:
        """(alpha(t), sigma(t)) of (1)."""
        return self.alpha(t), self.sigma(t)

    def log_snr(self, t: Time) -> Time:
        """lambda(t) = log(alpha^2 / sigma^2), decreasing in t."""
        return 2.0 * (self.log_alpha(t) - self.log_sigma(t))

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """The inverse of `log_snr`, by bisection on [0, T]; values outside are clipped."""

        def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bounds
            middle = (low + high) / 2
            above = self.log_snr(middle) >= log_snr
            return jnp.where(above, middle, low), jnp.where(above, high, middle)

        bounds = jnp.zeros_like(log_snr), jnp.full_like(log_snr, self.T)
        low, high = jax.lax.fori_loop(0, BISECTIONS, halve, bounds)
        return (low + high) / 2

    def drift_rate(self, t: Time) -> Time:
        """d log alpha / dt, the coefficient of x in the drift (2)."""
        return time_derivative(self.log_alpha, t)

    def drift(self, x: Float[Array, "b *d"], t: Time) -> Float[Array, "b *d"]:
        """f(x, t) of (2)."""
        return expand(self.drift_rate(t), x) * x

    def diffusion(self, t: Time) -> Time:
        """g(t) of (2)."""
        return self.sigma(t) * jnp.sqrt(-time_derivative(self.log_snr, t))

    def log_alpha_change(self, s: Time, t: Time) -> Time:
        """log alpha_t - log alpha_s, for s <= t.

        Subclasses write this and `log_snr_change` in terms of t - s, because the difference of two
        float32 values at neighbours among a thousand levels would keep only four digits.
        """
        return self.log_alpha(t) - self.log_alpha(s)

    def log_snr_change(self, s: Time, t: Time) -> Time:
        """lambda_t - lambda_s, for s <= t; see `log_alpha_change`."""
        return self.log_snr(t) - self.log_snr(s)

    def transition(self, s: Time, t: Time) -> tuple[Time, Time]:
        """(a, b) of the exact kernel x_t | x_s ~ N(a x_s, b I), for s <= t.

        a = alpha_t / alpha_s and b = sigma_t^2 - a^2 sigma_s^2, written without cancellation.
        """
        a = jnp.exp(self.log_alpha_change(s, t))
        return a, -(self.sigma(t) ** 2) * jnp.expm1(self.log_snr_change(s, t))

    def perturb(
        self, x0: Float[Array, "b *d"], noise: Float[Array, "b *d"], t: Time
    ) -> Float[Array, "b *d"]:
        """x_t of (1)."""
        alpha, sigma = self.marginal(t)
        return expand(alpha, x0) * x0 + expand(sigma, x0) * noise

    def prior_sample(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Draw from the prior N(0, prior_std^2 I)."""
        return self.prior_std * jax.random.normal(key, shape)

    def prior_log_prob(self, x: Float[Array, "b *d"]) -> Float[Array, " b"]:
        """Log-density of the prior in nats, summed over all axes but the first."""
        z = x.reshape(x.shape[0], -1) / self.prior_std
        normaliser = z.shape[1] * (0.5 * jnp.log(2 * jnp.pi) + jnp.log(self.prior_std))
        return -0.5 * jnp.sum(z**2, axis=1) - normaliser

    def reverse(self, score: ScoreFunction) -> Reverse:
        """The reverse-time SDE, (3) with eta = 1."""
        return Reverse(self, score, jnp.ones(()))

    def probability_flow(self, score: ScoreFunction) -> Reverse:
        """The ODE with the same marginals, (3) with eta = 0."""
        return Reverse(self, score, jnp.zeros(()))

    def join(self, network: Any) -> Any:
        """All trained parameters, at their initial values: the network's and the SDE's."""
        return network

    def split(self, params: Any) -> tuple[SDE, Any]:
        """(the SDE with its trained parameters, the network's): the inverse of `join`."""
        return self, params

    def discrete(self, num_scales: int) -> SDE:
        """The SDE whose marginals at t = i / (num_scales - 1) are the model's discrete levels."""
        return self

    @property
    def num_levels(self) -> int | None:
        """The number of levels that this SDE is a table of; None if it is no table."""
        return None


@pytree
class Reverse:
    """The reverse-time process (3) of `sde` under `score`; eta scales its noise."""

    sde: SDE
    score: ScoreFunction
    eta: Float[Array, ""]

    def drift(self, x: Float[Array, "b *d"], t: Time) -> Float[Array, "b *d"]:
        """f - (1 + eta^2)/2 g^2 score, to be integrated from T down."""
        weight = (1 + self.eta**2) / 2 * self.sde.diffusion(t) ** 2
        return self.sde.drift(x, t) - expand(weight, x) * self.score(x, t)

    def diffusion(self, t: Time) -> Time:
        """eta g(t)."""
        return self.eta * self.sde.diffusion(t)
