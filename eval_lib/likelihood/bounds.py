"""Lower bounds of the log-likelihood that need no ODE: the SDE's and the discrete model's.

With z the noise, z_hat the network's at x_t, lambda the log-SNR (Kingma et al. 2021,
arXiv:2107.00630, eq. 17; Song et al. 2021, arXiv:2101.09258, theorem 3):

    -log p(x) <= KL(q(x_T | x) | prior)                          prior
                 + E[-log p(x | x_eps)]                          reconstruction
                 + 1/2 integral of E|z - z_hat|^2 dlambda        diffusion

over [lambda(T), lambda(eps)]. On the levels t_0 < ... < t_n of a discrete model the integral is a sum
of KL(q(x_{i-1} | x_i, x) | p(x_{i-1} | x_i)) (Ho et al. 2020, arXiv:2006.11239, eq. 5),

    1/2 (e^(lambda_{i-1} - lambda_i) - 1) E|z - z_hat|^2   for the posterior's own variance.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from eval_lib.likelihood.bins import Bins
from sde_lib import SDE, Score
from sde_lib.base import Number, Time
from sde_lib.pytree import pytree


def _sum(x: Float[Array, "b *d"]) -> Float[Array, " b"]:
    return jnp.sum(x.reshape(x.shape[0], -1), axis=1)


class Decoder(Protocol):
    """p(data | x_eps), centred at the denoiser's x_0."""

    def log_prob(
        self,
        data: Shaped[Array, "b *d"],
        x: Float[Array, "b *d"],
        mean: Float[Array, "b *d"],
        deviation: Float[Array, ""],
    ) -> Float[Array, " b"]:
        """log p in nats of the data, or of x, their value in the network's range.

        deviation is sigma / alpha at eps.
        """


@pytree
class GaussianDecoder:
    """The density N(mean, deviation^2) at x."""

    def log_prob(
        self,
        data: Shaped[Array, "b *d"],
        x: Float[Array, "b *d"],
        mean: Float[Array, "b *d"],
        deviation: Float[Array, ""],
    ) -> Float[Array, " b"]:
        z = (x - mean) / deviation
        return _sum(-0.5 * (z**2 + jnp.log(2 * jnp.pi)) - jnp.log(deviation))


@pytree
class LevelDecoder:
    """The mass of N(mean, deviation^2) on the bin of each integer level of the data."""

    bins: Bins

    def log_prob(
        self,
        data: Int[Array, "b *d"],
        x: Float[Array, "b *d"],
        mean: Float[Array, "b *d"],
        deviation: Float[Array, ""],
    ) -> Float[Array, " b"]:
        return _sum(self.bins.log_prob(data, mean, deviation))


@pytree
class Bound:
    """The three terms in nats per example [b, s], one column per draw of the noise."""

    prior: Float[Array, "b s"]
    reconstruction: Float[Array, "b s"]
    diffusion: Float[Array, "b s"]

    @property
    def log_prob(self) -> Float[Array, "b s"]:
        """The bound on log p: minus the sum of the terms."""
        return -(self.prior + self.reconstruction + self.diffusion)


def prior_divergence(sde: SDE, x: Float[Array, "b *d"], t: Time) -> Float[Array, " b"]:
    """KL(q(x_t | x) | prior) in nats."""
    alpha, sigma = sde.marginal(t)
    ratio = (sigma / sde.prior_std) ** 2
    return 0.5 * _sum((alpha * x / sde.prior_std) ** 2 + (ratio - 1 - jnp.log(ratio)))


def _error(
    score: Score, x: Float[Array, "b *d"], key: PRNGKeyArray, t: Time
) -> tuple[Float[Array, "b *d"], Float[Array, " b"]]:
    """(denoised x_t, |z - z_hat|^2) at one time per example, or a common one."""
    t = jnp.broadcast_to(t, x.shape[:1])
    noise = jax.vmap(lambda k: jax.random.normal(k, x.shape[1:], x.dtype))(key)
    x0, predicted, _ = score.predict(score.sde.perturb(x, noise, t), t)
    return x0, _sum((noise - predicted) ** 2)


