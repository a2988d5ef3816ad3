"""Estimators of log P of data, the exact likelihood and the bounds, by their names in configs.

Each is a pytree called as estimator(score, data, keys) with one key per example. `data` are integer
levels, or numbers as the user gave them; the result is log P of the levels, or the log-density of
the numbers, in nats per example. A new estimator is one class and one line in `ESTIMATORS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from data_lib import Codec, codec
from eval_lib.likelihood import bounds
from eval_lib.likelihood.bins import DEQUANTIZATIONS, Dequantization
from eval_lib.likelihood.data_law import LawMoments
from eval_lib.likelihood.divergence import PROBES, TRACES, Trace
from eval_lib.likelihood.flow import ProbabilityFlow, prior_mismatch, truncation
from models.latents import NO_LIKELIHOOD
from samplers.adaptive.integrate import INTEGRATORS, Tolerance
from samplers.adaptive.ode import CLOCKS
from samplers.grids import LogSNR
from samplers.respacing import respaced
from sde_lib import SDE, Score, choose
from sde_lib.base import Number
from sde_lib.bins import LAYOUTS, Bins, check_cdf
from sde_lib.chain import VARIANCES, Decoder, GaussianDecoder, LevelDecoder
from sde_lib.clipping import Clipped
from sde_lib.pytree import pytree, static


@pytree
class Estimate:
    """log_prob [b, p]: p estimates per example, in nats; terms: named parts of it, or corrections
    to it, [b], in nats; evaluations [b] of the score."""

    log_prob: Float[Array, "b p"]
    terms: dict[str, Float[Array, " b"]]
    evaluations: Int[Array, " b"]


class Estimator(Protocol):
    """A function (score, data, keys) -> `Estimate`; see the module's docstring."""

    def __call__(self, score: Score, data: Array, keys: PRNGKeyArray) -> Estimate: ...


class Filling(Protocol):
    """A map from data to x in the network's range."""

    @property
    def spread(self) -> bool:
        """True if x has a density; if not, a decoder has to give P."""

    def __call__(
        self, data: Array, keys: PRNGKeyArray
    ) -> tuple[Float[Array, "b *d"], Float[Array, " b"]]:
        """(x in the network's range, c in nats) with log P(data) >= log p(x) + c."""


@pytree
class Dequantized:
    """Integer levels, spread over their bins: c = d log spacing - log q(u)."""

    bins: Bins
    law: Dequantization

    spread = True

    def __call__(
        self, data: Int[Array, "b *d"], keys: PRNGKeyArray
    ) -> tuple[Float[Array, "b *d"], Float[Array, " b"]]:
        u, log_q = jax.vmap(lambda key: self.law.draw(key, data.shape[1:]))(keys)
        x = self.bins.center(data) + self.bins.spacing * u
        return x, data[0].size * jnp.log(self.bins.spacing) - log_q


@pytree
class ContinuousData:
    """Values as they are: c converts the density of what is diffused to theirs."""

    codec: Codec = static()

    spread = True

    def __call__(
        self, data: Float[Array, "b *d"], keys: PRNGKeyArray
    ) -> tuple[Float[Array, "b *d"], Float[Array, " b"]]:
        return self.codec.encode(data), self.codec.log_det(data)


@pytree
class Middle:
    """Integer levels at the middle of their bins, for a decoder that gives P itself: c = 0."""

    bins: Bins

    spread = False

    def __call__(
        self, data: Int[Array, "b *d"], keys: PRNGKeyArray
    ) -> tuple[Float[Array, "b *d"], Float[Array, " b"]]:
        return self.bins.center(data), jnp.zeros(len(data))


FILL_STREAM, TRACE_STREAM, TERM_STREAM = 0, 1, 2
"""Numbers folded into an example's key, to keep dequantization, probes or noise, and corrections
independent."""


def _folded(keys: PRNGKeyArray, number: int | Array) -> PRNGKeyArray:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def _log_mean_exp(log_probs: Float[Array, "k b p"]) -> Float[Array, "b p"]:
    return jax.nn.logsumexp(log_probs, axis=0) - jnp.log(float(len(log_probs)))


