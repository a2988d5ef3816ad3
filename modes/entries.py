"""Entries of `eval.samplers`: names of samplers, each with settings of its own.

    "unipc; heun grid=log_snr; euler_maruyama corrector=langevin"

A setting that changes nothing in its entry is refused, so that each row is what its name says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import samplers
from configs import command_line
from configs.recorded import Recorded
from modes.experiment import Experiment
from samplers.named import SECOND_ORDERS, THIRD_ORDERS
from sde_lib import NEUTRAL, Told
from sde_lib.guides import ALONE

AFRESH = {"num_steps": 0, "nfe": 0, "respacing": "", "frames": 0, "corrector": "none"}
"""Settings that an entry never inherits from the config, with their values."""
SHARED = {
    "predictor": "the predictor is the entry's first word",
    "num_samples": "every cell has eval.num_samples samples",
    "batch_size": "all cells are drawn sampling.batch_size at a time, which changes no sample",
    "condition": "all entries are given the conditions of held-out examples",
    "captions": "all entries are given the captions of held-out examples",
    "negative": "all entries are compared with no caption",
    "sizes": "all entries are told the sizes of the samples",
    "noise": "all entries start from the seed's noise",
    "base": "all entries are given the same coarse pictures",
    "base_truncated": "all entries are given the same coarse pictures",
    "impute": "all entries draw whole examples",
    "impute_iterations": "all entries draw whole examples",
    "together": "all entries are given one condition at a time",
    "labels": "all entries draw every class",
    "guide": "all entries have the same guide",
    "guide_step": "all entries have the same guide",
    "guide_ema_rate": "all entries have the same guide",
    "step": "all entries use one model: give --config.sampling.step",
    "ema": "all entries use one model: give --config.sampling.ema",
    "frames": "a cell has no animation: see --mode sample",
}
"""Settings of `sampling` that no entry may have, and the reason."""
LENGTHS = ("num_steps", "nfe", "respacing")

Section = Any
"""The `sampling` section of an ml_collections ConfigDict."""

IDLE: tuple[tuple[Callable[[Section], bool], tuple[str, ...]], ...] = (
    (
        lambda c: c.guidance == NEUTRAL.get(c.guidance_kind, 1),
        ("guidance_kind", "guidance_min", "guidance_max"),
    ),
    (lambda c: c.s_churn == 0, ("s_min", "s_max", "s_noise")),
    (lambda c: c.tau == 0, ("tau_min", "tau_max")),
    (lambda c: c.restart_times == 0, ("restart_max", "restart_steps")),
    (samplers.only_ends, ("grid", "shift", "rho")),
)
"""(condition, settings that are read and change nothing if it holds)."""
TWO_VALUED = {
    "euler_end": (True, False),
    "high_order_start": (True, False),
    "low_order_end": (0, 10_000),
    "probability_flow": (True, False),
    "second_order": tuple(SECOND_ORDERS),
    "third_order": tuple(THIRD_ORDERS),
}
"""Settings, with their values, that have no effect if all values give the same plan."""


@dataclass(frozen=True)
class SamplerEntry:
    """A sampler of the table: the user's text, the settings in it, and the resulting config."""

    name: str
    given: frozenset[str]
    config: ConfigDict

    @property
    def has_own_length(self) -> bool:
        """True if it is run once, and not at every budget."""
        adaptive = samplers.build(self.config.sampling).adaptive
        return adaptive or bool(self.given & set(LENGTHS))

    def at(self, budget: int) -> ConfigDict:
        """The entry's config at a budget of evaluations per image; 0: its own length."""
        config = self.config.copy_and_resolve_references()
        if budget:
            config.sampling.nfe = budget
        return config


@dataclass(frozen=True)
class Planned:
    """An entry at one budget; the experiment is None if the budget is too small for the sampler."""

    entry: SamplerEntry
    budget: int
    experiment: Experiment | None