def _reconstruction(
    score: Score, x: Array, data: Array, decoder: Decoder, keys: PRNGKeyArray, t: Time
) -> Float[Array, " b"]:
    alpha, sigma = score.sde.marginal(t)
    return -decoder.log_prob(data, x, _error(score, x, keys, t)[0], sigma / alpha)


def _folded(keys: PRNGKeyArray, number: Int[Array, ""] | int) -> PRNGKeyArray:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def sde_bound(
    score: Score,
    x: Float[Array, "b *d"],
    data: Array,
    keys: PRNGKeyArray,
    *,
    eps: Number,
    decoder: Decoder,
    draws: int,
) -> Bound:
    """The SDE's bound, its integral by `draws` log-SNRs per example spread evenly over the range.

    x: the data in the network's range; data: the original values (x itself, or integer levels).
    Any number of draws is unbiased; 2 x draws evaluations. Columns are independent except for the
    spreading: their mean is the estimate.
    """
    sde = score.sde
    start, end = jnp.asarray(eps, float), jnp.asarray(sde.T, float)
    high, low = sde.log_snr(start), sde.log_snr(end)
    shift = jax.vmap(lambda key: jax.random.uniform(key, (), x.dtype))(_folded(keys, 0))

    def draw(i: Array) -> tuple[Array, Array]:
        part = (i.astype(x.dtype) + shift) / draws
        t = jnp.clip(sde.time_of_log_snr(low + (high - low) * part), start, end)
        error = _error(score, x, _folded(keys, 2 * i + 1), t)[1]
        decoded = _reconstruction(score, x, data, decoder, _folded(keys, 2 * i + 2), start)
        return 0.5 * (high - low) * error, decoded

    diffusion, reconstruction = jax.lax.map(draw, jnp.arange(draws))
    prior = jnp.broadcast_to(prior_divergence(sde, x, end), diffusion.shape)
    return Bound(prior.T, reconstruction.T, diffusion.T)


Variance = Callable[[Float[Array, ""], int], tuple[Float[Array, ""], Float[Array, ""]]]
"""(sigma_s^2 / sigma_t^2, d) -> (factor on the posterior's term, added term in nats)."""


def _kernel_variance(ratio: Array, d: int) -> tuple[Array, Array]:
    return ratio, 0.5 * d * (ratio - 1 - jnp.log(ratio))


VARIANCES: dict[str, Variance] = {
    "posterior": lambda ratio, d: (jnp.ones_like(ratio), jnp.zeros_like(ratio)),
    "kernel": _kernel_variance,
}
"""The reverse kernel's variance: the posterior's (Ho et al.'s beta tilde), or the forward kernel's
(their beta), which is larger by the factor 1 / ratio."""


def discrete_bound(
    score: Score,
    x: Float[Array, "b *d"],
    data: Array,
    keys: PRNGKeyArray,
    *,
    times: Float[Array, " n"],
    decoder: Decoder,
    variance: Variance = VARIANCES["posterior"],
) -> Bound:
    """The bound of the model whose only times are the n rising `times`; n evaluations.

    Arguments as `sde_bound`; one column. Equal to Ho et al.'s L for their levels and fixed
    variances, except that the decoder's variance for x_1 is sigma^2 / alpha^2 there.
    """
    sde, d = score.sde, x[0].size

    def term(i: Array) -> Array:
        s, t = times[i], times[i + 1]
        factor, extra = variance((sde.sigma(s) / sde.sigma(t)) ** 2, d)
        error = _error(score, x, _folded(keys, i + 1), t)[1]
        return 0.5 * factor * jnp.expm1(-sde.log_snr_change(s, t)) * error + extra

    diffusion = jnp.sum(jax.lax.map(term, jnp.arange(len(times) - 1)), axis=0)
    reconstruction = _reconstruction(score, x, data, decoder, _folded(keys, 0), times[0])
    prior = prior_divergence(sde, x, times[-1])
    return Bound(prior[:, None], reconstruction[:, None], diffusion[:, None])
