"""The sampler and the time grid of a config."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from samplers.base import Sampler, planned_evaluations
from samplers.grids import Grid
from samplers.named import (
    CORRECTORS,
    DETERMINISTIC,
    GRIDS,
    PC_ORDERS,
    PREDICTORS,
    PUBLISHED_NAMES,
)
from samplers.pc import PredictorCorrector
from samplers.planned.ending import ENDINGS, Ended
from samplers.planned.linear import LinearSampler
from sde_lib import Score, choose
from sde_lib.tables import made, parameters

Section = Any
"""The `sampling` section of an ml_collections ConfigDict."""


class BudgetError(ValueError):
    """`sampling.nfe` is too small for one step of the sampler."""


def _name(config: Section) -> str:
    return PUBLISHED_NAMES.get(config.predictor, config.predictor)


def _has_flow(name: str, row: Callable[..., Sampler]) -> bool:
    return name in DETERMINISTIC or "probability_flow" in parameters(row)


def _predictor(config: Section) -> Sampler:
    name = _name(config)
    row = choose("sampling.predictor", name, PREDICTORS)
    if config.probability_flow:
        flows = {name: row for name, row in PREDICTORS.items() if _has_flow(name, row)}
        choose("sampling.predictor with sampling.probability_flow=True", name, flows)
    return made(row, config, predictor=name)


@singledispatch
def _ended(predictor: Sampler, config: Section) -> Sampler:
    """The predictor with the last step that `ending` names, if it has one and none corrects."""
    return predictor


@_ended.register(LinearSampler)
def _(predictor: LinearSampler, config: Section) -> Sampler:
    if not predictor.by_levels or config.corrector != "none":
        return predictor
    if choose("sampling.ending", config.ending, ENDINGS) is None:
        return predictor
    return Ended(predictor, config.ending)


def build(config: Section) -> Sampler:
    """The sampler of a `sampling` section; only the settings that it needs are read."""
    predictor = _ended(_predictor(config), config)
    corrector = made(choose("sampling.corrector", config.corrector, CORRECTORS), config)
    if config.corrector == "none":
        if _name(config) == "none":
            raise ValueError(
                "sampling.predictor and sampling.corrector are both 'none': nothing would move; "
                "choose at least one"
            )
        return predictor
    first = choose("sampling.pc_order", config.pc_order, PC_ORDERS)
    return PredictorCorrector(predictor, corrector, first)


def build_times(
    config: Section, score: Score, num_scales: int, sampler: Sampler | None = None
) -> Float[Array, " n"]:
    """The time grid from T to `eps` (0: the SDE's default), for the config's sampler or another.

    As many steps as a respacing says, as `nfe` evaluations of the network allow, or `num_steps`
    (0: `num_scales`, or all levels of a chain). Adaptive solvers stop on the way only for the
    corrector, `num_steps` times, and for frames. Raises ValueError for an impossible grid.
    """
    sde = score.sde
    end = config.eps or sde.t_min_sampling
    if not end < sde.T:
        raise ValueError(f"sampling.eps must be below T = {sde.T:g}, got {end:g}")
    grid = made(choose("sampling.grid", config.grid, GRIDS), config, num_scales=num_scales)

    def times(steps: int) -> Float[Array, " n"]:
        return jnp.asarray(grid(sde, steps, float(sde.T), float(end)), jnp.float32)

    if grid.steps is not None:
        _check_fixed(config)
        return times(grid.steps)
    adaptive = _predictor(config).adaptive
    if config.nfe and adaptive:
        raise ValueError(
            f"sampling.nfe must be 0 with sampling.predictor={config.predictor!r}, which takes as "
            f"many evaluations as its tolerance asks for, got {config.nfe}"
        )
    if config.nfe:
        return _within_budget(config, score, times, sampler or build(config))
    if adaptive and config.corrector == "none":
        _check_ends(config, grid)
        return times(max(config.frames, 1))
    return times(config.num_steps or grid.most(num_scales))


STARTS: dict[str, Callable[[Score, Array], float]] = {
    "prior": lambda score, times: 1.0,
    "marginal": lambda score, times: float(score.sde.sigma(times[0]) / score.sde.prior_std),
}
"""Factors on draws from the prior, with which a run down the times begins."""


def start_scale(config: Section, score: Score, times: Float[Array, " n"]) -> float:
    """The factor of a `sampling` section on draws from the prior."""
    return choose("sampling.start", config.start, STARTS)(score, times)


def only_ends(config: Section) -> bool:
    """True if a `sampling` section needs no times between the first and the last."""
    return _predictor(config).adaptive and config.corrector == "none" and config.frames <= 1


def _check_fixed(config: Section) -> None:
    """Refuse what the number of steps of a respacing does not suit."""
    if config.nfe:
        raise ValueError(
            f"sampling.nfe must be 0 with sampling.respacing={config.respacing!r}, which says how "
            f"many evaluations there are, got {config.nfe}: leave one of them out"
        )
    if _predictor(config).adaptive:
        raise ValueError(
            f"sampling.respacing must be empty with sampling.predictor={config.predictor!r}, which "
            f"chooses its own steps, got {config.respacing!r}"
        )


def _check_ends(config: Section, grid: Grid) -> None:
    if grid.numbered:
        raise ValueError(
            f"sampling.grid={config.grid!r} has the times of a discrete model and not the ends of "
            f"time: sampling.predictor={config.predictor!r}, which chooses its own steps, needs "
            "another grid, such as 'uniform'"
        )


def _within_budget(
    config: Section, score: Score, times: Callable[[int], Array], sampler: Sampler
) -> Float[Array, " n"]:
    """The finest grid whose run, including the denoised end, takes at most `nfe` evaluations."""

    def cost(steps: int) -> int:
        return planned_evaluations(score, sampler.plan(score, times(steps)), config.noise_removal)

    low, high = 0, config.nfe
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(middle) <= config.nfe else (low, middle - 1)
    if not low:
        raise BudgetError(
            f"sampling.nfe must be at least {cost(1)} with these settings, got {config.nfe}"
        )
    return times(low)
