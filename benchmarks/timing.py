"""Timings of units of work, taken in turns and summarized."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

KINDS = "wall", "call", "cpu"


@dataclass(frozen=True)
class Timing:
    """Seconds per unit of work (a training step, a network evaluation), and number of units.

    middle: wall time per unit of the median call, of several calls; None of a single one.
    """

    wall: float
    cpu: float
    units: int = 1
    middle: float | None = None

    @property
    def call(self) -> float:
        """Wall time per unit of the median call."""
        return self.wall if self.middle is None else self.middle


Work = Callable[[], Timing]


def counted(work: Callable[[], int]) -> Timing:
    """The timing of `work()`, which returns its number of units; CPU time is of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    units = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Timing(wall / units, cpu / units, units)


def timed(work: Callable[[], Any], units: int) -> Timing:
    """The timing of `work()`, which does `units` units."""

    def counts() -> int:
        work()
        return units

    return counted(counts)


def in_a_row(work: Work, count: int) -> Work:
    """`count` calls of `work`, one right after the other, as one unit of turns.

    One more call comes before them, which finds caches and pages as another party left them.
    """

    def turn() -> Timing:
        work()
        taken = [work() for _ in range(count)]
        units = sum(t.units for t in taken)
        wall, cpu = (sum(getattr(t, kind) * t.units for t in taken) for kind in ("wall", "cpu"))
        middle = statistics.median(t.wall for t in taken)
        return Timing(wall / units, cpu / units, units, middle)

    return turn


def take_turns(works: dict[str, Work], rounds: int) -> dict[str, list[Timing]]:
    """The timings of each of `works`, called one after the other, `rounds` times over."""
    taken = [{name: work() for name, work in works.items()} for _ in range(rounds)]
    return {name: [timings[name] for timings in taken] for name in works}


def summary(timings: list[Timing]) -> dict[str, Any]:
    """Medians of the warm calls per unit, of their units and of whole calls, and what the first
    one, which compiles, took beyond."""
    first, *warm = timings
    medians = {kind: statistics.median(getattr(t, kind) for t in warm) for kind in KINDS}
    return {
        **medians,
        "units": statistics.median(t.units for t in warm),
        "whole": {k: statistics.median(getattr(t, k) * t.units for t in warm) for k in KINDS},
        "first_call_beyond": max((first.wall - medians["wall"]) * first.units, 0.0),
        "calls": [asdict(t) for t in warm],
    }