@pytree
class FlowEstimator:
    """`ProbabilityFlow.density` of filled data, `draws` fillings inside the logarithm.

    Terms, of the first filling: `truncation` and, given moments of the data, `prior_mismatch` of
    `eval_lib.likelihood.flow`. With probes, the noise of the trace is inside the logarithm too, so
    that more than one draw biases the result upwards.
    """

    flow: ProbabilityFlow
    trace: Trace
    filling: Filling
    eps: Number
    moments: LawMoments
    draws: int = static()

    def __call__(self, score: Score, data: Array, keys: PRNGKeyArray) -> Estimate:
        def draw(k: Array) -> tuple[Array, Array, Array]:
            own = _folded(keys, k)
            x, volume = self.filling(data, _folded(own, FILL_STREAM))
            found = self.flow.density(score, x, self.eps, _folded(own, TRACE_STREAM), self.trace)
            return found.log_prob + volume[:, None], found.z, found.evaluations

        log_probs, z, evaluations = jax.lax.map(draw, jnp.arange(self.draws))
        x, _ = self.filling(data, _folded(_folded(keys, 0), FILL_STREAM))
        probes = _folded(keys, self.draws + TERM_STREAM)
        terms = {"truncation": truncation(score, x, self.eps, probes, self.trace)}
        if self.moments:
            law = (jnp.asarray(m, x.dtype) for m in self.moments)
            terms["prior_mismatch"] = prior_mismatch(score.sde, z[0], *law)
        return Estimate(_log_mean_exp(log_probs), terms, jnp.sum(evaluations, axis=0))


def _of_bound(bound: bounds.Bound, volume: Float[Array, " b"], evaluations: int) -> Estimate:
    names = ("prior", "reconstruction", "diffusion")
    terms = {name: -jnp.mean(getattr(bound, name), axis=1) for name in names}
    return Estimate(
        bound.log_prob + volume[:, None], terms, jnp.full(len(volume), evaluations, jnp.int32)
    )


@pytree
class BoundEstimator:
    """`bounds.sde_bound`; its three terms are reported as parts of log P."""

    filling: Filling
    decoder: Decoder
    eps: Number
    draws: int = static()

    def __call__(self, score: Score, data: Array, keys: PRNGKeyArray) -> Estimate:
        x, volume = self.filling(data, _folded(keys, FILL_STREAM))
        bound = bounds.sde_bound(
            score, x, data, _folded(keys, TRACE_STREAM),
            eps=self.eps, decoder=self.decoder, draws=self.draws,
        )  # fmt: skip
        return _of_bound(bound, volume, 2 * self.draws)


@pytree
class DiscreteBoundEstimator:
    """`bounds.discrete_bound` on the rising `times`; its terms are reported as parts of log P.

    clip: the range of x_0, None for any.
    """

    filling: Filling
    decoder: Decoder
    times: Float[Array, " n"]
    variance: str = static(default="posterior")
    chained: bool = static(default=False)
    clip: tuple[float, float] | None = static(default=None)

    def __call__(self, score: Score, data: Array, keys: PRNGKeyArray) -> Estimate:
        x, volume = self.filling(data, _folded(keys, FILL_STREAM))
        bound = bounds.discrete_bound(
            Clipped(score, *self.clip) if self.clip else score,
            x, data, _folded(keys, TRACE_STREAM), times=self.times, decoder=self.decoder,
            variance=VARIANCES[self.variance], chained=self.chained,
        )  # fmt: skip
        return _of_bound(bound, volume, len(self.times))


def build_flow(config: Any) -> ProbabilityFlow:
    """The flow of a config's `eval` section. ValueError for unknown names."""
    c = config.eval
    choose("eval.ode_solver", c.ode_solver, INTEGRATORS)
    clock = choose("eval.ode_clock", c.ode_clock, CLOCKS)()
    shared = choose("eval.step_control", c.step_control, {"sample": False, "batch": True})
    tolerance = Tolerance(c.rtol, c.atol, shared, c.max_steps)
    return ProbabilityFlow(tolerance, c.ode_solver, clock)


def smallest_time(config: Any, sde: SDE) -> Number:
    """`eval.eps`, or the SDE's default."""
    return config.eval.eps or sde.t_min


def _filling(config: Any, sde: SDE, levels: int | None) -> tuple[Filling, Decoder]:
    """(the filling of the data, a decoder that fits it)."""
    c, made = config.eval, codec.build(config.data)
    if levels is None:
        return ContinuousData(made), GaussianDecoder()
    choose("eval.bins", c.bins, LAYOUTS)
    bins = Bins.of(c.bins, levels, made.centered)
    law = choose("eval.dequantization", c.dequantization, {**DEQUANTIZATIONS, "none": None})
    if law is None:
        bins = replace(bins, cdf=check_cdf("eval.cdf", c.cdf))
        return Middle(bins), LevelDecoder(bins)
    alpha, sigma = sde.marginal(jnp.asarray(smallest_time(config, sde), float))
    return Dequantized(bins, law(sigma / (alpha * bins.spacing))), GaussianDecoder()