def sampler_entries(config: ConfigDict) -> list[SamplerEntry]:
    """The entries of `eval.samplers`. Raises ValueError for a text that cannot be parsed."""
    found = [_entry(config, text) for text in config.eval.samplers.split(";") if text.strip()]
    if not found:
        raise ValueError("eval.samplers must name at least one sampler, such as 'unipc; heun'")
    return found


def _entry(config: ConfigDict, text: str) -> SamplerEntry:
    predictor, *others = text.split()
    name, pairs = " ".join(text.split()), [other.partition("=") for other in others]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise ValueError(
            f"eval.samplers must be names with key=value after them, got {wrong[0]!r} in {name!r}"
        )
    keys = [key for key, _, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise _refused(name, f"{twice[0]} is given twice")
    if shared := [key for key in keys if key in SHARED]:
        raise _refused(name, f"{shared[0]} cannot be of one entry: {SHARED[shared[0]]}")
    own = config.copy_and_resolve_references()
    own.sampling.update(AFRESH)
    settings = {"sampling.predictor": predictor}
    settings |= {f"sampling.{key}": value for key, _, value in pairs}
    try:
        command_line.override(own, settings)
    except ValueError as error:
        raise _refused(name, error) from error
    for key in LENGTHS:
        if key in keys and not own.sampling[key]:
            raise _refused(name, f"{key} must be above 0; without it eval.sampler_nfe holds")
    return SamplerEntry(name, frozenset(keys), own)


def _refused(name: str, why: object) -> ValueError:
    return ValueError(f"eval.samplers, {name!r}: {why}")


def _budgets(entry: SamplerEntry, config: ConfigDict) -> tuple[int, ...]:
    try:
        return (0,) if entry.has_own_length else tuple(config.eval.sampler_nfe)
    except ValueError as error:
        raise _refused(entry.name, error) from error


def planned(config: ConfigDict, told: Told = ALONE) -> Iterator[Planned]:
    """Every cell of the table. told: what guides those that are guided.

    Raises ValueError, naming the entry, for settings that cannot be run or have no effect.
    """
    for entry in sampler_entries(config):
        for budget in _budgets(entry, config):
            try:
                samplers.build(entry.config.sampling)
                experiment = Experiment.of(Recorded.of(entry.at(budget)), None, told)
                _check_effects(entry, experiment)
            except samplers.BudgetError as error:
                if not budget:
                    raise _refused(entry.name, error) from error
                yield Planned(entry, budget, None)
            except ValueError as error:
                raise _refused(entry.name, error) from error
            else:
                yield Planned(entry, budget, experiment)


def _check_effects(entry: SamplerEntry, experiment: Experiment) -> None:
    """Raise ValueError for a setting that nothing reads, or that is read and changes nothing."""
    read, sampling = experiment.config.record.names, experiment.config.sampling
    read = {name.removeprefix("sampling.") for name in read} | {"noise_removal", "clip"}
    idle = {name for holds, names in IDLE if holds(sampling) for name in names}
    idle |= {name for name in entry.given & set(TWO_VALUED) if _all_the_same(experiment, name)}
    if sampling.base_truncated and "coarse_level" in entry.given:
        raise ValueError("coarse_level must be that of all entries with sampling.base_truncated, "
                         "which ends the stage before at it")  # fmt: skip
    without = sorted(entry.given - read | entry.given & idle)
    if without:
        raise ValueError(f"{without[0]} changes nothing here: leave it out")


def _all_the_same(experiment: Experiment, name: str) -> bool:
    """True if the plan does not depend on a setting of `TWO_VALUED`."""
    plans = []
    for value in TWO_VALUED[name]:
        sampling = experiment.config.sampling.copy_and_resolve_references()
        sampling[name] = value
        try:
            times = samplers.build_times(
                sampling, experiment.score, experiment.config.sde.num_scales
            )
            plans.append(samplers.build(sampling).plan(experiment.score, times))
        except ValueError:  # there is no such sampler, and so nothing to choose
            return True
    if len({jax.tree.structure(plan) for plan in plans}) > 1:
        return False
    return all(map(np.array_equal, *map(jax.tree.leaves, plans)))
