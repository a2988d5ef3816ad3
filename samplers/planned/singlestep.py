"""Exponential Runge-Kutta methods: DPM-Solver and DPM-Solver++ (single step), and SEEDS.

Stages lie at s_1, s_2 between A and B, evenly in log r. Each stage, and the step, integrates the
flow in the form 'noise' or 'data' (`samplers.planned.forms`) with its right-hand side linear in
log r through two known values: the one at A and that of the last stage.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from samplers.planned.forms import FORMS, MEASURES, VARIABLES, lagrange
from samplers.planned.levels import Clock, Levels, Numbers
from samplers.planned.linear import LinearSampler, Row
from sde_lib.pytree import pytree, static

STAGES = {1: (), 2: (1 / 2,), 3: (1 / 3, 2 / 3)}
"""Order -> where the stages are, as parts of the step in log r."""


def _chains(clock: Clock, order: int, levels: Levels) -> Iterator[list[Levels]]:
    """A, the stages, B, for every step."""
    a, b = levels[:-1], levels[1:]
    gap = b.log_ratio - a.log_ratio
    stages = [a, *(clock.at_ratio(a.log_ratio + c * gap) for c in STAGES[order]), b]
    return ([at[k] for at in stages] for k in range(len(a)))


def _weights(
    clock: Clock, form: str, chain: list[Levels], i: int, order: int
) -> tuple[Numbers, Numbers]:
    """Of f at A and of f at stage i - 1, for the integral from A to chain[i]."""
    q = FORMS[form].coordinate
    whole = q(chain[i]) - q(chain[0])
    if i == 1:
        return whole, np.zeros(())
    if order == 2:  # as published: all weight on the stage in the middle
        return np.zeros(()), whole
    a, stage, end = (chain[j].log_ratio for j in (0, i - 1, i))
    first, last = lagrange(clock, VARIABLES["log_snr"], MEASURES[form], [a, stage], a, end)
    return first, last


@pytree
class DPMSolver(LinearSampler):
    """DPM-Solver-1, -2, -3 (form 'noise') and DPM-Solver++ 1S, 2S, 3S (form 'data').

    Lu et al. 2022, arXiv:2206.00927, algorithms 1 and 2 (r_1 = 1/2; r_1 = 1/3, r_2 = 2/3), and
    arXiv:2211.01095, algorithm 1. Order and evaluations per step `degree`.
    """

    degree: int = static(default=3)
    form: str = static(default="noise")

    @property
    def order(self) -> int:  # type: ignore[override]
        return self.degree

    def rows(self, clock: Clock, levels: Levels) -> list[Row]:
        shape = FORMS[self.form]
        rows: list[Row] = []
        for chain in _chains(clock, self.degree, levels):
            number = len(rows)
            for i in range(1, len(chain)):
                scale = shape.scale(chain[i])
                first, last = _weights(clock, self.form, chain, i, self.degree)
                data, noise = shape.slope(clock, chain[i - 1])
                history = {number: first / scale}
                if i > 1:
                    history[number + i - 1] = last / scale
                base = shape.scale(chain[0]) / scale
                at = chain[i - 1].t
                rows.append(Row(at, data, noise, base=base, history=history, first=i == 1))
        return rows


@pytree
class SEEDS(LinearSampler):
    """SEEDS-1, -2, -3: DPM-Solver's stages on the reverse SDE (Gonzalez et al. 2023,
    arXiv:2305.14267, algorithms 1 to 3).

    In xb = x / alpha and r = sigma / alpha the reverse SDE is d xb = 2 eps dr plus noise of
    variance r_A^2 - r_B^2 over a step: twice DPM-Solver's integrals, and noise that is a Brownian
    path in r^2. Stages and step take that one path, so the covariances between them are exact.
    Weak order 1 for one stage, 2 for more on Gaussian data.
    """

    degree: int = static(default=3)
    adds = True

    @property
    def order(self) -> int:  # type: ignore[override]
        return min(self.degree, 2)

    def rows(self, clock: Clock, levels: Levels) -> list[Row]:
        rows: list[Row] = []
        for chain in _chains(clock, self.degree, levels):
            number = len(rows)
            history: dict[int, Numbers] = {}
            for i in range(1, len(chain)):
                at, to = chain[i - 1], chain[i]
                first, last = _weights(clock, "noise", chain, i, self.degree)
                # The path so far is the stage's point less its own integral, so that only what is
                # beyond it is to be drawn.
                before, history = history, {number: 2 * first}
                if i > 1:
                    history[number + i - 1] = 2 * last
                change = {
                    j: to.alpha * (history.get(j, 0.0) - before.get(j, 0.0))
                    for j in {**before, **history}
                }
                beyond = to.alpha * np.sqrt(at.ratio**2 - to.ratio**2)
                gain = to.alpha / at.alpha
                rows.append(Row(at.t, noise=1.0, x=gain, history=change, z=beyond, first=i == 1))
        return rows
