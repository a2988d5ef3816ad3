"""Distances between the laws of single numbers of arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval_lib.array_metrics.base import Pair, worst
from eval_lib.metrics.base import Numbers, Others, Vectors

MOST_POOLED = 100_000


def _both(x: Vectors, y: Others) -> tuple[list[float], list[float]]:
    """(Wasserstein-1 distances, Kolmogorov-Smirnov distances) of each column."""
    from scipy import stats

    columns = list(zip(x.T, y.T, strict=True))
    return (
        [float(stats.wasserstein_distance(a, b)) for a, b in columns],
        [float(stats.ks_2samp(a, b, method="asymp").statistic) for a, b in columns],
    )


def _told(prefix: str, at: str, x: Vectors, y: Others, places: Sequence[int]) -> Numbers:
    names = (f"{prefix}wasserstein_1", f"{prefix}kolmogorov_smirnov")
    found: dict[str, float | str] = {}
    for name, values in zip(names, _both(x, y), strict=True):
        found[name] = float(np.mean(values))
        found |= worst(f"{name}_worst", at, values, places)
    return found


def marginals(c: Pair) -> Numbers:
    """Mean and worst Wasserstein-1 and Kolmogorov-Smirnov distance of the entries.

    Wasserstein-1: the mean gap of quantiles, in standard deviations. Kolmogorov-Smirnov: the
    largest gap of the cumulative distributions. Neither is 0 for two sets of one law: n numbers
    of each are about n^-1/2 apart.
    """
    return _told("", "entry", *c.entries(), c.layout.entries.tolist())


def channel_marginals(c: Pair) -> Numbers:
    """The same of the values of each channel at any position, of at most `MOST_POOLED` of them."""
    return _told("channel_", "channel", *c.pooled(MOST_POOLED), range(c.layout.channels))
