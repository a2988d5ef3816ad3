"""One estimate of x_0, moved by an optimizer that the score regularizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from samplers.base import Method, Plan, State
from sde_lib import Score, expand
from sde_lib.base import Number, Time
from sde_lib.measurements.base import Measurement
from sde_lib.pytree import pytree

FIRST, SECOND = 0.9, 0.99
"""Adam's decays of the moments, as published."""


@pytree
class Descending(Method):
    """The iterations of `RedDiff`; x is mu."""

    measurement: Measurement
    weight: Number
    lr: Number

    def _optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.lr, FIRST, SECOND)

    def init(self, state: State) -> State:
        """mu = A^+ y, or 0 for an operator that has no A^+."""
        operator, y = self.measurement.operator, self.measurement.y
        mu = jnp.zeros_like(state.x)
        mu = operator.pseudo_inverse(y, state.x) if operator.linear else mu
        return replace(state, x=mu, history=self._optimizer().init(mu))

    def step(self, score: Score, state: State, row: Any) -> State:
        state, z = state.normal()
        mu = state.x
        alpha, sigma = (expand(c, mu) for c in score.marginal(row["t"]))
        noise = score.noise(alpha * mu + sigma * z, row["t"])
        found, pull = jax.vjp(self.measurement.operator, mu)
        slope = pull(found - self.measurement.y)[0]
        slope = slope + self.weight * sigma / alpha * (noise - z)
        change, history = self._optimizer().update(slope, state.history)
        return replace(state, x=mu + change, history=history)

    def finish(self, score: Score, state: State, t: Time) -> Float[Array, "b *d"]:
        return state.x


@pytree
class RedDiff:
    """mu minimizes |y - A mu|^2 / 2 + weight (sigma / alpha) <eps(alpha mu + sigma z, t) - z, mu>.

    The second part's gradient is that of the divergence of N(mu, 0) from the data's law, with the
    bracket's first factor held fixed, z drawn anew and t going down the grid, one iteration of Adam
    for each step (RED-diff: Mardani et al. 2023, arXiv:2305.04391, algorithm 1; published with 1000
    steps, weight = 0.25, lr = 0.1 and decays 0.9 and 0.99). mu begins at A^+ y, or at 0 if A is not
    linear. It costs an evaluation for each step and no backward pass. The result is one estimate
    near a mode and no draw of the posterior: exact in no case. The noise of y is not asked for.
    """

    measurement: Measurement
    weight: Number = 0.25
    lr: Number = 0.1
    order, stochastic, adaptive = 0, True, False

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        """A row for each step; none of its evaluations is at the last time."""
        if not float(self.lr) > 0:
            raise ValueError(f"inverse.lr must be positive, got {float(self.lr):g}")
        method = Descending(self.measurement, self.weight, self.lr)
        plan = Plan.of_steps(method, times[:-1], times[1:], len(times) - 1)
        return replace(plan, times=np.asarray(times), at_end=0)
