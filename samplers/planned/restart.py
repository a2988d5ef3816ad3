"""Restart sampling (Xu et al. 2023, arXiv:2306.14878, algorithm 1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from samplers.planned.levels import Levels, Schedule
from samplers.planned.linear import LinearSampler, Rise, Row
from sde_lib.base import Number
from sde_lib.pytree import pytree, static

RHO = 7.0
"""Exponent rho of the Karras grid from r_max down to r_min."""


def _down(schedule: Schedule, top: float, bottom: Levels, steps: int) -> Levels:
    """Levels from ratio `top` to the level `bottom` on the Karras grid."""
    roots = np.linspace(top ** (1 / RHO), bottom.ratio ** (1 / RHO), steps + 1)
    found = schedule.at_ratio(RHO * np.log(roots))
    t = np.append(found.t[:-1], bottom.t)
    return schedule.at(t)


@pytree
class Restart(LinearSampler):
    """`solver` down the grid; at r_min, `times` times: noise up to r_max, and down again.

    r = sigma / alpha. The noise up is the forward process: x / alpha gains
    sqrt(r_max^2 - r_min^2) z; the way down takes `steps` steps on the Karras grid, rho = 7. The
    noise contracts the errors made so far. Order: the solver's, in the steps of the grid and of the
    restarts together. r_min is replaced by the nearest level of the grid.
    """

    solver: LinearSampler
    r_min: Number = 0.05
    r_max: Number = 0.3
    steps: int = static(default=5)
    times: int = static(default=1)

    @property
    def stochastic(self) -> bool:
        return self.solver.stochastic or self.times > 0

    @property
    def order(self) -> int:
        return self.solver.order

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        top = float(self.r_max)
        distance = np.abs(levels.log_ratio[1:] - np.log(float(self.r_min)))
        turn = 1 + int(np.argmin(distance))
        low = levels[turn]
        if not low.ratio < top <= levels[0].ratio:
            raise ValueError(
                f"sampling.restart_max must lie above the grid's level {low.ratio:.3g} nearest to "
                f"sampling.restart_min and not above its highest, {levels[0].ratio:.3g}, "
                f"got {top:g}"
            )
        rows = self._solved(schedule, levels[: turn + 1], 0)
        for _ in range(self.times):
            down = _down(schedule, top, low, self.steps)
            noise = down[0].alpha * np.sqrt(down[0].ratio ** 2 - low.ratio**2)
            first, *others = self._solved(schedule, down, len(rows))
            rise = Rise(low.t, down[0].alpha / low.alpha, noise)
            rows += [replace(first, rise=rise), *others]
        if turn < len(levels) - 1:
            rows += self._solved(schedule, levels[turn:], len(rows))
        return rows

    def _solved(self, schedule: Schedule, levels: Levels, number: int) -> list[Row]:
        """The solver's rows down `levels`, numbered from `number`."""
        rows = self.solver.rows(schedule, levels)
        if any(row.rise for row in rows):
            raise ValueError(
                "sampling.restart_solver must be a solver that adds no noise before it evaluates, "
                f"got {type(self.solver).__name__}"
            )
        return [row.renumbered(number) for row in rows]
