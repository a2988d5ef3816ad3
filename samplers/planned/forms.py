"""The probability flow in the variables of the solvers, and the weights of its integrals.

A form is a scaling y = c x_t and a coordinate q in which the flow reads

    dy/dq = D x_0(x_t) + E eps(x_t),                                                      (1)

with known D, E, for any c, since x_t = alpha x_0 + sigma eps gives D = d(c alpha)/dq and
E = d(c sigma)/dq (Song et al. 2021, arXiv:2011.13456, eq. 13, rewritten). With r = sigma / alpha:

    name        y                       q                      dy/dq          known from
    noise       x / alpha               r                      eps            DDIM, EDM, DPM-Solver
    data        x / sigma               1 / r                  x_0            DPM-Solver++
    velocity    x / (alpha + sigma)     sigma/(alpha + sigma)  eps - x_0      rectified flow
    angle       x / |(alpha, sigma)|    atan r                 v              v-prediction
    log_snr     x / alpha               -log r                 -r eps
    time        x                       t                      dx/dt          score_sde

The exact step is y(q_B) = y(q_A) + integral of the right-hand side. Multistep methods replace it by
a polynomial through known values, in any variable u; `lagrange` gives the weights, for every form,
variable and order, by quadrature that is exact to round-off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from samplers.planned.levels import Levels, Numbers, Schedule

QUADRATURE = np.polynomial.legendre.leggauss(40)
"""Gauss-Legendre nodes and weights, exact for polynomials of degree 79: integrands are polynomials
times exponentials of at most e^10 or so over one step."""


class Form(NamedTuple):
    """scale: c; coordinate: q; slope: (D, E) of (1); find: (schedule, q) -> the levels at q."""

    scale: Callable[[Levels], Numbers]
    coordinate: Callable[[Levels], Numbers]
    slope: Callable[[Schedule, Levels], tuple[Numbers, Numbers]]
    find: Callable[[Schedule, Numbers], Levels]


def _constant(data: float, noise: float) -> Callable[[Schedule, Levels], tuple[Numbers, Numbers]]:
    return lambda schedule, at: (np.full_like(at.t, data), np.full_like(at.t, noise))


def _found_by(ratio: Callable[[Numbers], Numbers]) -> Callable[[Schedule, Numbers], Levels]:
    return lambda schedule, q: schedule.at_ratio(np.log(ratio(q)))


NOISE = Form(
    scale=lambda at: 1 / at.alpha,
    coordinate=lambda at: at.ratio,
    slope=_constant(0.0, 1.0),
    find=_found_by(lambda q: q),
)
DATA = Form(
    scale=lambda at: 1 / at.sigma,
    coordinate=lambda at: 1 / at.ratio,
    slope=_constant(1.0, 0.0),
    find=_found_by(lambda q: 1 / q),
)
VELOCITY = Form(
    scale=lambda at: 1 / (at.alpha + at.sigma),
    coordinate=lambda at: at.sigma / (at.alpha + at.sigma),
    slope=_constant(-1.0, 1.0),
    find=_found_by(lambda q: q / (1 - q)),
)
ANGLE = Form(
    scale=lambda at: 1 / np.hypot(at.alpha, at.sigma),
    coordinate=lambda at: np.arctan(at.ratio),
    slope=lambda schedule, at: (-np.sin(np.arctan(at.ratio)), np.cos(np.arctan(at.ratio))),
    find=_found_by(np.tan),
)
LOG_SNR = Form(
    scale=lambda at: 1 / at.alpha,
    coordinate=lambda at: -at.log_ratio,
    slope=lambda schedule, at: (np.zeros_like(at.t), -at.ratio),
    find=lambda schedule, q: schedule.at_ratio(-q),
)
TIME = Form(
    scale=lambda at: np.ones_like(at.t),
    coordinate=lambda at: at.t,
    slope=lambda schedule, at: schedule.rates(at.t),
    find=lambda schedule, q: schedule.at(q),
)
FORMS = {
    "noise": NOISE, "data": DATA, "velocity": VELOCITY, "angle": ANGLE, "log_snr": LOG_SNR,
    "time": TIME,
}  # fmt: skip

Measure = Callable[[Numbers], Numbers]
"""dq / d log r as a function of log r."""

MEASURES: dict[str, Measure] = {
    "noise": np.exp,
    "data": lambda x: -np.exp(-x),
    "velocity": lambda x: 1 / (4 * np.cosh(x / 2) ** 2),
    "angle": lambda x: 1 / (2 * np.cosh(x)),
}
"""Measures of the forms whose step can be integrated without knowing log r as a function of t."""

Variable = Callable[[Schedule, Numbers], Numbers]
"""u as a function of log r."""

VARIABLES: dict[str, Variable] = {
    "log_snr": lambda schedule, x: -x,
    "noise": lambda schedule, x: np.exp(x),
    "data": lambda schedule, x: np.exp(-x),
    "velocity": lambda schedule, x: 1 / (1 + np.exp(-x)),
    "angle": lambda schedule, x: np.arctan(np.exp(x)),
    "time": lambda schedule, x: schedule.time(x),
}
"""Variables in which right-hand sides are approximated by polynomials."""


def _basis(nodes: Numbers, j: int, u: Numbers) -> Numbers:
    """The Lagrange polynomial that is 1 at node j and 0 at the others."""
    others = np.delete(nodes, j)
    return np.prod([(u - v) / (nodes[j] - v) for v in others], axis=0) * np.ones_like(u)


def lagrange(
    schedule: Schedule, variable: Variable, measure: Measure, nodes: Sequence[Numbers], a: Numbers,
    b: Numbers, kinks: Sequence[float] = (),
) -> list[Numbers]:  # fmt: skip
    """w_j = integral of l_j(u) dq from log r = a to b, l_j the polynomials of `nodes` (log r).

    kinks: points at which the measure is not smooth.
    """
    points, weights = QUADRATURE
    ends = np.asarray([a, *sorted((k for k in kinks if b < k < a), reverse=True), b])
    middle, half = (ends[1:] + ends[:-1]) / 2, np.diff(ends) / 2
    x = (middle[:, None] + half[:, None] * points).ravel()
    density = measure(x) * (half[:, None] * weights).ravel()
    u, at = variable(schedule, x), variable(schedule, np.asarray(nodes))
    return [np.asarray(np.sum(_basis(at, j, u) * density)) for j in range(len(nodes))]
