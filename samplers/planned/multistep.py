"""Multistep methods: the flow's right-hand side as a polynomial through past evaluations.

With y, q, f of `samplers.planned.forms`, values f_0 at A, f_1, f_2, ... before it, and time
expressed as log r (`forms.lagrange`),

    predict   y_B = y_A + sum_j w_j f_j,          w_j = integral of l_j(u) dq over [A, B],
    correct   the same with f at B among the nodes, once it is known: it is the next step's own
              evaluation, so that correcting costs none (Zhao et al. 2023, arXiv:2302.04867).

All of DDIM, DPM-Solver and DPM-Solver++ (multistep), DEIS, LMS, Adams-Bashforth, UniPC, and with
noise ER-SDE, SDE-DPM-Solver++ and SA-Solver (`multistep_sde`) are a form, a variable u and an
order.

A multistep method has global order k only if its first steps have local order k. Up to k = 3 the
correction ensures that without further evaluations; above, the first steps are Runge-Kutta's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from samplers.planned.forms import (
    FORMS,
    MEASURES,
    VARIABLES,
    Form,
    Measure,
    Variable,
    lagrange,
)
from samplers.planned.levels import Levels, Numbers, Schedule, check_distinct, steps
from samplers.planned.linear import LinearSampler, Row
from samplers.planned.one_step import unrolled
from samplers.planned.runge_kutta import TABLEAUS, runge_kutta
from sde_lib.pytree import pytree, static

Weights = dict[int, Numbers]
"""Weights by the number of the row whose f they multiply."""

STARTERS = {2: "heun", 3: "kutta3", 4: "rk4", 5: "dopri5"}
"""Order -> tableau of the first steps, which limits multistep methods to order 6."""
HIGHEST = 6
LONGEST = 10.0
"""Length in log r of a piece of an integral; steps between levels are shorter."""

Shortcut = Callable[[Numbers, Numbers, Numbers], Numbers]
"""B of a published shortcut for two nodes: (q_A, q_B, h = log(r_A / r_B)) -> B. The slope of f has
the weight B h / 2 instead of its exact integral."""

SHORTCUTS: dict[str, Shortcut | None] = {
    "exact": None,
    "midpoint": lambda q_a, q_b, h: q_b - q_a,  # f in the middle of the step: DPM-Solver++ (2M)
    "bh2": lambda q_a, q_b, h: q_b - q_a,  # UniPC's B(h) = e^h - 1, in the form 'data'
    "bh1": lambda q_a, q_b, h: np.sign(q_b - q_a) * h * q_b,  # UniPC's B(h) = h
}

Curvature = Callable[[Numbers, Numbers], Numbers]
"""Published integral of theta^2 over a step: (the exact one, the weight of 1 in x_B) -> it."""

THIRD_ORDERS: dict[str, Curvature | None] = {
    "exact": None,
    "halved": lambda exact, unit: exact / 2,  # DPM-Solver(++) of third order: a factor 2 is missing
    "shifted": lambda exact, unit: exact / 2 - unit,  # its SDE in diffusers, with a sign besides
}
"""Integrals of the second difference in weights of third order, by name."""


def _curvature(log_ratio: Numbers) -> Numbers:
    """c_j of the second divided difference in log r, sum_j c_j f_j, of three values."""
    return np.asarray([1 / np.prod(u - np.delete(log_ratio, j)) for j, u in enumerate(log_ratio)])


@dataclass(frozen=True)
class Orders:
    """The orders of a run's steps: `degree`, if there are as many evaluations.

    falling: the last steps are of falling order, down to the first. euler_end: the last is of first
    order in any case.
    """

    degree: int
    falling: bool = False
    euler_end: bool = False

    def at(self, k: int, steps: int) -> int:
        """The order of step k of so many."""
        left = steps - k
        lowered = min(self.degree, left) if self.falling else self.degree
        return 1 if self.euler_end and left == 1 else lowered


@dataclass(frozen=True)
class MultistepMethod:
    """A multistep method, in the terms of the module's docstring.

    shortcut: B for two nodes. curvature: for three nodes. deviation: of a step's noise, as a
    function of its ends. kinks: points in log r at which the measure is not smooth.
    """

    scale: Callable[[Levels], Numbers]
    coordinate: Callable[[Levels], Numbers]
    slope: Callable[[Schedule, Levels], tuple[Numbers, Numbers]]
    measure: Measure
    variable: Variable
    shortcut: Shortcut | None = None
    curvature: Curvature | None = None
    deviation: Callable[[Levels, Levels], Numbers] | None = None
    kinks: tuple[float, ...] = ()

    def predictor(
        self, schedule: Schedule, levels: Levels, k: int, order: int, number: list[int]
    ) -> Weights:
        """The weights of the step from level k to k + 1."""
        nodes = list(range(k, max(k - order, -1), -1))
        values = self.weights(schedule, levels.log_ratio, nodes, levels.log_ratio[k : k + 2])
        if self.shortcut and len(nodes) == 2:
            gap, h, b = self._step(levels, k, self.shortcut)
            tilt = b * h / (2 * (levels.log_ratio[k - 1] - levels.log_ratio[k]))
            values = [gap + tilt, -tilt]
        if self.curvature and len(nodes) == 3:
            values = self._bent(values, levels, k, self.curvature)
        return {number[j]: w for j, w in zip(nodes, values, strict=True)}

    def _bent(
        self, exact: list[Numbers], levels: Levels, k: int, curvature: Curvature
    ) -> list[Numbers]:
        """The weights of three nodes with another integral of the second difference."""
        u = levels.log_ratio[k - 2 : k + 1][::-1]
        h = levels.log_ratio[k + 1] - u[0]
        # Exact weights integrate the square itself.
        integral = np.sum(exact * (u - u[0]) ** 2)
        unit = h**2 * levels.alpha[k + 1] * self.scale(levels[k + 1])
        changed = curvature(integral, unit) - integral
        return [w + changed * c for w, c in zip(exact, _curvature(u), strict=True)]

    def corrector(
        self, schedule: Schedule, levels: Levels, k: int, order: int, number: list[int]
    ) -> Weights:
        """Weights of the same step with the evaluation at level k + 1 among `order` nodes."""
        nodes = list(range(k + 1, max(k + 1 - order, -1), -1))
        values = self.weights(schedule, levels.log_ratio, nodes, levels.log_ratio[k : k + 2])
        if self.shortcut and len(nodes) == 2:
            gap, _, b = self._step(levels, k, self.shortcut)
            values = [b / 2, gap - b / 2]
        return {number[j]: w for j, w in zip(nodes, values, strict=True)}

    def _step(self, levels: Levels, k: int, shortcut: Shortcut) -> tuple[Numbers, Numbers, Numbers]:
        """(q_B - q_A, h, B) of the step from level k."""
        q_a, q_b = (self.coordinate(levels[j]) for j in (k, k + 1))
        h = levels.log_ratio[k] - levels.log_ratio[k + 1]
        return q_b - q_a, h, shortcut(q_a, q_b, h)

    def weights(
        self, schedule: Schedule, log_ratio: Numbers, nodes: list[int],
        ends: Sequence[Numbers] | Numbers,
    ) -> list[Numbers]:  # fmt: skip
        """The weights of the polynomial through the nodes, between two ends in log r."""
        at, (a, b) = [log_ratio[j] for j in nodes], ends
        return lagrange(schedule, self.variable, self.measure, at, a, b, self._pieces(a, b))

    def _pieces(self, a: Numbers, b: Numbers) -> tuple[float, ...]:
        """Points that split an integral; a step down to x_0 is too long for one quadrature."""
        return (*self.kinks, *np.arange(float(a) - LONGEST, float(b), -LONGEST).tolist())


def multistep(
    schedule: Schedule, levels: Levels, method: MultistepMethod, orders: Orders, *,
    more: int | None = None, starter: Form | None = None,
) -> list[Row]:  # fmt: skip
    """The rows of a predictor and, unless `more` is None, a corrector of so much higher an order.

    starter: the form of the Runge-Kutta methods for the first steps; None: lower orders instead.
    """
    check_distinct(levels)
    order, count = orders.degree, len(levels) - 1
    reached = order if more is None else order + more
    by_runge_kutta = max(0, reached - 3) if starter else 0
    rows: list[Row] = []
    number: list[int] = []
    for k, t, s in steps(levels):
        number.append(len(rows))
        if starter and k < by_runge_kutta:
            tableau = TABLEAUS[STARTERS[reached - 1]]
            alone = levels[k : k + 1], levels[k + 1 : k + 2]
            rows += unrolled(runge_kutta(schedule, starter, tableau, *alone), 1, len(rows))
            continue
        weights = method.predictor(schedule, levels, k, orders.at(k, count), number)
        own = more if more is not None else 0 if starter and k == 1 and order == 3 else None
        if own is not None and k > by_runge_kutta:
            # What the step before should have been, now that its end is known.
            before = orders.at(k - 1, count)
            first = method.predictor(schedule, levels, k - 1, before, number)
            better = method.corrector(schedule, levels, k - 1, before + own, number)
            for j in {**first, **better}:
                change = better.get(j, 0.0) - first.get(j, 0.0)
                weights[j] = weights.get(j, np.zeros(())) + change
        scale = method.scale(s)
        f = {j: w / scale for j, w in weights.items()}
        z = {number[k]: method.deviation(t, s)} if method.deviation else {}
        rows.append(Row(t.t, *method.slope(schedule, t), x=method.scale(t) / scale, f=f, z=z))
    return rows


def _method(form: str, variable: str, shortcut: str, third: str = "exact") -> MultistepMethod:
    shape = FORMS[form]
    return MultistepMethod(
        shape.scale, shape.coordinate, shape.slope, MEASURES[form], VARIABLES[variable],
        SHORTCUTS[shortcut], THIRD_ORDERS[third],
    )  # fmt: skip


@pytree
class AdamsBashforth(LinearSampler):
    """Adams-Bashforth of order 1 to 6 in any form and variable u (see the module's docstring).

    form, variable:
        noise, log_snr      multistep DPM-Solver (Lu et al. 2022, arXiv:2206.00927)
        data, log_snr       DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095), with the correct
                            third-order coefficients: the published code halves one of them
        noise, time         DEIS, tAB (Zhang & Chen 2023, arXiv:2204.13902, eq. 15)
        noise, noise        DEIS, rhoAB; the LMS of k-diffusion: plain Adams-Bashforth in sigma
        velocity, velocity  plain Adams-Bashforth on the velocity of rectified flow

    `second='midpoint'` uses the published shortcut for the weights of order 2, `third='halved'` the
    published ones of order 3, which have second order. One evaluation per step; without
    `high_order_start` a low-order start limits the global order to 2. Runs of fewer steps than
    `low_order_end` end with steps of falling order, the last of which is of the first; with
    `euler_end` the last is of the first in every run.
    """

    degree: int = static(default=2)
    form: str = static(default="data")
    variable: str = static(default="log_snr")
    second: str = static(default="exact")
    high_order_start: bool = static(default=True)
    low_order_end: int = static(default=0)
    euler_end: bool = static(default=False)
    third: str = static(default="exact")

    @property
    def by_levels(self) -> bool:
        """True unless the variable is the SDE's time."""
        return self.variable != "time"

    @property
    def order(self) -> int:
        best = self.degree if self.high_order_start else min(self.degree, 2)
        return best if self.third == "exact" else min(best, 2)

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        method = _method(self.form, self.variable, self.second, self.third)
        starter = FORMS[self.form] if self.high_order_start else None
        orders = Orders(self.degree, len(levels) - 1 < self.low_order_end, self.euler_end)
        return multistep(schedule, levels, method, orders, starter=starter)


@pytree
class UniPC(LinearSampler):
    """UniP-p and UniC-p in a form, 'data' or 'noise' (Zhao et al. 2023, arXiv:2302.04867,
    algorithms 1 and 2).

    Exponential Adams-Bashforth of order p, each step of which is corrected by Adams-Moulton of
    order p + 1 once its end is evaluated. `variant` is B(h): bh1 or bh2 differ in the published
    shortcuts for two nodes; 'exact' uses none. Order p + 1, one evaluation per step. The published
    low-order start limits p = 3 to about 3.5; `high_order_start` removes that limit.
    `low_order_end` as in `AdamsBashforth`.
    """

    degree: int = static(default=2)
    variant: str = static(default="bh2")
    high_order_start: bool = static(default=True)
    low_order_end: int = static(default=0)
    form: str = static(default="data")
    by_levels = True

    @property
    def order(self) -> int:
        return self.degree + 1 if self.high_order_start else min(self.degree + 1, 3)

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        method = _method(self.form, "log_snr", self.variant)
        starter = FORMS[self.form] if self.high_order_start else None
        orders = Orders(self.degree, len(levels) - 1 < self.low_order_end)
        return multistep(schedule, levels, method, orders, more=1, starter=starter)
