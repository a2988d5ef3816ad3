"""The state to which the step from the last evaluation leads.

A run of published samplers makes n steps from n evaluated levels, and the last of them is one of
the sampler's own, to x_0 or to the least noisy level. The denoiser, which ends other runs here, is
that step to x_0 only for methods that weigh the last evaluation alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from samplers.base import Last
from samplers.planned.levels import Levels, Schedule
from samplers.planned.linear import LinearSampler, Row
from sde_lib.pytree import pytree, static

CLEAN = np.exp(-40.0)
"""sigma of the state that counts as without noise: what it weighs is below float64's digits."""


def _clean(schedule: Schedule, last: Levels) -> Levels:
    return Levels(last.t, np.ones(1), np.full(1, CLEAN))


def _lowest(schedule: Schedule, last: Levels) -> Levels:
    return schedule.at(np.zeros(1))


def _unscaled(schedule: Schedule, last: Levels) -> Levels:
    lowest = _lowest(schedule, last)
    return Levels(lowest.t, np.ones(1), lowest.ratio)


Ending = Callable[[Schedule, Levels], Levels]
ENDINGS: dict[str, Ending | None] = {
    "denoiser": None,
    "clean": _clean,
    "lowest": _lowest,
    "unscaled": _unscaled,
    "still": lambda schedule, last: last,
}
"""Name -> the level after the last one [1]: None for the denoiser; x_0; level 0 of a discrete
model; level 0 as x / alpha, in which k-diffusion's samplers are written; and the last level itself,
at which a corrected method still corrects."""


@pytree
class Ended(LinearSampler):
    """`sampler` with the last step to the state that `ending` names. Order: the sampler's."""

    sampler: LinearSampler
    ending: str = static(default="clean")

    @property
    def order(self) -> int:
        return self.sampler.order

    @property
    def stochastic(self) -> bool:
        return self.sampler.stochastic

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        return self.whole(schedule, levels)[0]

    def whole(self, schedule: Schedule, levels: Levels) -> tuple[list[Row], Last | Row]:
        ending = ENDINGS[self.ending]
        if ending is None:
            return self.sampler.whole(schedule, levels)
        after = ending(schedule, levels[-1:])
        longer = (np.append(*pair) for pair in zip(levels.parts, after.parts, strict=True))
        *rows, last = self.sampler.rows(schedule, Levels(*longer))
        return rows, last
