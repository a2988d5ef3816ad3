"""Euler's method in r = sigma / alpha on the reverse SDE with tau times the published noise."""

import numpy as np

from samplers.planned.levels import Levels, Schedule
from samplers.planned.one_step import OneStep, Step
from sde_lib.pytree import pytree


@pytree
class NoisyEuler(OneStep):
    """xb_s = xb + (1 + tau^2) (r_s - r_t) eps + tau sqrt(r_t^2 - r_s^2) z, with xb = x / alpha."""

    tau: float = 1.0
    order, stochastic = 1, True

    def step(self, schedule: Schedule, t: Levels, s: Levels) -> Step:
        drift = (1 + self.tau**2) * s.alpha * (s.ratio - t.ratio)
        noise = self.tau * s.alpha * np.sqrt(t.ratio**2 - s.ratio**2)
        return Step(x=s.alpha / t.alpha, eps=drift, z=noise)
