"""Differences of correlation matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from eval_lib.array_metrics.base import Pair
from eval_lib.metrics.base import Numbers, Others, Vectors

MOST_POOLED = 100_000


def correlation(x: Vectors) -> Float[np.ndarray, "d d"]:
    """The correlation matrix of columns; a column that is constant is uncorrelated with all."""
    gap = x - x.mean(axis=0)
    norm = np.linalg.norm(gap, axis=0)
    gap[:, np.ptp(x, axis=0) == 0] = 0.0
    gap /= np.where(norm > 0, norm, 1.0)
    return gap.T @ gap


def _told(prefix: str, at: str, x: Vectors, y: Others, places: Sequence[int]) -> Numbers:
    rows, columns = np.triu_indices(x.shape[1], 1)
    if not len(rows):
        return {f"{prefix}correlation_rms": "there is a single number"}
    gaps = np.abs(correlation(x) - correlation(y))[rows, columns]
    k = int(np.argmax(gaps))
    largest = f"{prefix}correlation_largest"
    return {
        f"{prefix}correlation_rms": float(np.sqrt(np.mean(gaps**2))),
        largest: float(gaps[k]),
        f"{largest}_first_{at}": float(places[rows[k]]),
        f"{largest}_second_{at}": float(places[columns[k]]),
    }


def correlations(c: Pair) -> Numbers:
    """Root mean squared and largest difference of the correlations of two entries, and which two.

    Of n arrays of one law, a correlation r errs by about (1 - r^2) n^-1/2.
    """
    return _told("", "entry", *c.entries(), c.layout.entries.tolist())


def channel_correlations(c: Pair) -> Numbers:
    """The same of two channels at the same position, over all positions."""
    return _told("channel_", "channel", *c.pooled(MOST_POOLED), range(c.layout.channels))
