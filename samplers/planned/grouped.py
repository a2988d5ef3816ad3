"""Single-step DPM-Solver through the levels of the grid themselves.

Levels i to i + p make a group of order p, each step of which begins at level i again:

    to i + 1 by first order,    to i + 2 by second,    to i + p by order p,

with the evaluations at all levels of the group before it. So every step takes one evaluation, at
the grid's next level, where the stages of `singlestep` lie between two levels of the grid (Lu et
al. 2022, arXiv:2206.00927, section 3.4, as in the code of diffusers).
"""

from __future__ import annotations

import numpy as np

from samplers.planned.levels import Levels, Schedule, check_distinct
from samplers.planned.linear import LinearSampler, Row
from samplers.planned.multistep import MultistepMethod, Weights
from samplers.planned.multistep_sde import REVERSED
from sde_lib.base import Number
from sde_lib.pytree import pytree, static


def groups(steps: int, degree: int, falling: bool) -> list[int]:
    """The orders of the groups of so many steps: `degree`, and if `falling` lower ones at the end.

    Published for DPM-Solver-fast: the last of several groups is of the first order.
    """
    if not falling and steps % degree == 0:
        return [degree] * (steps // degree)
    whole, rest = divmod(steps, degree)
    if rest or degree == 1:
        return [degree] * whole + [rest] * (rest > 0)
    return [degree] * (whole - 1) + [degree - 1, 1]


def _exact(
    schedule: Schedule, method: MultistepMethod, levels: Levels, nodes: list[int]
) -> Weights:
    """Weights of the polynomial through the values at all `nodes`, the newest first.

    The step leads from the last of them to the level after the first.
    """
    at = levels.log_ratio
    values = method.weights(schedule, at, nodes, (at[nodes[-1]], at[nodes[0] + 1]))
    return dict(zip(nodes, values, strict=True))


def _midpoint(
    schedule: Schedule, method: MultistepMethod, levels: Levels, nodes: list[int]
) -> Weights:
    """Weights of the same step by B of `multistep.SHORTCUTS['midpoint']`, if there are two nodes.

    Of three, the line through the first and the last is integrated.
    """
    k, i = nodes[0], nodes[-1]
    if k != i + 1:
        return _exact(schedule, method, levels, sorted({i, k}, reverse=True))
    at = levels.log_ratio
    whole = method.coordinate(levels[k + 1]) - method.coordinate(levels[i])
    part = whole * (at[k + 1] - at[i]) / (2 * (at[k] - at[i]))
    return {i: whole - part, k: part}


SECONDS = {"exact": _exact, "midpoint": _midpoint}
"""Weights of a step as functions of (schedule, method, levels, nodes)."""


@pytree
class GroupedDPMSolver(LinearSampler):
    """DPM-Solver (form 'noise') and DPM-Solver++ ('data') of order 1 to 3 as above.

    second: 'exact' integrates the polynomial through all values of the group; 'midpoint' is the
    published shortcut, see `SECONDS`. eta: of the noise of `SDEDPMSolverPP`, 0 for the flow.
    falling: whether the last groups are of lower order, as they are anyhow where the steps do not
    come out even. euler_end: whether the last step is of first order, in a group of its own.
    """

    degree: int = static(default=2)
    form: str = static(default="data")
    second: str = static(default="midpoint")
    eta: Number = 0.0
    falling: bool = static(default=True)
    euler_end: bool = static(default=True)
    by_levels = True

    @property
    def order(self) -> int:
        return 1 if self.stochastic else min(self.degree, 2)

    @property
    def stochastic(self) -> bool:
        return float(self.eta) > 0

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        check_distinct(levels)
        method = REVERSED[self.form](float(self.eta), "exact", "exact")
        sizes = groups(len(levels) - 1, self.degree, self.falling)
        if self.euler_end and sizes[-1] > 1:
            sizes[-1:] = [sizes[-1] - 1, 1]
        starts = np.cumsum([0, *sizes]).tolist()
        return [
            self._row(schedule, method, levels, start, start + j)
            for start, size in zip(starts, sizes, strict=False)
            for j in range(size)
        ]

    def _row(
        self, schedule: Schedule, method: MultistepMethod, levels: Levels, i: int, k: int
    ) -> Row:
        """The step from level i to k + 1, with the evaluations from i to k."""
        begin, end = levels[i], levels[k + 1]
        scale = method.scale(end)
        weights = SECONDS[self.second](schedule, method, levels, list(range(k, i - 1, -1)))
        f = {j: w / scale for j, w in weights.items()}
        z = {k: method.deviation(begin, end)} if self.stochastic and method.deviation else {}
        base, slope = method.scale(begin) / scale, method.slope(schedule, levels[k])
        return Row(levels[k].t, *slope, base=base, f=f, z=z, first=i == k)
