"""PLMS: Adams-Bashforth on the noise with the weights of even steps, whatever the steps are.

With eps_k the evaluation at level k and x_s = T(x_t, eps), the exact step of the flow for constant
eps (DDIM's),

    x_1' = T(x_0, eps_0),    x_1 = T(x_0, (eps_0 + eps(x_1')) / 2),
    x_{k+1} = T(x_k, sum_j w_j eps_{k-j}),

w the weights of `WEIGHTS` for as many evaluations as there are. eps(x_1') is not kept, so that the
level after the first is evaluated twice, and a run of n steps takes n + 1 evaluations (Liu et al.
2022, arXiv:2202.09778, eq. 12, started as in the code of Rombach et al. 2022, arXiv:2112.10752).
"""

from __future__ import annotations

import numpy as np

from samplers.planned.levels import Levels, Schedule, steps
from samplers.planned.linear import LinearSampler, Row
from sde_lib.pytree import pytree

WEIGHTS = {
    2: np.array([3, -1]) / 2,
    3: np.array([23, -16, 5]) / 12,
    4: np.array([55, -59, 37, -9]) / 24,
}
"""Adams-Bashforth's weights of even steps, the newest evaluation first."""


@pytree
class PLMS(LinearSampler):
    """The pseudo linear multistep method of the module's docstring.

    Predictions other than the noise are converted before they are combined. The weights are those
    of steps that are even in time and are applied in sigma / alpha, where they are not: order 2.
    """

    order = 2

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        rows: list[Row] = []
        kept: list[int] = []
        for k, t, s in steps(levels):
            ratio, gap = s.alpha / t.alpha, s.alpha * (s.ratio - t.ratio)
            kept.append(len(rows))
            if k == 0:
                half = {0: gap / 2, 1: gap / 2}
                rows.append(Row(t.t, eps=1.0, x=ratio, f={0: gap}))
                rows.append(Row(s.t, eps=1.0, base=ratio, f=half, first=False))
                continue
            newest = kept[:-5:-1]
            weights = WEIGHTS[len(newest)]
            f = {j: w * gap for j, w in zip(newest, weights, strict=True)}
            rows.append(Row(t.t, eps=1.0, x=ratio, f=f))
        return rows
