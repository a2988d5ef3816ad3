"""Lower bounds of the log-likelihood that need no ODE: the SDE's and the discrete model's.

With z the noise, z_hat the network's at x_t, lambda the log-SNR (Kingma et al. 2021,
arXiv:2107.00630, eq. 17; Song et al. 2021, arXiv:2101.09258, theorem 3):

    -log p(x) <= KL(q(x_T | x) | prior)                          prior
                 + E[-log p(x | x_eps)]                          reconstruction
                 + 1/2 integral of E|z - z_hat|^2 dlambda        diffusion

over [lambda(T), lambda(eps)]. On the levels t_0 < ... < t_n of a discrete model the integral is a sum
of KL(q(x_{i-1} | x_i, x) | p(x_{i-1} | x_i)) (Ho et al. 2020, arXiv:2006.11239, eq. 5),

    1/2 (e^(lambda_{i-1} - lambda_i) - 1) E|z - z_hat|^2   for the posterior's own variance,

and for others what `sde_lib.chain` says.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from sde_lib import SDE, Predicted, Score
from sde_lib.base import Number, Time
from sde_lib.chain import Decoder, Link, decoder_deviation
from sde_lib.pytree import pytree


def _sum(x: Float[Array, "b *d"]) -> Float[Array, " b"]:
    return jnp.sum(x.reshape(x.shape[0], -1), axis=1)


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
    log_ratio = 2 * (sde.log_sigma(t) - jnp.log(sde.prior_std))
    excess = jnp.expm1(log_ratio) - log_ratio  # which may be as small as 1e-18
    return 0.5 * _sum((sde.alpha(t) * x / sde.prior_std) ** 2 + excess)


def _error(
    score: Score, x: Float[Array, "b *d"], noise: Float[Array, "b *d"], t: Time
) -> tuple[Predicted, Float[Array, "b *d"]]:
    """(what the score says of x_t, z_hat - z) at one time per example, or a common one."""
    t = jnp.broadcast_to(t, x.shape[:1])
    found = score.predict(score.sde.perturb(x, noise, t), t)
    return found, found.noise - noise


def _folded(keys: PRNGKeyArray, number: Int[Array, ""] | int) -> PRNGKeyArray:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def _noise(
    keys: PRNGKeyArray, x: Float[Array, "b *d"], number: Int[Array, ""] | int
) -> Float[Array, "b *d"]:
    """The noise of the given number, like x, of one key per example."""
    draw = lambda key: jax.random.normal(key, x.shape[1:], x.dtype)
    return jax.vmap(draw)(_folded(keys, number))


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
    alpha, sigma = sde.marginal(start)
    deviation = sigma / alpha
    shift = jax.vmap(lambda key: jax.random.uniform(key, (), x.dtype))(_folded(keys, 0))

    def draw(i: Array) -> tuple[Array, Array]:
        part = (i.astype(x.dtype) + shift) / draws
        t = jnp.clip(sde.time_of_log_snr(low + (high - low) * part), start, end)
        error = _error(score, x, _noise(keys, x, 2 * i + 1), t)[1]
        mean = _error(score, x, _noise(keys, x, 2 * i + 2), start)[0].x0
        decoded = decoder.log_prob(data, x, mean, deviation)
        return 0.5 * (high - low) * _sum(error**2), -_sum(decoded)

    diffusion, reconstruction = jax.lax.map(draw, jnp.arange(draws))
    prior = jnp.broadcast_to(prior_divergence(sde, x, end), diffusion.shape)
    return Bound(prior.T, reconstruction.T, diffusion.T)


def discrete_bound(
    score: Score,
    x: Float[Array, "b *d"],
    data: Array,
    keys: PRNGKeyArray,
    *,
    times: Float[Array, " n"],
    decoder: Decoder,
    variance: float | None = 0.0,
    chained: bool = False,
) -> Bound:
    """The bound of the model whose only times are the n rising `times`; n evaluations.

    Arguments as `sde_bound`, and those of `chain_terms`; one column.
    """
    noise = partial(_noise, keys, x)
    terms = chain_terms(score, x, data, noise, times, decoder, variance, chained)
    return Bound(terms.prior[:, None], terms.decoder[:, None], terms.steps.sum(axis=0)[:, None])


class Terms(NamedTuple):
    """Terms of a chain's bound in nats per example [b]; steps [n - 1, b], from the lowest level."""

    prior: Float[Array, " b"]
    decoder: Float[Array, " b"]
    steps: Float[Array, "n_minus_1 b"]


def chain_terms(
    score: Score,
    x: Float[Array, "b *d"],
    data: Array,
    noise: Callable[[Array], Array],
    times: Float[Array, " n"],
    decoder: Decoder,
    variance: float | None,
    chained: bool,
) -> Terms:
    """Terms of the bound of the chain through the n rising `times`, the i-th of them at noise(i).

    Equal to Ho et al.'s L, but for the variance of their decoder, unless `chained`.

    variance: a value of `sde_lib.chain.VARIANCES`. chained: the decoder's variance is that of the
    chain, as published for Improved DDPM (`sde_lib.chain.decoder_deviation`, with v = 0 if v is
    fixed), and not sigma^2 / alpha^2; a learned variance always is. Raises ValueError for the
    learned variance of a score that says none.
    """
    if variance is None and not score.says_variance:
        raise ValueError(
            "the bound with a learned variance needs a score that says one (model.learn_variance)"
        )
    sde = score.sde

    def step(i: Array) -> Array:
        found, error = _error(score, x, noise(i + 1), times[i + 1])
        alpha, sigma = score.marginal(times[i + 1])
        # The same, in float32 without cancellation where x_t is hardly more than noise.
        error = jnp.where(alpha < sigma, alpha / sigma * (x - found.x0), error)
        fraction: Any = found.fraction if variance is None else variance
        return _sum(Link.of(sde, times[i], times[i + 1]).divergence(fraction, error))

    steps = jax.lax.map(step, jnp.arange(len(times) - 1))
    found, _ = _error(score, x, noise(jnp.zeros((), jnp.int32)), times[0])
    alpha, sigma = sde.marginal(times[0])
    deviation = sigma / alpha
    if chained or variance is None:
        own = 0.0 if found.fraction is None or variance is not None else found.fraction
        deviation = decoder_deviation(sde, times[0], times[1], own)
    decoded = -_sum(decoder.log_prob(data, x, found.x0, deviation))
    return Terms(prior_divergence(sde, x, times[-1]), decoded, steps)
