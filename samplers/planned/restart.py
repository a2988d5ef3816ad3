"""Restart sampling (Xu et al. 2023, arXiv:2306.14878, algorithm 1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from samplers.planned.levels import Clock, Levels
from samplers.planned.linear import LinearSampler, Row
from sde_lib.base import Number
from sde_lib.pytree import pytree, static

RHO = 7.0
"""Of the grid on the way down."""


def _down(clock: Clock, top: float, bottom: Levels, steps: int) -> Levels:
    """Levels from ratio `top` to the level `bottom` on the Karras grid."""
    roots = np.linspace(top ** (1 / RHO), bottom.ratio ** (1 / RHO), steps + 1)
    found = clock.at_ratio(RHO * np.log(roots))
    t = np.append(found.t[:-1], bottom.t)
    return clock.at(t)


@pytree
class Restart(LinearSampler):
    """`solver` down the grid; at r_min, `times` times: noise up to r_max, and down again.

    r = sigma / alpha. The way up is the forward process, x / alpha gaining sqrt(r_max^2 -
    r_min^2) z; the way down takes `steps` steps on the Karras grid, rho = 7. The noise contracts
    the errors made so far. Order: the solver's, in the grid's steps and in those of the restarts
    together. r_min is the grid's own level nearest to it.
    """

    solver: LinearSampler
    r_min: Number = 0.05
    r_max: Number = 0.3
    steps: int = static(default=5)
    times: int = static(default=1)
    stirs = True

    @property
    def adds(self) -> bool:  # type: ignore[override]
        return self.solver.adds

    @property
    def order(self) -> int:  # type: ignore[override]
        return self.solver.order

    def rows(self, clock: Clock, levels: Levels) -> list[Row]:
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
        rows = self.solver.rows(clock, levels[: turn + 1])
        for _ in range(self.times):
            down = _down(clock, top, low, self.steps)
            rise = down[0].alpha * np.sqrt(down[0].ratio ** 2 - low.ratio**2)
            first, *others = _numbered(self.solver.rows(clock, down), len(rows))
            gain = down[0].alpha / low.alpha
            up = replace(first, keep=gain, stir=rise, start=low.t)
            rows += [up, *others]
        if turn < len(levels) - 1:
            rows += _numbered(self.solver.rows(clock, levels[turn:]), len(rows))
        return rows


def _numbered(rows: list[Row], start: int) -> list[Row]:
    """The same rows where `start` others come before them."""
    return [replace(r, history={j + start: w for j, w in r.history.items()}) for r in rows]
