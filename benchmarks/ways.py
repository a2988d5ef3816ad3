"""Comparison of methods that solve one flow, for `ode.py` and `likelihood.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy import integrate

from benchmarks.peer import PUBLISHED_TOLERANCE
from benchmarks.timing import Timing, Work, counted, summary, take_turns

REFERENCE_STEPS = 1500
"""Fixed steps of the reference, as float32's rounding misleads error control below 1e-6."""

Way = Callable[[], tuple[np.ndarray, int]]
"""A method: () -> (result, evaluations of the whole batch)."""


@dataclass(frozen=True)
class Figure:
    """One method: its error, its evaluations, seconds per evaluation."""

    name: str
    error: float
    evaluations: int
    seconds: float


def rk45(
    field: Callable[[float, np.ndarray], np.ndarray], ends: tuple[float, float], y: np.ndarray
) -> Any:
    """SciPy's RK45 at the published tolerance, as score_sde calls it."""
    tolerance = {"rtol": PUBLISHED_TOLERANCE, "atol": PUBLISHED_TOLERANCE}
    return integrate.solve_ivp(field, ends, y, **tolerance)


def compare(
    ways: Mapping[str, Way],
    error: Callable[[np.ndarray], float],
    rounds: int,
    others: Mapping[str, Work] | None = None,
) -> tuple[list[Figure], dict[str, float]]:
    """(a figure of each way, seconds per unit of the others), all of them taking turns."""
    results: dict[str, tuple[np.ndarray, int]] = {}

    def work(name: str) -> Timing:
        def go() -> int:
            results[name] = ways[name]()
            return results[name][1]

        return counted(go)

    works: dict[str, Work] = {name: partial(work, name) for name in ways}
    works |= others or {}
    taken = take_turns(works, rounds + 1)
    seconds = {name: summary(timings)["wall"] for name, timings in taken.items()}
    figures = [Figure(name, error(x), nfe, seconds[name]) for name, (x, nfe) in results.items()]
    return figures, {name: seconds[name] for name in others or {}}