def _flow(config: Any, sde: SDE, levels: int | None, moments: LawMoments) -> Estimator:
    c = config.eval
    filling, _ = _filling(config, sde, levels)
    if not filling.spread:
        raise ValueError(
            "eval.dequantization=none needs eval.likelihood=bound or discrete_bound: the flow "
            "gives a density, for which integer levels need noise: use uniform or truncated_normal"
        )
    choose("eval.probe", c.probe, PROBES)
    trace = choose("eval.trace", c.trace, TRACES)(c.probe, c.num_probes)
    eps = smallest_time(config, sde)
    return FlowEstimator(build_flow(config), trace, filling, eps, moments, c.importance_samples)


def _one_draw(config: Any) -> None:
    if config.eval.importance_samples != 1:
        raise ValueError(
            "eval.importance_samples must be 1 with eval.likelihood=bound or discrete_bound"
        )


def _bound(config: Any, sde: SDE, levels: int | None, moments: LawMoments) -> Estimator:
    _one_draw(config)
    eps = smallest_time(config, sde)
    return BoundEstimator(*_filling(config, sde, levels), eps, config.eval.bound_draws)


def _discrete_bound(config: Any, sde: SDE, levels: int | None, moments: LawMoments) -> Estimator:
    _one_draw(config)
    variance, chained = config.sampling.ancestral_variance, True
    choose("sampling.ancestral_variance", variance, VARIANCES)
    if variance != "learned":
        name = config.eval.decoder_variance
        chained = choose("eval.decoder_variance", name, DECODER_VARIANCES)
    elif not config.model.learn_variance:
        raise ValueError(
            "sampling.ancestral_variance='learned' needs a network that says a variance "
            "(model.learn_variance=True): use posterior or kernel"
        )
    clip = codec.gray_range(config.data, "eval.clip=True") if config.eval.clip else None
    times = _levels(config, sde)
    filling, decoder = _filling(config, sde, levels)
    return DiscreteBoundEstimator(filling, decoder, times, variance, chained, clip)


DECODER_VARIANCES = {"level": False, "chain": True}
"""Name -> whether the decoder's variance is that of the chain, `bounds.chain_terms`' `chained`."""


def _levels(config: Any, sde: SDE) -> Float[Array, " n"]:
    """The rising times of a discrete bound."""
    steps, respacing, n = config.eval.bound_steps, config.eval.respacing, config.sde.num_scales
    if steps and respacing:
        raise ValueError(
            f"eval.bound_steps must be 0 with eval.respacing={respacing!r}, got {steps}: both say "
            "which levels a discrete bound takes"
        )
    if steps:
        return LogSNR()(sde, steps, float(sde.T), float(smallest_time(config, sde)))[::-1]
    if config.training.continuous:
        raise ValueError(
            "eval.likelihood=discrete_bound takes the levels of a model trained with "
            "training.continuous=False: for this one give eval.bound_steps, or use bound"
        )
    chosen = respaced(n, respacing, "eval.respacing")
    if len(chosen) < 2:
        raise ValueError(f"eval.respacing must have two levels at least, got {respacing!r}")
    return jnp.asarray(chosen / (n - 1), float)


ESTIMATORS: dict[str, Callable[[Any, SDE, int | None, LawMoments], Estimator]] = {
    "flow": _flow,
    "bound": _bound,
    "discrete_bound": _discrete_bound,
}


def build(config: Any, sde: SDE, levels: int | None, moments: LawMoments) -> Estimator:
    """The estimator of a config for data with `levels` levels (None: continuous).

    Raises ValueError, in the user's terms, for unknown names, and for what the data or the model
    does not have.
    """
    if config.data.codec == "autoencoder":
        raise ValueError(NO_LIKELIHOOD)
    if config.eval.units == "bits_per_dim" and levels is None:
        raise ValueError(
            "eval.units=bits_per_dim is the code length of integer levels, and the data is "
            "continuous: use eval.units=nats (a log-density of the data's values)"
        )
    choose("eval.units", config.eval.units, {"bits_per_dim": None, "nats": None})
    make = choose("eval.likelihood", config.eval.likelihood, ESTIMATORS)
    return make(config, sde, levels, moments)
