"""Particles whose weights correct an approximate posterior score.

Particles of a sample lie along a first axis, [n, b, ...]; their keys come from the sample's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from samplers.base import Method, Plan, Program, State
from samplers.planned.levels import Schedule
from samplers.planned.one_step import OneStep
from samplers.predictors import Ancestral
from samplers.rules.base import ASIDE, LAST
from sde_lib import SDE, Predicted, Score, expand
from sde_lib.base import Number, Time
from sde_lib.measurements.base import Measurement
from sde_lib.posteriors.base import MeasuredScore
from sde_lib.posteriors.moments import PseudoInverse
from sde_lib.pytree import pytree, static


class Cloud(NamedTuple):
    """Particles x [n, b, ...] of b samples.

    log_weights [n, b]: normalized. pending [n, b]: the logarithm of what multiplies the next twist
    in the next weight. log_evidence [b]: of the mean weights so far.
    """

    x: Float[Array, "n b *d"]
    log_weights: Float[Array, "n b"]
    pending: Float[Array, "n b"]
    log_evidence: Float[Array, " b"]


def turn_keys(state: State, turn: Int[Array, ""] | int) -> PRNGKeyArray:
    """A key for each sample [b] at a turn."""
    return jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, ASIDE), turn))(
        state.keys
    )


def scattered(
    state: State, turn: Int[Array, ""] | int, count: int, shape: tuple[int, ...] | None = None
) -> Float[Array, "n b *_"]:
    """Standard normal noise of a turn for each of `count` particles, by the particle's number.

    shape: of one particle's, that of x if None.
    """
    keys, shape = turn_keys(state, turn), state.x.shape[1:] if shape is None else shape

    def draw(number: Array, key: PRNGKeyArray) -> Array:
        return jax.random.normal(jax.random.fold_in(key, number), shape, state.x.dtype)

    return jax.vmap(jax.vmap(draw, (None, 0)), (0, None))(jnp.arange(count), keys)


def started(state: State, sde: SDE, count: int) -> Float[Array, "n b *d"]:
    """One particle at x, and the others drawn from the prior."""
    shape = state.x.shape[1:]
    draw = lambda key, k: sde.prior_sample(jax.random.fold_in(key, k), shape)
    others = jax.vmap(jax.vmap(draw, (0, None)), (None, 0))(
        turn_keys(state, LAST - 1), jnp.arange(1, count)
    )
    return jnp.concatenate([state.x[None], others.astype(state.x.dtype)])


def systematic(uniform: Float[Array, " b"], log_weights: Float[Array, "n b"]) -> Int[Array, "n b"]:
    """Numbers of the particles that take the places of all, in proportion to their weights.

    The k-th is that in which (k + u) / n falls when their weights lie one after another: each is
    taken n times its weight, rounded up or down.
    """
    n = len(log_weights)

    def one(u: Array, log_weights: Array) -> Array:
        ends = jnp.cumsum(jnp.exp(log_weights))
        places = (jnp.arange(n, dtype=u.dtype) + u) / n * ends[-1]
        return jnp.minimum(jnp.searchsorted(ends, places, side="right"), n - 1)

    return jax.vmap(one, (0, 1), 1)(uniform, log_weights)


def taken(leaf: Float[Array, "n b *d"], index: Int[Array, "k b"]) -> Float[Array, "k b *d"]:
    """The particles of these numbers."""
    return jnp.take_along_axis(leaf, index.reshape(index.shape + (1,) * (leaf.ndim - 2)), axis=0)


def normalized(log_weights: Float[Array, "n b"]) -> tuple[Array, Array]:
    """(logarithms of weights that sum to 1, logarithm of the sum)."""
    mass = jax.nn.logsumexp(log_weights, axis=0)
    return log_weights - mass[None], mass


def total(values: Float[Array, "n b *d"]) -> Float[Array, "n b"]:
    """The sum over each particle's numbers."""
    return jnp.sum(values.reshape(*values.shape[:2], -1), axis=2)


