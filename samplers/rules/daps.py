"""Posterior sampling in which neighbouring levels share nothing but the estimate of x_0."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samplers.base import Method, Plan, Program, State
from samplers.planned.levels import Levels, Schedule
from samplers.rules.base import LAST, aside
from sde_lib import Score
from sde_lib.base import Number, Time
from sde_lib.measurements.base import Measurement
from sde_lib.pytree import pytree, static

RHO = 7.0
"""Exponent rho of the grid of ratios on which the flow is followed."""

PlanRow = dict[str, Any]


@pytree
class Decoupled(Method):
    """The steps of `DAPS`. last: the row of the last level; tau: the deviation of y."""

    measurement: Measurement
    last: PlanRow
    tau: Number
    langevin: int = static()

    def step(self, score: Score, state: State, row: PlanRow) -> State:
        state, x0 = self._drawn(score, state, row["level"])
        state, z = state.normal()
        return replace(state, x=row["alpha"] * x0 + row["sigma"] * z)

    def finish(self, score: Score, state: State, t: Time) -> Float[Array, "b *d"]:
        return self._drawn(score, state, self.last)[1]

    def _drawn(self, score: Score, state: State, row: PlanRow) -> tuple[State, Array]:
        """A draw from the law of x_0 given x_t and y."""
        x0 = self._flowed(score, state.x, row)
        draw = self._langevin if self.langevin else self._exact
        return draw(state, x0, row)

    def _flowed(self, score: Score, x: Array, row: PlanRow) -> Array:
        """x / alpha at the end of the flow from x, by Euler's steps in sigma / alpha."""

        def step(scaled: Array, one: PlanRow) -> tuple[Array, None]:
            found = score.predict(one["alpha"] * scaled, one["t"])
            return scaled + one["gap"] * found.noise, None

        return jax.lax.scan(step, x / row["flow"]["alpha"][0], row["flow"])[0]

    def _exact(self, state: State, x0: Array, row: PlanRow) -> tuple[State, Array]:
        """N(x_0, r^2 I) N(y; A x_0, tau^2 I): a draw of the prior, moved by one of the residual."""
        y, operator, r2 = self.measurement.y, self.measurement.operator, row["r2"]
        state, z = state.normal()
        prior = x0 + jnp.sqrt(r2) * z
        told = y + self.tau * aside(state, row["number"], y.shape[1:])
        u = operator.solve(r2, jnp.square(self.tau), told - operator(prior), x0)
        return state, prior + r2 * operator.transpose(u, x0)

    def _langevin(self, state: State, x0: Array, row: PlanRow) -> tuple[State, Array]:
        """The same law by Langevin's steps from x_0, for any operator."""

        def step(_: int, both: tuple[State, Array]) -> tuple[State, Array]:
            (state, z), x = both[0].normal(), both[1]
            found, pull = jax.vjp(self.measurement.operator, x)
            misfit = pull(found - self.measurement.y)[0] / jnp.square(self.tau)
            slope = misfit + (x - x0) / row["r2"]
            return state, x - row["lr"] * slope + jnp.sqrt(2 * row["lr"]) * z

        return jax.lax.fori_loop(0, self.langevin, step, (state, x0))


@pytree
class DAPS:
    """A step from each level: to x_0, the end of the flow from x_t, by `steps` of Euler's; a draw of

        N(x_0; flow(x_t), r^2 I) N(y; A x_0, tau^2 I),    r^2 = sigma^2 v / (alpha^2 v + sigma^2);

    and noise to the next level, x_s = alpha_s x_0 + sigma_s z, which does not remember x_t (Zhang et
    al. 2024, arXiv:2407.01521, algorithm 1; published with 200 levels of sigma / alpha from 100 to
    0.1, rho = 7, 5 steps down to `least` = 0.01, v = inf and so r = sigma / alpha).

    The draw is exact and needs a linear operator, or if `langevin` is not 0 it is as many steps of
    Langevin's of size `lr` at the first level, falling to `lr_end` (100 of 1e-4 to 1e-6), for any
    operator; tau is then not the deviation, if it is not 0 (published: 0.01), which is to be above
    0. It costs `steps` evaluations at each level, the last one included. Exact if flow(x_t) and r^2
    are the mean and covariance of x_0 given x_t: steps = 1 and least = 0, on data of variance
    data_variance = v, uncorrelated. As published the posterior is too wide, and its mean off.
    """  # noqa: E501

    measurement: Measurement
    steps: int = static(default=5)
    least: Number = 0.01
    data_variance: Number = np.inf
    langevin: int = static(default=0)
    lr: Number = 1e-4
    lr_end: Number = 1e-6
    tau: Number = 0.0
    order, stochastic, adaptive = 0, True, False

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        """A row for each level but the last, which is for the end; ValueError for what does not
        suit."""
        tau = self._checked()
        schedule, n = Schedule(score), len(times)
        levels = schedule.at(times)
        typed = lambda leaf: np.asarray(leaf, np.asarray(times).dtype)
        every = jax.tree.map(typed, self._levels(schedule, levels))
        every["number"] = np.arange(n, dtype=np.int32)
        at = lambda part: jax.tree.map(lambda leaf: leaf[part], every)
        rows = {
            "level": at(slice(-1)), "alpha": typed(levels.alpha[1:]),
            "sigma": typed(levels.sigma[1:]),
        }  # fmt: skip
        last = {**at(-1), "number": np.int32(LAST)}
        method = Decoupled(self.measurement, last, tau, self.langevin)
        cost = self.steps * (n - 1)
        return Plan(Program(method, rows), np.arange(n - 1), np.asarray(times), cost, self.steps)

    def _levels(self, schedule: Schedule, levels: Levels) -> PlanRow:
        """r^2, the size of Langevin's steps and the steps of the flow of every level."""
        r, share = levels.ratio, np.arange(len(levels)) / len(levels)
        r2 = 1 / (1 / r**2 + 1 / float(self.data_variance))
        lr = float(self.lr) + share * (float(self.lr_end) - float(self.lr))
        return {"r2": r2, "lr": lr, "flow": self._flows(schedule, levels)}

    def _flows(self, schedule: Schedule, levels: Levels) -> PlanRow:
        """Times, alphas and differences of sigma / alpha [n, steps] of the flow of every level."""
        low = float(self.least)
        if low:  # or the least that the score knows
            low = schedule.at_ratio(np.log([low])).ratio[0]
        ends = np.minimum(low, levels.ratio)[:, None]
        share = np.arange(self.steps) / self.steps
        roots = (1 - share) * levels.ratio[:, None] ** (1 / RHO) + share * ends ** (1 / RHO)
        t = schedule.time(RHO * np.log(roots))
        at = schedule.at(np.hstack([levels.t[:, None], t[:, 1:]]))
        gap = np.diff(np.hstack([at.ratio, ends]), axis=1)
        return {"t": at.t, "alpha": at.alpha, "gap": gap}

    def _checked(self) -> Array:
        """tau; ValueError if it cannot be used."""
        if not (self.langevin or self.measurement.operator.linear):
            raise ValueError(
                "inverse.method='daps' draws exactly for a linear measurement only: take "
                "inverse.langevin steps for this one, such as 100"
            )
        if self.steps < 1:
            raise ValueError(f"inverse.flow_steps must be positive, got {self.steps}")
        tau = jnp.asarray(self.tau if self.tau and self.langevin else self.measurement.deviation)
        if self.langevin and not float(tau) > 0:
            raise ValueError(
                "inverse.langevin steps divide by the noise of the measurement: give inverse.noise "
                "above 0, or inverse.tau in its place, such as 0.01"
            )
        return tau
