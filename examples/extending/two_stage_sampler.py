"""A sampler of two evaluations a step, both on one path of noise."""

import numpy as np

from samplers import MultiStage, Row
from sde_lib import pytree


@pytree
class StochasticMidpoint(MultiStage):
    """xb_m = xb_t + 2 (r_m - r_t) eps   + n_0 z_0,                 r_m = (r_t + r_s) / 2,
    xb_s = xb_t + 2 (r_s - r_t) eps_m + n_0 z_0 + n_1 z_1,         xb = x / alpha."""

    order, stochastic = 2, True

    def stages(self, schedule, t, s):
        m = schedule.at_ratio(np.log((t.ratio + s.ratio) / 2))
        n = np.sqrt(t.ratio**2 - m.ratio**2), np.sqrt(m.ratio**2 - s.ratio**2)
        half, whole = 2 * m.alpha * (m.ratio - t.ratio), 2 * s.alpha * (s.ratio - t.ratio)
        path = {0: s.alpha * n[0], 1: s.alpha * n[1]}
        return [
            Row(t.t, eps=1.0, base=m.alpha / t.alpha, f={0: half}, z={0: m.alpha * n[0]}),
            Row(m.t, eps=1.0, base=s.alpha / t.alpha, f={1: whole}, z=path),
        ]