def uniforms(state: State, turn: Int[Array, ""] | int) -> Float[Array, " b"]:
    """A number in [0, 1) for each sample at a turn."""
    draw = lambda key: jax.random.uniform(key, (), state.x.dtype)
    return jax.vmap(draw)(turn_keys(state, turn))


def renewed(
    uniform: Float[Array, " b"], log_weights: Float[Array, "n b"], share: Number
) -> tuple[Int[Array, "n b"], Float[Array, "n b"]]:
    """(numbers of particles, their weights): drawn by weight where fewer than `share` matter.

    1 / sum of w^2 of them matter (Kong et al. 1994).
    """
    count = len(log_weights)
    due = jnp.exp(-jax.nn.logsumexp(2 * log_weights, axis=0)) < share * count
    index = systematic(uniform, log_weights)
    own = jnp.arange(count, dtype=index.dtype)[:, None]
    even = jnp.full_like(log_weights, -np.log(count))
    return jnp.where(due[None], index, own), jnp.where(due[None], even, log_weights)


def chosen(
    uniform: Float[Array, " b"], log_weights: Float[Array, "n b"], x: Float[Array, "n b *d"]
) -> Float[Array, "b *d"]:
    """One particle of each sample, by weight."""
    ends = jnp.cumsum(jnp.exp(log_weights), axis=0)
    index = jnp.sum(uniform[None] * ends[-1:] >= ends, axis=0)
    return taken(x, index[None])[0]


@pytree
class Twisting(Method):
    """The steps of `TwistedSMC`."""

    measurement: Measurement
    sde: SDE
    data_variance: Number
    share: Number
    count: int = static()

    def init(self, state: State) -> State:
        """Particles of equal weights."""
        x = started(state, self.sde, self.count)
        none = jnp.zeros(x.shape[:2], x.dtype)
        cloud = Cloud(x, none - np.log(self.count), none, none[0])
        return replace(state, history=cloud)

    def step(self, score: Score, state: State, row: Any) -> State:
        cloud, found, change = self.weighed(score, state.history, row["t"])
        uniform = uniforms(state, row["number"])
        index, weights = renewed(uniform, cloud.log_weights, self.share)
        x, found, change, pending = jax.tree.map(
            lambda leaf: taken(leaf, index), (cloud.x, found, change, cloud.pending)
        )
        mean = row["x"] * x + row["x0"] * found.x0 + row["eps"] * found.noise
        alpha, sigma = score.marginal(row["t"])
        shift = (row["x0"] - row["eps"] * alpha / sigma) * change
        deviation = row["z"]
        if found.fraction is not None:
            deviation = deviation * jnp.exp(row["spread"] * found.fraction)
        z = scattered(state, row["number"] + 1, self.count)
        # log N(x_s; mean, v) - log N(x_s; mean + shift, v), of x_s = mean + shift + deviation z.
        pushed = shift / deviation
        pending = pending - total(pushed * (z + pushed / 2))
        x = mean + shift + deviation * z
        cloud = Cloud(x, weights, pending, cloud.log_evidence)
        return replace(state, x=chosen(uniform, weights, x), history=cloud)

    def finish(self, score: Score, state: State, t: Time) -> Float[Array, "b *d"]:
        cloud, found, change = self.weighed(score, state.history, t)
        return chosen(uniforms(state, LAST), cloud.log_weights, found.x0 + change)

    def weighed(
        self, score: Score, cloud: Cloud, t: Time
    ) -> tuple[Cloud, Predicted, Float[Array, "n b *d"]]:
        """(the particles with the weights of their x_t, their predictions, their change of x_0)."""
        guided = _guided(score, self.measurement, self.data_variance)
        found, change = jax.vmap(lambda x: guided.unguided(x, t))(cloud.x)
        twist = jax.vmap(lambda x0: self._twist(score, x0, t))(found.x0)
        weights, mass = normalized(cloud.log_weights + cloud.pending + twist)
        evidence = cloud.log_evidence + mass
        return Cloud(cloud.x, weights, -twist, evidence), found, change

    def _twist(self, score: Score, x0: Array, t: Time) -> Float[Array, " b"]:
        """log N(y; A x_0, r^2 A A^T + deviation^2 I), without its normalizer."""
        alpha, sigma = (expand(c, x0) for c in score.marginal(t))
        r2 = sigma**2 / (alpha**2 + sigma**2 / self.data_variance)
        residual = self.measurement.residual(x0)
        u = self.measurement.operator.solve(r2, self.measurement.variance, residual, x0)
        return -total((u * residual)[None])[0] / 2


