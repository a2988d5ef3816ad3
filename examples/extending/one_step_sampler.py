"""A sampler that looks at x_t alone, by one evaluation: its formula, and nothing else."""

import numpy as np

from samplers import OneStep, Step
from sde_lib import pytree


@pytree
class NoisyEuler(OneStep):
    """xb_s = xb_t + (1 + tau^2) (r_s - r_t) eps + tau sqrt(r_t^2 - r_s^2) z,  xb = x / alpha."""

    tau: float = 1.0
    order, stochastic = 1, True

    def step(self, schedule, t, s):
        tau = float(self.tau)
        drift = (1 + tau**2) * s.alpha * (s.ratio - t.ratio)
        noise = tau * s.alpha * np.sqrt(t.ratio**2 - s.ratio**2)
        return Step(x=s.alpha / t.alpha, eps=drift, z=noise)
