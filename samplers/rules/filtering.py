"""Particles that follow measurements of every level."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samplers.base import Method, Plan, Program, State
from samplers.planned.levels import Schedule
from samplers.predictors import Ancestral
from samplers.rules.base import LAST, aside
from samplers.rules.particles import (
    chosen,
    normalized,
    renewed,
    scattered,
    started,
    taken,
    total,
    uniforms,
)
from sde_lib import SDE, Score, expand
from sde_lib.base import Number, Time
from sde_lib.measurements.base import Measurement
from sde_lib.pytree import pytree, static

PlanRow = dict[str, Any]


class Filtered(NamedTuple):
    """Particles x [n, b, ...], logarithms of their weights [n, b] and of the density of y_t given
    each [n, b], and the noise of y_t [b, ...]."""

    x: Float[Array, "n b *d"]
    log_weights: Float[Array, "n b"]
    likely: Float[Array, "n b"]
    noise: Float[Array, "b *d"]


@pytree
class Filtering(Method):
    """The steps of `FPS`."""

    measurement: Measurement
    sde: SDE
    data_variance: Number
    share: Number
    published: bool
    count: int = static()

    def init(self, state: State) -> State:
        """Particles of equal weights, and no measurement of them yet."""
        x = started(state, self.sde, self.count)
        none = jnp.zeros(x.shape[:2], x.dtype)
        noise = aside(state, LAST - 2)
        return replace(state, history=Filtered(x, none - np.log(self.count), none, noise))

    def step(self, score: Score, state: State, row: PlanRow) -> State:
        cloud: Filtered = state.history
        found = jax.vmap(lambda x: score.predict(x, row["t"]))(cloud.x)
        mean, number = row["x"] * cloud.x + row["x0"] * found.x0, row["number"]
        noise = row["kept"] * cloud.noise + row["fresh"] * aside(state, number)
        y = row["alpha"] * self.measurement.y
        y = y + row["sigma"] * self.measurement.operator(noise)
        cloud = cloud._replace(x=mean, noise=noise)
        cloud = self._drawn(state, cloud, y, row["alpha"], row["v"], number + 1)
        shown = chosen(uniforms(state, number + 4), cloud.log_weights, cloud.x)
        return replace(state, x=shown, history=cloud)

    def finish(self, score: Score, state: State, t: Time) -> Float[Array, "b *d"]:
        """The step to x_0, whose measurement is y itself."""
        cloud: Filtered = state.history
        x0 = jax.vmap(lambda x: score.denoise(x, t))(cloud.x)
        alpha, sigma = (expand(c, x0[0]) for c in score.marginal(t))
        v = sigma**2 / (alpha**2 + sigma**2 / self.data_variance)
        one, cloud = jnp.ones((), x0.dtype), cloud._replace(x=x0)
        cloud = self._drawn(state, cloud, self.measurement.y, one, v, LAST - 6)
        return chosen(uniforms(state, LAST), cloud.log_weights, cloud.x)

    def _drawn(
        self, state: State, cloud: Filtered, y: Array, alpha: Array, v: Array, turn: Any
    ) -> Filtered:
        """Draws of N(x; mean, v I) N(y; A x, alpha^2 deviation^2 I), x being given as the mean."""
        operator, deviation = self.measurement.operator, alpha * self.measurement.deviation
        solved = jax.vmap(lambda u, x: operator.solve(v, jnp.square(deviation), u, x))
        apart = y[None] - jax.vmap(operator)(cloud.x)
        weights = cloud.log_weights - total(apart * solved(apart, cloud.x)) / 2
        weights = normalized(weights - jnp.where(self.published, 0, cloud.likely))[0]
        index, weights = renewed(uniforms(state, turn), weights, self.share)
        x = taken(cloud.x, index) + jnp.sqrt(v) * scattered(state, turn + 1, self.count)
        told = y[None] + deviation * scattered(state, turn + 2, self.count, y.shape[1:])
        x = x + v * jax.vmap(operator.transpose)(solved(told - jax.vmap(operator)(x), x), x)
        noisy, apart = deviation > 0, y[None] - jax.vmap(operator)(x)
        likely = -total(apart**2) / 2 / jnp.where(noisy, jnp.square(deviation), 1)
        return Filtered(x, weights, jnp.where(noisy, likely, 0), cloud.noise)


@pytree
class FPS:
    """Particles drawn at each level from N(x_s; mean, v I) N(y_s; A x_s, alpha_s^2 deviation^2 I).

    mean and v are those of ancestral sampling, v for data of variance `data_variance` in each
    number, and y_s = alpha_s y + sigma_s A z_s is a measurement of x_s along a path of noise that
    comes down to y by DDIM's steps with `eta` (filtering posterior sampling, FPS-SMC: Dou & Song,
    "Diffusion posterior sampling for linear inverse problem solving: a filtering perspective", ICLR
    2024). A particle is weighed by the density of y_s given x_t, over that of y_t given x_t, whose
    place it takes; particles are drawn anew when fewer than `share` of the `count` matter.

    It costs `count` evaluations for each step, and no backward pass. Exact as `count` grows, up to
    those steps. One particle is too near y and its variance too small (0.825 and 0.174 for 0.8 and 0.2
    in 250 steps, data of variance 1, deviation 0.5). `published`: the weights are not divided, so that
    the measurements of all levels count as if their noises were not the same one; without noise that
    is no difference, and with noise more particles come nearer to another law. Linear operators; the
    noise may be 0, and then A x_0 = y.
    """  # noqa: E501

    measurement: Measurement
    count: int = static(default=16)
    data_variance: Number = 1.0
    eta: Number = 1.0
    share: Number = 0.5
    published: bool = False
    order, stochastic, adaptive = 1, True, False

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        """A row for each step; ValueError for what does not suit."""
        if not self.measurement.operator.linear:
            raise ValueError("inverse.method='fps' needs a linear measurement: use 'dps'")
        if self.count < 1:
            raise ValueError(f"inverse.particles must be positive, got {self.count}")
        if not float(self.data_variance) > 0:
            raise ValueError("inverse.data_variance must be positive with inverse.method='fps', "
                             f"got {float(self.data_variance):g}")  # fmt: skip
        schedule = Schedule(score)
        levels, n, at = schedule.at(times), len(times) - 1, np.asarray(times)
        t, s = levels[:-1], levels[1:]
        step = Ancestral(data_variance=self.data_variance).step(schedule, t, s)
        fresh = float(self.eta) * np.sqrt(-np.expm1(2 * (s.log_ratio - t.log_ratio)))
        every: PlanRow = {
            "t": t.t, "x": step.x, "x0": step.x0, "v": np.square(np.asarray(step.z)),
            "alpha": s.alpha, "sigma": s.sigma, "fresh": fresh, "kept": np.sqrt(1 - fresh**2),
        }  # fmt: skip
        rows = {name: np.asarray(column, at.dtype) for name, column in every.items()}
        rows["number"] = 5 * np.arange(n, dtype=np.int32)
        method = Filtering(
            self.measurement, score.sde, self.data_variance, self.share, self.published, self.count
        )
        return Plan(Program(method, rows), np.arange(n), at, n * self.count, self.count)
