"""Runge-Kutta methods on the probability flow, in any form of it, with or without churn.

A method is its tableau (c, a, b). With y, q and f of `samplers.planned.forms` and step
Q = q_B - q_A,

    y_i = y_A + Q sum_j a_ij f_j,   f_i = f at q_A + c_i Q,   y_B = y_A + Q sum_i b_i f_i.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from samplers.planned.forms import FORMS, MEASURES, NOISE, Form
from samplers.planned.levels import Levels, Numbers, Schedule
from samplers.planned.linear import Rise, Row
from samplers.planned.one_step import MultiStage
from sde_lib.base import Number
from sde_lib.pytree import pytree, static


class Tableau(NamedTuple):
    """An explicit method: a's rows below the diagonal (the first stage has none), b, its order."""

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    order: int

    @property
    def c(self) -> tuple[float, ...]:
        """Positions of the stages, as fractions of the step."""
        return (0.0, *(sum(row) for row in self.a))


def _tableau(order: int, *rows: str) -> Tableau:
    numbers = [tuple(float(Fraction(x)) for x in row.split()) for row in rows]
    return Tableau(tuple(numbers[:-1]), numbers[-1], order)


TABLEAUS = {
    "euler": _tableau(1, "1"),
    "heun": _tableau(2, "1", "1/2 1/2"),
    "midpoint": _tableau(2, "1/2", "0 1"),
    "ralston": _tableau(2, "2/3", "1/4 3/4"),
    "kutta3": _tableau(3, "1/2", "-1 2", "1/6 2/3 1/6"),
    "rk4": _tableau(4, "1/2", "0 1/2", "0 0 1", "1/6 1/3 1/3 1/6"),
    "dopri5": _tableau(
        5, "1/5", "3/40 9/40", "44/45 -56/15 32/9",
        "19372/6561 -25360/2187 64448/6561 -212/729",
        "9017/3168 -355/33 46732/5247 49/176 -5103/18656",
        "35/384 0 500/1113 125/192 -2187/6784 11/84",
    ),
}  # fmt: skip
"""Hairer, Norsett & Wanner 1993, sections II.1 and II.5; 'ralston': least error of order 2."""


def runge_kutta(
    schedule: Schedule, form: Form, tableau: Tableau, t: Levels, s: Levels
) -> list[Row]:
    """The stages of the steps from levels t to levels s [n], as in `MultiStage.stages`."""
    scale, q_t, q_s = form.scale, form.coordinate(t), form.coordinate(s)

    def level(c: float) -> Levels:
        # The ends are known; to find them again would cost round-off.
        known = {0.0: t, 1.0: s}
        return known[c] if c in known else form.find(schedule, q_t + c * (q_s - q_t))

    at = [*(level(c) for c in tableau.c), s]
    return [
        Row(
            at[i].t,
            *form.slope(schedule, at[i]),
            base=scale(t) / scale(at[i + 1]),
            f={j: a * (q_s - q_t) / scale(at[i + 1]) for j, a in enumerate(weights)},
        )
        for i, weights in enumerate([*tableau.a, tableau.b])
    ]


@pytree
class RungeKutta(MultiStage):
    """`tableau` on the probability flow in the variable `form` (see the module's docstring).

    Heun in the form 'noise' is the deterministic sampler of Karras et al. 2022, arXiv:2206.00364,
    algorithm 1 (without its last Euler step to 0: the denoiser at the last time is that step).
    In every form but 'time' the result is the same for every SDE on the same sigma / alpha.
    Order 1 to 5, one evaluation per stage of the tableau.
    """

    tableau: str = static(default="heun")
    form: str = static(default="noise")

    @property
    def order(self) -> int:
        return TABLEAUS[self.tableau].order

    @property
    def by_levels(self) -> bool:
        """True for Euler's method, whose step is one evaluation at its begin."""
        return self.tableau == "euler" and self.form in MEASURES

    def stages(self, schedule: Schedule, t: Levels, s: Levels) -> list[Row]:
        return runge_kutta(schedule, FORMS[self.form], TABLEAUS[self.tableau], t, s)


@pytree
class Churn(MultiStage):
    """EDM's stochastic sampler: noise is added, then a Runge-Kutta step goes down from there.

    Karras et al. 2022, arXiv:2206.00364, algorithm 2. With r = sigma / alpha and N levels, one more
    than steps, because EDM's last step, from the lowest level to 0, is the final denoiser here,

        r' = (1 + gamma) r,   gamma = min(s_churn / N, sqrt(2) - 1) if s_min <= r <= s_max, else 0,
        x / alpha gets s_noise sqrt(r'^2 - r^2) z,   then `tableau` from r' to the next level.

    If r' is above the SDE's highest level, it is replaced by that level. s_churn = 0 is
    `RungeKutta`. Order 2, since gamma falls as 1 / N; s_noise other than 1 changes the law drawn.
    """

    churn: Number = 0.0
    s_min: Number = 0.0
    s_max: Number = np.inf
    s_noise: Number = 1.0
    tableau: str = static(default="heun")
    stochastic = True

    @property
    def order(self) -> int:
        return TABLEAUS[self.tableau].order

    def _raised(self, schedule: Schedule, at: Levels) -> tuple[Levels, Numbers]:
        """The levels r' above the levels `at` [n], and the deviation of the noise in x / alpha."""
        gamma = min(float(self.churn) / (len(at) + 1), np.sqrt(2) - 1)
        up = schedule.at_ratio(at.log_ratio + np.log1p(gamma))
        inside = (float(self.s_min) <= at.ratio) & (at.ratio <= float(self.s_max))
        moved = inside & (up.ratio > at.ratio) & (gamma > 0)
        to = Levels(*(np.where(moved, x, y) for x, y in zip(up.parts, at.parts, strict=True)))
        gained = np.where(moved, to.ratio**2 - at.ratio**2, 0.0)
        return to, float(self.s_noise) * np.sqrt(gained)

    def stages(self, schedule: Schedule, t: Levels, s: Levels) -> list[Row]:
        up, noise = self._raised(schedule, t)
        first, *others = runge_kutta(schedule, NOISE, TABLEAUS[self.tableau], up, s)
        return [replace(first, rise=Rise(t.t, up.alpha / t.alpha, up.alpha * noise)), *others]
