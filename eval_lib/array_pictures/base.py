"""Sets of arrays that are shown beside one another, and how they are labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from eval_lib.array_metrics import NamedShape
from eval_lib.array_metrics.base import finite

SAMPLES, DATA, TRUTH = "tab:blue", "tab:orange", "black"
"""Colours, the same in every picture."""
TAIL = 0.001
"""Share of the values beyond either end of a scale."""


@dataclass(frozen=True)
class Shown:
    """Samples [n, *shape], data to compare them with [m, *shape], and the truth, one array.

    units: of each channel, as they are to be printed. title: a sentence above the picture.
    """

    samples: Float[np.ndarray, "n *shape"]
    data: Float[np.ndarray, "m *shape"] | None
    truth: Float[np.ndarray, "*shape"] | None
    layout: NamedShape
    units: tuple[str, ...] = ()
    title: str = ""

    @cached_property
    def sets(self) -> dict[str, tuple[Float[np.ndarray, "..."], str]]:
        """(arrays, colour) of samples and data, by name."""
        data = {} if self.data is None else {"data": (self.data, DATA)}
        return {"samples": (self.samples, SAMPLES), **data}

    def label(self, k: int) -> str:
        """Name of channel k with its unit."""
        unit = f" ({self.units[k]})" if self.units and self.units[k] else ""
        return self.layout.channel(k) + unit

    def scale(self, k: int) -> tuple[float, float]:
        """Least and largest value of channel k in the data, and in samples that are not far off.

        Without the farthest `TAIL` on either side; samples widen it by at most half of the data's
        range on either side. The truth lies within.
        """
        ends = [np.quantile(x[..., k], (TAIL, 1 - TAIL)) for x, _ in self.sets.values()]
        low, high = map(float, ends[-1])
        more = (high - low) / 2 or 0.5
        low = min(low, max(float(ends[0][0]), low - more))
        high = max(high, min(float(ends[0][1]), high + more))
        if self.truth is not None:
            values = self.truth[..., k]
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    def head(self, figure: Any, shown: int, more: str = "") -> None:
        """Write the title, and how many of the channels are shown if some are not."""
        total, word = self.layout.channels, self.layout.word
        left = f"the first {shown} of {total} {word}s" if shown < total else ""
        figure.suptitle("; ".join(filter(None, (self.title, left, more))), fontsize=10)


def shown(
    samples: Shaped[np.ndarray, "..."],
    data: Shaped[np.ndarray, "..."] | None = None,
    names: Sequence[str] = (),
    units: Sequence[str] = (),
    truth: Shaped[np.ndarray, "..."] | None = None,
    title: str = "",
) -> Shown:
    """The arrays and labels, checked: ValueError for arrays that do not fit one another."""
    samples = _numbers(samples, "samples")
    if not len(samples):
        raise ValueError("there are no samples to show")
    layout = NamedShape(samples.shape[1:], tuple(names))
    if units and len(units) != layout.channels:
        raise ValueError(f"units must be {layout.channels}, one for each {layout.word}")
    if data is not None:
        data = _numbers(data, "data")
        _fits("data", data.shape[1:], layout)
    if truth is not None:
        _fits("truth", np.shape(truth), layout)
        (truth,) = _numbers(np.asarray(truth)[None], "truth")
    some = data if data is not None and len(data) else None
    return Shown(samples, some, truth, layout, tuple(units), title)


def _numbers(x: Shaped[np.ndarray, "..."], name: str) -> Float[np.ndarray, "..."]:
    """The array, checked, as floats: quantiles of others are none."""
    x = finite(x, name)
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def _fits(name: str, shape: tuple[int, ...], layout: NamedShape) -> None:
    if shape != layout.shape:
        raise ValueError(f"{name} must have the samples' shape {layout.shape}, got {shape}")


def panels(plt: Any, rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A figure of panels of a size in inches, and the panels [rows, columns]."""
    size = width * columns + 0.9, height * rows + 0.7
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")


def limits(low: float, high: float, margin: float = 0.05) -> Float[np.ndarray, "2"]:
    """The range with a margin on either side."""
    gap = margin * (high - low)
    return np.asarray([low - gap, high + gap])
