"""What training measures of itself between two lines of its log."""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float


class Throughput:
    """Updates per second, measured between calls."""

    def __init__(self, step: int) -> None:
        self.start(step)

    def start(self, step: int) -> None:
        """Begin to measure here: what lies before, such as compilation, does not count."""
        self._step, self._time = step, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the start or the last lap."""
        return time.perf_counter() - self._time

    def lap(self, step: int) -> float | None:
        """Updates/s since the start or the last lap; None if there were none."""
        done, seconds = step - self._step, self.seconds
        self.start(step)
        return done / seconds if done else None


class Meter:
    """The metrics of the steps since the last line; kept on the device until they are asked for."""

    def __init__(self) -> None:
        self._recent: list[dict[str, Float[Array, " k"]]] = []

    def add(self, metrics: dict[str, Any]) -> None:
        """The metrics [k] of k more steps."""
        self._recent.append(metrics)

    def means(self) -> dict[str, float]:
        """The mean of each metric since the last call."""
        values, self._recent = jax.device_get(self._recent), []
        return {
            name: float(np.mean(np.concatenate([v[name] for v in values]))) for name in values[0]
        }
