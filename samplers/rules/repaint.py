"""Resampling of what is unknown, until it agrees with what is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from samplers.base import Method, Plan, Program, State
from samplers.planned.levels import Schedule
from samplers.planned.one_step import OneStep
from samplers.predictors import Ancestral
from samplers.rules.base import LAST, aside
from samplers.rules.projection import noised
from sde_lib import Score
from sde_lib.base import Time
from sde_lib.measurements.base import Measurement
from sde_lib.pytree import pytree, static


def jump_schedule(levels: int, jump_length: int, jump_n_sample: int) -> list[int]:
    """Indices of levels in the order of a run, from levels - 1 to -1, the end.

    a -> a - 1 is a step at level a, and a -> a + 1 adds noise. At each of the levels 0, jump_length,
    2 jump_length, ... from which a jump stays below the highest it goes up by jump_length,
    jump_n_sample - 1 times.
    """  # noqa: E501
    left = dict.fromkeys(range(0, levels - jump_length, jump_length), jump_n_sample - 1)
    index, path = levels, []
    while index > 0:
        index -= 1
        path.append(index)
        if left.get(index, 0) > 0:
            left[index] -= 1
            path += range(index + 1, index + jump_length + 1)
            index += jump_length
    return [*path, -1]


@pytree
class Repainting(Method):
    """A method whose every row, but the first, begins with what y says of x_t, and before that, at
    a jump, with noise: x <- rise_x x + rise_z z."""

    method: Method
    measurement: Measurement
    ends: bool = static()

    def init(self, state: State) -> State:
        return self.method.init(state)

    def step(self, score: Score, state: State, row: Any) -> State:
        number = row["number"]
        x = row["rise_x"] * state.x + row["rise_z"] * aside(state, number)
        state = replace(state, x=x)
        known = self._known(score, state, row["t"], number + 1)
        x = jnp.where(row["first"], x, known)
        return self.method.step(score, replace(state, x=x), row["method"])

    def finish(self, score: Score, state: State, t: Time) -> Float[Array, "b *d"]:
        x0 = score.denoise(self._known(score, state, t, LAST), t)
        if not self.ends:
            return x0
        return self.measurement.operator.replaced(x0, self.measurement.y)

    def _known(
        self, score: Score, state: State, t: Time, turn: Int[Array, ""] | int
    ) -> Float[Array, "b *d"]:
        """x with the part that y fixes, at the noise of t."""
        known = noised(score, self.measurement, state, t, turn)
        return self.measurement.operator.replaced(state.x, known)


@pytree
class RePaint:
    """`solver`, before whose every evaluation but the first x <- x + A^+ (alpha y + sigma A z - A x).

    From some levels the run goes up again by the forward process, by `jump_length` levels, and down,
    so that each is passed `jump_n_sample` times (`jump_schedule`), and the unknown part is denoised
    together with other noise of the known part each time (RePaint: Lugmayr et al. 2022,
    arXiv:2201.09865, algorithm 1 and eq. 8; published with 250 steps and jumps of 10, 10 times, for
    a mask and `Ancestral` of learned variance). y is taken for exact.

    Levels are the times of the grid, the last one included, from which the denoiser goes to x_0. It
    costs an evaluation for each step down: 2410 in the published setting. Without jumps
    (jump_n_sample = 1) it is replacement, which misses much of what the unknown part has to do with
    the known one; with jumps it misses less; exact in no case but that of independent parts.

    ends: the result is projected too, so that A x_0 = y. The published one is not.
    """  # noqa: E501

    measurement: Measurement
    solver: OneStep = Ancestral()
    jump_length: int = static(default=10)
    jump_n_sample: int = static(default=10)
    ends: bool = static(default=True)
    order, stochastic, adaptive = 1, True, False

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        """The plan of the jumps; ValueError for an operator, a solver or jumps that do not suit."""
        self._check(len(times))
        path = np.asarray(jump_schedule(len(times), self.jump_length, self.jump_n_sample))
        falls = np.diff(path) < 0
        place = len(times) - 1 - path[:-1][falls][:-1]  # the last fall is `finish`
        plan, at = self.solver.plan(score, times), np.asarray(times)
        rise_x, rise_z = self._rises(Schedule(score), np.asarray(times, np.float64), place)
        rows = {
            "method": jax.tree.map(lambda leaf: np.asarray(leaf)[place], plan.program.rows),
            "t": at[place], "first": np.arange(len(place)) == 0,
            "number": 2 * np.arange(len(place), dtype=np.int32),
            "rise_x": rise_x.astype(at.dtype), "rise_z": rise_z.astype(at.dtype),
        }  # fmt: skip
        method = Repainting(plan.program.method, self.measurement, self.ends)
        count = len(place)
        return Plan(Program(method, rows), np.arange(count), np.append(at[place], at[-1]), count)

    def _rises(
        self, schedule: Schedule, times: Float[np.ndarray, " n"], place: Int[np.ndarray, " r"]
    ) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, " r"]]:
        """Factors of x and of noise at the start of each row, (1, 0) where there is no jump.

        By the forward kernel from one end of a jump to the other, which is that of all the levels
        between, one after another.
        """
        before = np.append(place[0], place[:-1] + 1)
        a, b = schedule.transition(times[before], times[place])
        return a, np.sqrt(b)

    def _check(self, levels: int) -> None:
        if not self.measurement.operator.linear:
            raise ValueError("inverse.method='repaint' needs a linear measurement: use 'dps'")
        if not isinstance(self.solver, OneStep):
            raise ValueError(
                "inverse.method='repaint' repeats steps of one evaluation: choose "
                "sampling.predictor=ancestral or ddim, without a corrector, got "
                f"{type(self.solver).__name__}"
            )
        if self.jump_n_sample > 1 and not 0 < self.jump_length < levels:
            raise ValueError(
                f"inverse.jump_length must be at least 1 and below the {levels} levels of the "
                f"grid, got {self.jump_length}: take more steps, or inverse.jump_n_sample=1"
            )
