"""The reverse SDE with error control, on a Brownian path that survives rejected steps.

Jolicoeur-Martineau et al. 2021, arXiv:2105.14080, algorithm 1. The published code draws new noise
after it rejects a step, which favours small increments; here every sample has one Brownian path
(`samplers.brownian`), which a shorter step evaluates at more points.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from samplers.base import Method, Plan, State
from samplers.brownian import DEPTH, brownian
from sde_lib import Score, expand
from sde_lib.base import Number, Time
from sde_lib.pytree import pytree

FIRST_STEP = 0.01
"""First step, as a fraction of the interval, like the published first step."""
RESOLUTION = 2.0**-DEPTH
"""Resolution of the path, as a fraction of the interval; between such points it is interpolated."""


@pytree
class _Trial:
    """Solver state per sample: x at t, the last proposal x', the next step h, attempts so far."""

    x: Float[Array, "b *d"]
    before: Float[Array, "b *d"]
    t: Float[Array, " b"]
    h: Float[Array, " b"]
    tries: Int[Array, " b"]


@pytree
class AdaptiveSDE(Method):
    """A pair of methods, Euler-Maruyama x' and improved Euler x'', whose difference is the error:

        x'  = x - h F(x, t) + g(t) dW,                     F = f - g^2 score
        x'' = (x' + x - h F(x', t - h) + g(t - h) dW) / 2
        E   = |(x' - x'') / max(atol, rtol max(|x'|, |x' before|))|,   root mean square

    x'' is taken if E <= 1, and h becomes min(h_left, 0.9 h E^-0.9). Published: atol = 1/128 for
    VP, 1/256 for VE (of data in [-1, 1] and [0, 1]), rtol between 0.01 and 0.1. Two evaluations per
    attempted step; all samples are evaluated until the last is done, and `Samples.evaluations`
    counts those that a sample needed. Weak order 1, with second-order drift. The times of the grid
    are only points at which to stop on the way; a run with more than `max_tries` attempted steps
    between two of them gives NaN.
    """

    rtol: Number = 0.02
    atol: Number = 0.0078
    max_tries: int | Int[Array, ""] = 2_000
    safety: Number = 0.9
    exponent: Number = 0.9
    order, stochastic, adaptive = 1, True, True

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        return Plan.of_steps(self, times[:-1], times[1:])

    def init(self, state: State) -> State:
        """The state with a history: x' of the step before."""
        return replace(state, history=state.x)

    def step(self, score: Score, state: State, row: dict[str, Time]) -> State:
        t, s = row["t"], row["s"]
        keys = jax.vmap(jax.random.fold_in, (0, None))(state.keys, state.draws)
        shape = jax.ShapeDtypeStruct(state.x.shape[1:], state.x.dtype)
        n = state.x.shape[0]

        def increment(key: PRNGKeyArray, low: Time, high: Time) -> Float[Array, " *d"]:
            parts = (jnp.stack([low, high]) - s) / (t - s)
            start, end = jax.vmap(lambda part: brownian(key, part, shape))(parts)
            return jnp.sqrt(t - s).astype(shape.dtype) * (end - start)

        def going(trial: _Trial) -> Bool[Array, " b"]:
            return (trial.t > s) & (trial.tries < self.max_tries)

        def attempt(trial: _Trial) -> _Trial:
            active = going(trial)
            last = trial.h >= trial.t - s
            below = jnp.where(last, s, trial.t - trial.h)
            # A finished sample looks at the whole path, where any interval would do.
            top = jnp.where(active, trial.t, t)
            noise = jax.vmap(increment)(keys, jnp.where(active, below, s), top)
            first, second = self._proposals(score, trial.x, top, jnp.where(active, below, s), noise)
            error = self._error(first, second, trial.before)
            accept = active & (error <= 1)
            factor = self.safety * jnp.maximum(error, 1e-6) ** -self.exponent
            h = jnp.where(active, trial.h * factor, trial.h)
            t_new = jnp.where(accept, below, trial.t)
            wide = expand(accept, trial.x)
            return _Trial(
                jnp.where(wide, second, trial.x),
                jnp.where(wide, first, trial.before),
                t_new,
                jnp.minimum(h, jnp.maximum(t_new - s, (t - s) * RESOLUTION)),
                trial.tries + active.astype(jnp.int32),
            )

        start = _Trial(
            state.x,
            state.history,
            jnp.broadcast_to(t, (n,)),
            jnp.broadcast_to((t - s) * FIRST_STEP, (n,)),
            jnp.zeros(n, jnp.int32),
        )
        end: Any = jax.lax.while_loop(lambda trial: jnp.any(going(trial)), attempt, start)
        x = jnp.where(expand(end.t > s, end.x), jnp.nan, end.x)
        evaluations = state.evaluations + 2 * end.tries
        return replace(
            state, x=x, draws=state.draws + 1, evaluations=evaluations, history=end.before
        )

    def _proposals(
        self, score: Score, x: Array, t: Time, s: Time, noise: Array
    ) -> tuple[Array, Array]:
        """(x', x'') at s from x at t."""
        reverse = score.sde.reverse(score)
        h = expand(t - s, x)

        def euler(at: Array, u: Time) -> Array:
            return x - h * reverse.drift(at, u) + expand(reverse.diffusion(u), x) * noise

        first = euler(x, t)
        return first, (first + euler(first, s)) / 2

    def _error(self, first: Array, second: Array, before: Array) -> Float[Array, " b"]:
        largest = jnp.maximum(jnp.abs(first), jnp.abs(before))
        scaled = (first - second) / jnp.maximum(self.atol, self.rtol * largest)
        return jnp.sqrt(jnp.mean(scaled.reshape(len(scaled), -1) ** 2, axis=1))
