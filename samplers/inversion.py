"""Encoders: samplers that go up a rising grid, from an example to noise that leads back to it.

They start from alpha x_0 at the first time, and are run to the last one (`sample` without its
denoised end); the sampler that leads back starts there, on the grid reversed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samplers.adaptive.ode import AdaptiveODE
from samplers.base import Method, Plan, Program, Sampler, State
from samplers.planned.levels import Levels, Schedule
from samplers.planned.one_step import OneStep, Step
from sde_lib import Score
from sde_lib.base import Number, Time
from sde_lib.pytree import pytree, static


@pytree
class DDIMInversion(OneStep):
    """x_s = alpha_s E[x_0 | x_t] + sigma_s E[eps | x_t] from t up to s > t: DDIM's step, eta = 0.

    (Song et al. 2021, arXiv:2010.02502, section 4.3.) It is Euler's method on the flow, from
    the lower end of each step where DDIM begins at the upper one, and so not DDIM's inverse: from
    data of one variance 61% of an example come back after 10 steps, and 95% after 100. Guidance of
    weight above 1 on the way up makes it diverge. It costs an evaluation for each step.
    """

    order, stochastic = 1, False

    def step(self, schedule: Schedule, t: Levels, s: Levels) -> Step:
        return Step(x0=s.alpha, eps=s.sigma)


@pytree
class Coupled(Method):
    """The steps of `EDICT`, up or down."""

    mixing: Number
    up: bool = static()

    def step(self, score: Score, state: State, row: Any) -> State:
        x, y = (state.x[:, k] / row["alpha"] for k in range(2))
        slope = lambda v: score.noise(row["alpha_at"] * v, row["at"])
        p, gap = self.mixing, row["gap"]
        if self.up:
            y = (y - (1 - p) * x) / p
            x = (x - (1 - p) * y) / p
            y = y + gap * slope(x)
            x = x + gap * slope(y)
        else:
            x = x + gap * slope(y)
            y = y + gap * slope(x)
            x = p * x + (1 - p) * y
            y = p * y + (1 - p) * x
        return replace(state, x=row["alpha_to"] * jnp.stack([x, y], axis=1))

    def finish(self, score: Score, state: State, t: Time) -> Float[Array, "b 2 *d"]:
        return jnp.stack([score.denoise(state.x[:, k], t) for k in range(2)], axis=1)


@pytree
class EDICT:
    """Two states of which each moves by the noise of the other, so that a step can be undone.

    With r = sigma / alpha, x and y divided by alpha, from t down to s < t:

        x <- x + (r_s - r_t) eps(y, t),    y <- y + (r_s - r_t) eps(x, t),
        x <- p x + (1 - p) y,              y <- p y + (1 - p) x,

    and on a rising grid the same backwards, in closed form (EDICT: Wallace et al. 2022,
    arXiv:2211.12446; published with p = 0.93 and 50 steps). The states are one array
    [b, 2, *d], which begins as twice the example. There and back is exact up to round-off, which
    1 / p to the power of the steps enlarges; the latents drift apart, and are no draw of the prior.
    It costs two evaluations for each step.
    """

    mixing: Number = 0.93
    order, stochastic, adaptive = 1, False, False

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        """A row for each step; ValueError for weights that cannot be undone."""
        if not 0 < float(self.mixing) <= 1:
            raise ValueError(f"EDICT.mixing must be in (0, 1], got {float(self.mixing):g}")
        levels, n = Schedule(score).at(times), len(times) - 1
        up = bool(levels.ratio[-1] > levels.ratio[0])
        noisier = levels[1:] if up else levels[:-1]
        table = {
            "at": noisier.t, "alpha_at": noisier.alpha, "gap": np.diff(levels.ratio),
            "alpha": levels.alpha[:-1], "alpha_to": levels.alpha[1:],
        }  # fmt: skip
        at = np.asarray(times)
        rows = {name: column.astype(at.dtype) for name, column in table.items()}
        return Plan(Program(Coupled(self.mixing, up), rows), np.arange(n), at, 2 * n, 2)


INVERSIONS: dict[str, Callable[[], Sampler]] = {"ddim": DDIMInversion, "flow": AdaptiveODE}
"""Ways up by name, from the example alone."""
