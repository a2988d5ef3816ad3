"""Ralston's method on the reverse SDE: a step of two evaluations on one path of noise."""

import numpy as np

from samplers.planned.levels import Levels, Schedule
from samplers.planned.linear import Row
from samplers.planned.one_step import MultiStage
from sde_lib.pytree import pytree


@pytree
class StochasticRalston(MultiStage):
    """xb_m = xb + 2 (r_m - r_t) eps + n_0 z_0,  r_m = r_t + 2 (r_s - r_t) / 3,  xb = x / alpha,
    xb_s = xb + 2 (r_s - r_t) (eps + 3 eps_m) / 4 + n_0 z_0 + n_1 z_1.

    n_0^2 = r_t^2 - r_m^2 and n_1^2 = r_m^2 - r_s^2: the path to m, and what is beyond.
    """

    order, stochastic = 2, True

    def stages(self, schedule: Schedule, t: Levels, s: Levels) -> list[Row]:
        m = schedule.at_ratio(np.log((t.ratio + 2 * s.ratio) / 3))
        part, whole = 2 * m.alpha * (m.ratio - t.ratio), 2 * s.alpha * (s.ratio - t.ratio)
        n = np.sqrt(t.ratio**2 - m.ratio**2), np.sqrt(m.ratio**2 - s.ratio**2)
        path = {0: s.alpha * n[0], 1: s.alpha * n[1]}
        return [
            Row(t.t, eps=1.0, base=m.alpha / t.alpha, f={0: part}, z={0: m.alpha * n[0]}),
            Row(m.t, eps=1.0, base=s.alpha / t.alpha, f={0: whole / 4, 1: whole * 3 / 4}, z=path),
        ]
