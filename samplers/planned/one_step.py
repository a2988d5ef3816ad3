"""Samplers that depend on x_t alone, each defined by the formula of one step.

The formula covers all n steps of a grid at once: t and s are the levels [n] at which the steps
start and end, and every number is an array [n], one for each step, or one number for all of them.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from samplers.planned.levels import Levels, Schedule
from samplers.planned.linear import LinearSampler, Row, Weight


class MultiStage(LinearSampler):
    """A sampler that depends on x_t alone, by one evaluation or several. Holds no state."""

    @abc.abstractmethod
    def stages(self, schedule: Schedule, t: Levels, s: Levels) -> list[Row]:
        """The rows of the step from t to s < t, numbered from 0; their base is x_t."""

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        """The rows of every step, one after another."""
        return unrolled(self.stages(schedule, levels[:-1], levels[1:]), len(levels) - 1)


class Step(NamedTuple):
    """Weights of x_s = x x_t + x0 E[x_0 | x_t] + eps E[eps | x_t] + z exp(spread v) N(0, I).

    z = None: no noise is drawn. v is the fraction that the network says; spread = None: it is not
    asked for one.
    """

    x: Weight = 0.0
    x0: Weight = 0.0
    eps: Weight = 0.0
    z: Weight | None = None
    spread: Weight | None = None


class OneStep(MultiStage):
    """A sampler that depends on x_t alone, by one evaluation. Holds no state."""

    @abc.abstractmethod
    def step(self, schedule: Schedule, t: Levels, s: Levels) -> Step:
        """The weights of the step from t to s < t."""

    def stages(self, schedule: Schedule, t: Levels, s: Levels) -> list[Row]:
        """The step as a row."""
        x, x0, eps, z, spread = self.step(schedule, t, s)
        noise = {} if z is None else {0: z}
        if np.any(x0):
            return [Row(t.t, x0, eps, x, f={0: 1.0}, z=noise, spread=spread)]
        # The same, rounded once less.
        return [Row(t.t, eps=1.0, x=x, f={0: eps}, z=noise, spread=spread)]


def unrolled(stages: Sequence[Row], steps: int, start: int = 0) -> list[Row]:
    """Rows of single steps, numbered from `start`, from stages that hold all `steps` of them."""
    wide = [stage.mapped(lambda numbers: np.broadcast_to(numbers, steps)) for stage in stages]

    def row(k: int, i: int) -> Row:
        own = wide[i].mapped(lambda numbers: np.asarray(numbers)[k])
        return replace(own, first=i == 0).renumbered(start + k * len(wide))

    return [row(k, i) for k in range(steps) for i in range(len(wide))]
