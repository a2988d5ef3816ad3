"""PLMS: Adams-Bashforth on the noise with the weights of even steps, whatever the steps are.

With eps_k the evaluation at level k and x_s = T(x_t, eps), the exact step of the flow for constant
eps (DDIM's),

    x_1' = T(x_0, eps_0),    x_1 = T(x_0, (eps_0 + eps(x_1')) / 2),
    x_{k+1} = T(x_k, sum_j w_j eps_{k-j}),

w the weights of `WEIGHTS` for as many evaluations as there are. eps(x_1') is not kept, so that the
level after the first is evaluated twice, and a run of n steps takes n + 1 evaluations (Liu et al.
2022, arXiv:2202.09778, eq. 12, started as in the code of Rombach et al. 2022, arXiv:2112.10752).

The paper's own start, eq. 11, makes the first three steps by the classical Runge-Kutta method, with
T in place of its sums: four evaluations each, eps_0 to eps_2 being the first of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from samplers.planned.forms import FORMS
from samplers.planned.levels import Levels, Numbers, Schedule, landing, stride
from samplers.planned.linear import LinearSampler, Row
from sde_lib.pytree import pytree, static

WEIGHTS = {
    2: np.array([3, -1]) / 2,
    3: np.array([23, -16, 5]) / 12,
    4: np.array([55, -59, 37, -9]) / 24,
}
"""Adams-Bashforth's weights of even steps, the newest evaluation first."""
STARTED = 3
"""Number of steps that are made by Runge-Kutta."""


class Transfer(NamedTuple):
    """T(x, e) = x x + e e, between two levels."""

    x: Numbers
    e: Numbers

    def weights(self, f: Mapping[int, float]) -> dict[int, Numbers]:
        """The weights of the evaluations whose sum with weights f is e."""
        return {j: w * self.e for j, w in f.items()}


def _by_noise(t: Levels, s: Levels) -> Transfer:
    return Transfer(s.alpha / t.alpha, s.alpha * (s.ratio - t.ratio))


def _by_angle(t: Levels, s: Levels) -> Transfer:
    """The same for e = v, since eps = (alpha v + sigma x / p) / p, v as `forms.ANGLE` has it."""
    x, eps = _by_noise(t, s)
    p = np.hypot(t.alpha, t.sigma)
    return Transfer(x + eps * t.sigma / p**2, eps * t.alpha / p)


class Combined(NamedTuple):
    """transfer: (t, s) -> T of the values that are combined; order: of the method with them."""

    transfer: Callable[[Levels, Levels], Transfer]
    order: int


COMBINED = {"noise": Combined(_by_noise, 2), "angle": Combined(_by_angle, 0)}
"""The forms whose values can be combined."""


@pytree
class PLMS(LinearSampler):
    """The pseudo linear multistep method of the module's docstring.

    The weights are those of steps that are even in time and are applied in sigma / alpha, where
    they are not: order 2. Predictions other than the noise are converted before they are combined.
    With form 'angle' it is v whose values at several levels are combined, and the sum is taken for
    v at the step's begin, as diffusers does with networks of v: no order.

    runge_kutta: the start. even: as in `DDIM`; a Runge-Kutta step of k levels then evaluates
    floor(k / 2) above its end, and lands there or floor(k / 2) below its begin.
    """

    form: str = static(default="noise")
    runge_kutta: bool = static(default=False)
    even: bool = static(default=False)
    by_levels = True

    @property
    def order(self) -> int:
        return COMBINED[self.form].order

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        count = len(levels) - 1
        if self.runge_kutta and count <= STARTED:
            raise ValueError(
                f"sampling.plms_start='runge_kutta' makes {STARTED} steps, so that there must be "
                f"more, got {count}: raise sampling.num_steps"
            )
        ends = landing(schedule, levels) if self.even else levels[1:]
        rows: list[Row] = []
        kept: list[int] = []
        for k in range(count):
            t, s = levels[k], ends[k]
            kept.append(len(rows))
            if self.runge_kutta and k < STARTED:
                rows += self._by_runge_kutta(schedule, levels, k, len(rows))
            elif k == 0:
                rows += self._improved(schedule, levels, s)
            else:
                newest = kept[:-5:-1]
                f = dict(zip(newest, WEIGHTS[len(newest)], strict=True))
                rows.append(self._row(schedule, t, self._transfer(t, s), f))
        return rows

    def _transfer(self, t: Levels, s: Levels) -> Transfer:
        return COMBINED[self.form].transfer(t, s)

    def _row(
        self, schedule: Schedule, at: Levels, to: Transfer, f: Mapping[int, float],
        from_base: bool = False, first: bool = True,
    ) -> Row:  # fmt: skip
        x, base = (0.0, to.x) if from_base else (to.x, 0.0)
        slope = FORMS[self.form].slope(schedule, at)
        return Row(at.t, *slope, x, base, to.weights(f), first=first)

    def _improved(self, schedule: Schedule, levels: Levels, s: Levels) -> list[Row]:
        """The first step, twice: with its begin's evaluation, and with the mean of both ends'."""
        t, next_ = levels[0], levels[1]
        predicted = self._row(schedule, t, self._transfer(t, s), {0: 1.0})
        if len(levels) == 2:
            return [predicted]
        above = schedule.number(next_) + stride(schedule, levels) if self.even else None
        begin = t if above is None else schedule.numbered(above)
        again = self._transfer(begin, next_)
        return [predicted, self._row(schedule, next_, again, {0: 0.5, 1: 0.5}, True, False)]

    def _by_runge_kutta(self, schedule: Schedule, levels: Levels, k: int, start: int) -> list[Row]:
        t, s = levels[k], levels[k + 1]
        below, middle = self._middles(schedule, levels, k)
        sums = ({0: 1.0}, {1: 1.0}, {2: 1.0}, {0: 1 / 6, 1: 1 / 3, 2: 1 / 3, 3: 1 / 6})
        at, to = (t, middle, middle, s), (below, middle, s, s)
        return [
            self._row(
                schedule, at[i], self._transfer(t, to[i]),
                {j + start: w for j, w in sums[i].items()}, True, i == 0,
            )
            for i in range(4)
        ]  # fmt: skip

    def _middles(self, schedule: Schedule, levels: Levels, k: int) -> tuple[Levels, Levels]:
        """The levels at which the first stage of step k lands, and the next two are evaluated."""
        t, s = levels[k], levels[k + 1]
        if not self.even:
            middle = schedule.at((t.t + s.t) / 2)
            return middle, middle
        half = stride(schedule, levels) // 2
        below = schedule.numbered(schedule.number(t) - half)
        return below, schedule.numbered(schedule.number(s) + half)
