"""The probability flow by an Adams pair with error control, one evaluation per attempted step.

With xb = x / alpha, q half the log-SNR and D the denoiser, the flow is (`samplers.planned.forms`,
'data')

    xb(q + h) = e^-h xb(q) + integral over tau in [0, h] of e^(tau - h) D(q + tau).

It is integrated by `samplers.adaptive.integrate.adams`: exponential Adams-Bashforth-Moulton of
orders 2 and 3 (Zhao et al. 2023, arXiv:2302.04867, has the same predictor and corrector).
"""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from samplers.adaptive.integrate import adams, decaying_moments
from samplers.base import Method, Plan, State
from sde_lib import Score, expand
from sde_lib.base import Number, Time
from sde_lib.pytree import pytree

FIRST_STEP = 0.01
"""First step in q, small enough for a first-order step at any useful tolerance."""


@pytree
class _Denoised:
    """D at q as a function of xb, the field of the flow above."""

    score: Score

    def __call__(self, q: Float[Array, " b"], y: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        t = self.score.sde.time_of_log_snr(2 * q)
        return self.score.denoise(expand(self.score.sde.alpha(t), y) * y, t)


@pytree
class AdaptiveAdams(Method):
    """An adaptive solver with steps of each sample's own. With y = x / |(alpha, sigma)| and its
    correction c,

        E = |c / (atol + rtol |y|)|,   root mean square over the sample's numbers;

    a step is taken if E <= 1, and the next h is 0.9 h E^(-1/3), by a factor of 0.3 to 3. Order 3.
    If the denoiser is rough in t, as networks with fast time embeddings are, short steps of one
    evaluation resolve more than a Runge-Kutta step with many. All samples are evaluated until the
    last is done; `Samples.evaluations` counts those that a sample needed. The times of the grid
    are only points at which to stop on the way; a run with more than `max_tries` attempted steps
    between two of them gives NaN.
    """

    rtol: Number = 3e-4
    atol: Number = 3e-4
    max_tries: int | Int[Array, ""] = 2_000
    order, stochastic, adaptive = 3, False, True

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        return Plan.of_steps(self, times[:-1], times[1:])

    def init(self, state: State) -> State:
        """The state with a history: the size of each sample's next step."""
        return replace(state, history=jnp.full(state.x.shape[:1], FIRST_STEP, state.x.dtype))

    def step(self, score: Score, state: State, row: dict[str, Time]) -> State:
        sde, n = score.sde, state.x.shape[0]
        t, s = jnp.broadcast_to(row["t"], (n,)), jnp.broadcast_to(row["s"], (n,))
        start, end = sde.log_snr(t) / 2, sde.log_snr(s) / 2

        xb = state.x / expand(sde.alpha(t), state.x)
        done = adams(
            _Denoised(score), xb, start, end, state.history,
            moments=decaying_moments, error=self._error, max_tries=self.max_tries,
        )  # fmt: skip
        # The last step was shortened to end at this time; the next has the size proposed before.
        return replace(
            state,
            x=done.y * expand(sde.alpha(s), xb),
            evaluations=state.evaluations + done.tries + 1,
            history=jnp.maximum(done.h, FIRST_STEP),
        )

    def _error(self, change: Array, xb: Array, q: Array) -> Float[Array, " b"]:
        unit = expand(jnp.sqrt(1 + jnp.exp(-2 * q)), xb)
        scaled = (change / unit) / (self.atol + self.rtol * jnp.abs(xb / unit))
        return jnp.sqrt(jnp.mean(scaled.reshape(len(scaled), -1) ** 2, axis=1))
