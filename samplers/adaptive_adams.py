"""The probability flow by an Adams pair with error control: one evaluation a try.

With xb = x / alpha, q half the log-SNR and D the denoiser, the flow is (`samplers.forms`, 'data')

    xb(q + h) = e^-h xb(q) + integral over tau in [0, h] of e^(tau - h) D(q + tau).

D_0 at q and D_1 at q - h_1 predict by a line through both; D_2 = D(q + h), evaluated at the
prediction, corrects by a parabola through all three. The correction is the error estimate, so that
it costs nothing, and D_2 serves the next step: exponential Adams-Bashforth-Moulton of orders 2 and
3 (Hairer, Norsett & Wanner 1993, section III.5; Zhao et al. 2023, arXiv:2302.04867).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from samplers.base import Plan, State
from sde_lib import Score, expand
from sde_lib.base import Number, Time
from sde_lib.pytree import pytree

FIRST_STEP = 0.01
"""In q: below what a first-order step gets right at any tolerance worth having."""
SMALLEST, LARGEST = 0.3, 3.0
"""Of the change of a step's size from one try to the next."""


@pytree
class _Trial:
    """xb at q, D there and a step before, that step's size (0: none), the next one's, tries."""

    xb: Float[Array, "b *d"]
    q: Float[Array, " b"]
    new: Float[Array, "b *d"]
    old: Float[Array, "b *d"]
    before: Float[Array, " b"]
    h: Float[Array, " b"]
    tries: Int[Array, " b"]


def _moments(h: Float[Array, " b"]) -> tuple[Array, Array, Array]:
    """Integrals of e^(tau - h) tau^k over [0, h] for k = 0, 1, 2."""
    zeroth = -jnp.expm1(-h)
    first = h - zeroth
    return zeroth, first, h**2 - 2 * first


@pytree
class AdaptiveAdams:
    """Each sample takes its own steps. With y = x / |(alpha, sigma)| and its correction c,

        E = |c / (atol + rtol |y|)|,   root mean square over the sample's numbers;

    a step is taken if E <= 1, and the next h is 0.9 h E^(-1/3), by a factor of 0.3 to 3. Order 3.
    Where the denoiser is rough in t, as networks with fast time embeddings are, one evaluation a
    try resolves more than the many of a Runge-Kutta step. Evaluations are made for all samples at
    once until the last is done; `Samples.evaluations` counts those that a sample needed. The grid
    only says where to stop on the way; a run of more than `max_tries` between two of its times
    gives NaN.
    """

    rtol: Number = 3e-4
    atol: Number = 3e-4
    max_tries: Number = 2_000
    order, stochastic = 3, False

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        rows = {"t": times[:-1], "s": times[1:]}
        return Plan(self, rows, np.arange(len(times) - 1), np.asarray(times), 0)

    def init(self, state: State) -> State:
        """The history is the size of each sample's next step."""
        return replace(state, history=jnp.full(state.x.shape[:1], FIRST_STEP, state.x.dtype))

    def step(self, score: Score, state: State, row: dict[str, Time]) -> State:
        sde, n = score.sde, state.x.shape[0]
        t, s = jnp.broadcast_to(row["t"], (n,)), jnp.broadcast_to(row["s"], (n,))
        start, end = sde.log_snr(t) / 2, sde.log_snr(s) / 2

        def going(trial: _Trial) -> Bool[Array, " b"]:
            return (trial.q < end) & (trial.tries < self.max_tries)

        def attempt(trial: _Trial) -> _Trial:
            active = going(trial)
            last = trial.h >= end - trial.q
            q = jnp.where(active & ~last, trial.q + trial.h, end)
            h = jnp.where(active, q - trial.q, trial.h)
            predicted, corrected, found = self._proposals(score, trial, h, q)
            error = self._error(corrected - predicted, corrected, q)
            accept = active & (error <= 1)
            factor = jnp.clip(0.9 * jnp.maximum(error, 1e-9) ** (-1 / 3), SMALLEST, LARGEST)
            wide = expand(accept, trial.xb)
            return _Trial(
                jnp.where(wide, corrected, trial.xb),
                jnp.where(accept, q, trial.q),
                jnp.where(wide, found, trial.new),
                jnp.where(wide, trial.new, trial.old),
                jnp.where(accept, h, trial.before),
                jnp.where(active, factor * h, trial.h),
                trial.tries + active.astype(jnp.int32),
            )

        first = score.denoise(state.x, t)
        xb = state.x / expand(sde.alpha(t), state.x)
        none = jnp.zeros_like(start)
        tries = jnp.zeros(n, jnp.int32)
        trial = _Trial(xb, start, first, first, none, state.history, tries)
        done: Any = jax.lax.while_loop(lambda trial: jnp.any(going(trial)), attempt, trial)
        x = done.xb * expand(sde.alpha(s), xb)
        x = jnp.where(expand(done.q < end, x), jnp.nan, x)
        # The last step was cut to end in time: what comes after goes on with the one before it.
        following = jnp.maximum(done.h, FIRST_STEP)
        return replace(
            state, x=x, evaluations=state.evaluations + done.tries + 1, history=following
        )

    def _proposals(
        self, score: Score, trial: _Trial, h: Array, q: Array
    ) -> tuple[Array, Array, Array]:
        """(prediction, correction, D at the prediction), all at q = trial.q + h."""
        like = lambda c: expand(c, trial.xb)
        zeroth, first, second = (like(m) for m in _moments(h))
        known = trial.before > 0
        back = like(1 / jnp.where(known, trial.before, 1.0))
        before = jnp.where(like(known), (trial.new - trial.old) * back, 0.0)
        kept = like(jnp.exp(-h)) * trial.xb + zeroth * trial.new
        predicted = kept + first * before
        t = score.sde.time_of_log_snr(2 * q)
        found = score.denoise(like(score.sde.alpha(t)) * predicted, t)
        ahead = (found - trial.new) / like(h)
        bend = jnp.where(like(known), (ahead - before) / like(h + trial.before), 0.0)
        return predicted, kept + first * ahead + (second - like(h) * first) * bend, found

    def _error(self, change: Array, xb: Array, q: Array) -> Float[Array, " b"]:
        unit = expand(jnp.sqrt(1 + jnp.exp(-2 * q)), xb)
        scaled = (change / unit) / (self.atol + self.rtol * jnp.abs(xb / unit))
        return jnp.sqrt(jnp.mean(scaled.reshape(len(scaled), -1) ** 2, axis=1))
