"""Exponential Runge-Kutta methods: DPM-Solver and DPM-Solver++ (single step), and on the reverse
SDE SEEDS and a stochastic Heun method.

Stages lie at s_1, s_2 between t and s, evenly in log r. Each stage, and the step, integrates the
flow in the form 'noise' or 'data' (`samplers.planned.forms`) with its right-hand side linear in
log r through two known values: the one at t and that of the last stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from samplers.planned.forms import FORMS, MEASURES, VARIABLES, lagrange
from samplers.planned.levels import Levels, Numbers, Schedule
from samplers.planned.linear import Row
from samplers.planned.one_step import MultiStage
from sde_lib.base import Number
from sde_lib.pytree import pytree, static

STAGES = {1: (), 2: (1 / 2,), 3: (1 / 3, 2 / 3)}
"""Order -> positions of the stages, as fractions of the step in log r."""


def _points(schedule: Schedule, order: int, t: Levels, s: Levels) -> list[Levels]:
    """t, the stages, s."""
    gap = s.log_ratio - t.log_ratio
    return [t, *(schedule.at_ratio(t.log_ratio + c * gap) for c in STAGES[order]), s]


def _weights(schedule: Schedule, form: str, at: Sequence[Levels], i: int) -> dict[int, Numbers]:
    """Weights of f at t and at stage i - 1, by their numbers, for the integral from t to at[i]."""
    q = FORMS[form].coordinate
    whole = q(at[i]) - q(at[0])
    if i == 1:
        return {0: whole}
    if len(at) == 3:  # order 2 as published: all weight on the stage in the middle
        return {0: np.zeros_like(whole), 1: whole}
    u, measure = VARIABLES["log_snr"], MEASURES[form]
    steps = zip(*(at[j].log_ratio for j in (0, i - 1, i)), strict=True)
    first, last = np.transpose([lagrange(schedule, u, measure, [a, c], a, b) for a, c, b in steps])
    return {0: first, i - 1: last}


def exponential(schedule: Schedule, form: str, at: Sequence[Levels]) -> list[Row]:
    """The stages from at[0] to each of the other levels."""
    shape = FORMS[form]

    def row(i: int) -> Row:
        scale = shape.scale(at[i])
        f = {j: w / scale for j, w in _weights(schedule, form, at, i).items()}
        slope = shape.slope(schedule, at[i - 1])
        return Row(at[i - 1].t, *slope, base=shape.scale(at[0]) / scale, f=f)

    return [row(i) for i in range(1, len(at))]


@pytree
class DPMSolver(MultiStage):
    """DPM-Solver-1, -2, -3 (form 'noise') and DPM-Solver++ 1S, 2S, 3S (form 'data').

    Lu et al. 2022, arXiv:2206.00927, algorithms 1 and 2 (r_1 = 1/2; r_1 = 1/3, r_2 = 2/3), and
    arXiv:2211.01095, algorithm 1. Order and evaluations per step `degree`.
    """

    degree: int = static(default=3)
    form: str = static(default="noise")

    @property
    def order(self) -> int:
        return self.degree

    def stages(self, schedule: Schedule, t: Levels, s: Levels) -> list[Row]:
        return exponential(schedule, self.form, _points(schedule, self.degree, t, s))


@pytree
class SEEDS(MultiStage):
    """SEEDS-1, -2, -3: DPM-Solver's stages on the reverse SDE (Gonzalez et al. 2023,
    arXiv:2305.14267, algorithms 1 to 3).

    In xb = x / alpha and r = sigma / alpha the reverse SDE is d xb = 2 eps dr plus noise of
    variance r_t^2 - r_s^2 over a step: twice DPM-Solver's integrals, and a Brownian path in r^2.
    All stages and the step follow the same path, z_j being its piece from stage j on, so that the
    covariances between them are exact. Weak order 1 for one stage, 2 for two, and for three on
    Gaussian data.
    """

    degree: int = static(default=3)
    stochastic = True

    @property
    def order(self) -> int:
        return min(self.degree, 2)

    def stages(self, schedule: Schedule, t: Levels, s: Levels) -> list[Row]:
        at = _points(schedule, self.degree, t, s)
        path = [np.sqrt(a.ratio**2 - b.ratio**2) for a, b in pairwise(at)]

        def noisy(i: int, row: Row, to: Levels) -> Row:
            f = {j: 2 * w for j, w in row.f.items()}
            return replace(row, f=f, z={j: to.alpha * path[j] for j in range(i + 1)})

        flow = exponential(schedule, "noise", at)
        return [noisy(i, row, to) for i, (row, to) in enumerate(zip(flow, at[1:], strict=True))]


@pytree
class StochasticHeun(MultiStage):
    """xb' = P xb + (1 - P) x_0 + n z,  then  xb_s = P xb + (1 - P - w) x_0 + w x_0' + n z.

    xb = x / alpha, P = (r_s / r_t)^(1 + tau^2), n^2 = r_s^2 - P^2 r_t^2, w = 1 + (1 - P) / log P,
    x_0' at xb'. On the reverse SDE with tau times the published noise (`multistep.extended`) x_0 is
    approximated first by a constant, then linearly in log r through both ends. tau = 0 solves the
    flow. The noise does not depend on x, so that using one z twice gives weak order 2, on any data.
    """

    tau: Number = 1.0
    order, stochastic = 2, True

    def stages(self, schedule: Schedule, t: Levels, s: Levels) -> list[Row]:
        tau, h = float(self.tau), s.log_ratio - t.log_ratio
        log_p = (1 + tau**2) * h
        p, n = np.exp(log_p), s.sigma * np.sqrt(-np.expm1(2 * tau**2 * h))
        kept, moved, w = p * s.alpha / t.alpha, s.alpha * (1 - p), s.alpha * (1 + (1 - p) / log_p)
        return [
            Row(t.t, x0=1.0, base=kept, f={0: moved}, z={0: n}),
            Row(s.t, x0=1.0, base=kept, f={0: moved - w, 1: w}, z={0: n}),
        ]


@pytree
class AncestralDPM2(MultiStage):
    """DPM-Solver-2 from t to the level r_s^2 / r_t below s, and noise up to s.

    In xb = x / alpha, by eps at x'_s = xb + (r_s - r_t) eps_t, since r_s is the middle of r_t and
    the level below in log r (DPM2 ancestral of k-diffusion, eta = 1). Weak order 2 on Gaussian
    data, where the noise enters linearly.
    """

    order, stochastic = 2, True

    def stages(self, schedule: Schedule, t: Levels, s: Levels) -> list[Row]:
        kept, below = s.alpha / t.alpha, s.ratio**2 / t.ratio
        noise = s.sigma * np.sqrt(-np.expm1(2 * (s.log_ratio - t.log_ratio)))
        return [
            Row(t.t, eps=1.0, base=kept, f={0: s.alpha * (s.ratio - t.ratio)}),
            Row(s.t, eps=1.0, base=kept, f={1: s.alpha * (below - t.ratio)}, z={1: noise}),
        ]


@pytree
class BrownianDPM(MultiStage):
    """Ancestral steps from t to the middle in log r, and from t to s with x_0 of the middle.

    Both follow one path, Brownian in r: the noise to s, of the ancestral variance, is that to the
    middle for (r_t - r_m) / (r_t - r_s) of its own variance (DPM++ SDE of k-diffusion). Weak order
    2 on Gaussian data, where the noise enters linearly.
    """

    order, stochastic = 2, True

    def stages(self, schedule: Schedule, t: Levels, s: Levels) -> list[Row]:
        middle = schedule.at_ratio((t.log_ratio + s.log_ratio) / 2)
        share = (t.ratio - middle.ratio) / (t.ratio - s.ratio)
        (kept_m, x0_m, noise_m), (kept, x0, noise) = (_ancestral(t, end) for end in (middle, s))
        pieces = {0: noise * np.sqrt(share), 1: noise * np.sqrt(1 - share)}
        return [
            Row(t.t, x0=1.0, base=kept_m, f={0: x0_m}, z={0: noise_m}),
            Row(middle.t, x0=1.0, base=kept, f={1: x0}, z=pieces),
        ]


def _ancestral(t: Levels, s: Levels) -> tuple[Numbers, Numbers, Numbers]:
    """The weights of x, x_0 and the noise in DDIM's step with eta = 1."""
    log_p = 2 * (s.log_ratio - t.log_ratio)
    p, noise = np.exp(log_p), s.sigma * np.sqrt(-np.expm1(log_p))
    return p * s.alpha / t.alpha, -s.alpha * np.expm1(log_p), noise