def _guided(score: Score, measurement: Measurement, data_variance: Number) -> MeasuredScore:
    """The score of the proposals: that which is given, or the gradient of the twist."""
    if isinstance(score, MeasuredScore):
        return score
    return PseudoInverse(score, measurement, data_variance)


@pytree
class TwistedSMC:
    """Particles proposed by `solver` with a posterior score, whose weights make up for it.

    The twist p(y | x_t) = N(y; A E[x_0 | x_t], r^2 A A^T + deviation^2 I), r^2 = sigma^2 v /
    (alpha^2 v + sigma^2), is right at the last level, and the weight of x_s drawn from q(x_s | x_t, y),

        w_s = p(x_s | x_t) p(y | x_s) / (p(y | x_t) q(x_s | x_t, y)),    w_T = p(y | x_T),

    has p's mean whatever it is before (TDS: Wu et al. 2023, arXiv:2306.17775, algorithm 1; published
    with v = inf, 100 steps of 4 particles or more). q is p(x_s | x_t), the step of `solver`, with
    E[x_0 | x_t, y] of the score that is sampled, if it is a `MeasuredScore`, and otherwise of the
    gradient of the twist. Of `count` particles of each sample, drawn anew by their weights
    (systematic resampling) when fewer than `share` of them matter, one is the result.

    It costs `count` evaluations of that score (of two passes by default) for each step. Exact, up to
    the steps of `solver` (with `Ancestral(data_variance=1)` not even those, for such data), as
    `count` grows; with one particle it is the proposal. Linear operators; the noise may be 0. One
    particle starts from x_T and the others from the prior.
    """  # noqa: E501

    measurement: Measurement
    count: int = static(default=16)
    solver: OneStep = Ancestral()
    data_variance: Number = np.inf
    share: Number = 0.5
    order, stochastic, adaptive = 1, True, False

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        """A row for each step; ValueError for an operator or a solver that does not suit."""
        self._check()
        schedule = Schedule(score)
        levels, n = schedule.at(times), len(times) - 1
        step = self.solver.step(schedule, levels[:-1], levels[1:])
        if step.z is None or not np.all(step.z):
            raise ValueError(
                "inverse.method='tds' weighs particles by the noise of each step, and this sampler "
                "draws none: choose sampling.predictor=ancestral, or sampling.eta above 0"
            )
        at = np.asarray(times)
        spread = 0.0 if step.spread is None else step.spread
        every = {"x": step.x, "x0": step.x0, "eps": step.eps, "z": step.z, "spread": spread}
        rows = {name: np.broadcast_to(np.asarray(w, at.dtype), n) for name, w in every.items()}
        rows |= {"t": at[:-1], "number": 2 * np.arange(n, dtype=np.int32)}
        method = Twisting(self.measurement, score.sde, self.data_variance, self.share, self.count)
        passes = 1 if isinstance(score, MeasuredScore) else 2
        cost = passes * self.count
        return Plan(Program(method, rows), np.arange(n), at, n * cost, cost)

    def _check(self) -> None:
        if not self.measurement.operator.linear:
            raise ValueError("inverse.method='tds' needs a linear measurement: use 'dps'")
        if not isinstance(self.solver, OneStep):
            raise ValueError(
                "inverse.method='tds' proposes by steps of one evaluation: choose "
                f"sampling.predictor=ancestral, got {type(self.solver).__name__}"
            )
        if self.count < 1:
            raise ValueError(f"inverse.particles must be positive, got {self.count}")
