"""Measurements of training between two lines of its log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from train_lib.step import Metrics

T = TypeVar("T")


class Pace(NamedTuple):
    """rate: updates/s; data_wait: fraction of the time in which the devices waited for data."""

    rate: float
    data_wait: float


class Clock:
    """A clock of the rate of updates, and of the time that the devices wait for data."""

    def __init__(self, step: int) -> None:
        self._last: Any = None
        self.start(step)

    def start(self, step: int) -> None:
        """Start measuring; earlier times, such as compilation, do not count."""
        self._step, self._time, self._waited = step, time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the start or the last lap."""
        return time.perf_counter() - self._time

    def fetch(self, get: Callable[[], T]) -> T:
        """`get()`, the next batches; its time counts as waiting if the devices had nothing to do.

        An upper bound: all of it counts as waiting if the devices finished meanwhile.
        """
        start = time.perf_counter()
        batches = get()
        if self._last is None or self._last.is_ready():
            self._waited += time.perf_counter() - start
        return batches

    def working_on(self, result: jax.Array) -> None:
        """Note that the devices are busy until `result` is there."""
        self._last = result

    def lap(self, step: int) -> Pace | None:
        """The pace since the start or the last lap; None if there was no update."""
        done, seconds, waited = step - self._step, self.seconds, self._waited
        self.start(step)
        return Pace(done / seconds, waited / seconds) if done else None


class Summary(NamedTuple):
    """Means over the good updates (NaN if there are none), number refused, and losses by time.

    others: what else is measured of every example, by name: its mean, and its means by time.
    """

    loss: float
    grad_norm: float
    update_norm: float
    refused: int
    loss_by_time: np.ndarray
    others: dict[str, tuple[float, np.ndarray]]


class Meter:
    """The metrics of the updates since the last line, on the device until they are read."""

    def __init__(self) -> None:
        self._recent: list[Metrics] = []

    def add(self, metrics: Metrics) -> None:
        """The metrics [k] of k more updates."""
        self._recent.append(metrics)

    def _taken(self) -> Metrics:
        recent, self._recent = jax.device_get(self._recent), []
        return jax.tree.map(lambda *parts: np.concatenate(parts), *recent)

    def summary(self) -> Summary:
        """The summary of the updates since the last call."""
        taken = self._taken()
        good: Metrics = jax.tree.map(lambda x: x[taken.good], taken)
        mean = lambda x: float(np.mean(x)) if len(x) else float("nan")
        return Summary(
            loss=mean(good.loss),
            grad_norm=mean(good.grad_norm),
            update_norm=mean(good.update_norm),
            refused=int(np.sum(~taken.good)),
            loss_by_time=good.buckets.means(),
            others={k: (good.buckets.mean(k), good.buckets.means(k)) for k in good.buckets.others},
        )

    def first_refused(self) -> tuple[float, float]:
        """(loss, gradient norm) of the first refused update since the last call."""
        taken = self._taken()
        first = int(np.argmin(taken.good))
        return float(taken.loss[first]), float(taken.grad_norm[first])
