"""Distances between the laws of whole arrays: sliced Wasserstein, MMD and energy distance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from eval_lib.array_metrics.base import Pair
from eval_lib.metrics.base import Numbers, Others, Vectors, too_few
from eval_lib.metrics.manifold import squared_distances
from eval_lib.metrics.sliced import sliced_wasserstein
from eval_lib.metrics.two_sample import Grams

MOST_SLICED = 10_000
MOST_PAIRED = 3000
"""Largest number of vectors of each set all of whose pairs are looked at."""
WITH_ERROR = {"samples": 4, "held-out arrays": 4}


def distances(x: Vectors, y: Others) -> Float[np.ndarray, "n m"]:
    """|x_i - y_j| of all pairs."""
    return np.sqrt(np.concatenate([rows for _, rows in squared_distances(x, y)]))


def sliced(c: Pair) -> Numbers:
    """`sliced_wasserstein` of at most `MOST_SLICED` of each."""
    return {"sliced_wasserstein": sliced_wasserstein(*c.vectors(MOST_SLICED))}


def gaussian_grams(x: Vectors, y: Others, bandwidth: float | None = None) -> tuple[Grams, float]:
    """(values of exp(-|x - y|^2 / (2 h^2)), h); h is the median distance of all pairs by default.

    (Gretton et al. 2012, JMLR 13, section 8: the median over the pooled samples.) Where most pairs
    are equal, as in discrete data, it is the mean distance.
    """
    xx, yy, xy = distances(x, x), distances(y, y), distances(x, y)
    pairs = lambda k: k[np.triu_indices(len(k), 1)]
    pooled = np.concatenate([pairs(xx), pairs(yy), xy.ravel()])
    h = bandwidth or float(np.median(pooled) or np.mean(pooled) or 1.0)
    kernel = lambda d: np.exp(-0.5 * (d / h) ** 2)
    return Grams(kernel(xx), kernel(yy), kernel(xy)), h


def mmd(c: Pair) -> Numbers:
    """Squared MMD with a Gaussian kernel, unbiased, its standard error, and the kernel's width."""
    grams, bandwidth = gaussian_grams(*c.vectors(MOST_PAIRED))
    error = too_few(c, WITH_ERROR) or grams.standard_error
    return {"mmd2": grams.mmd2, "mmd2_standard_error": error, "mmd_bandwidth": bandwidth}


def energy(c: Pair) -> Numbers:
    """2 E|x - y| - E|x - x'| - E|y - y'| (Szekely & Rizzo 2013, eq. 1), unbiased, and its error.

    It is 0 for equal laws only. Some programs give its square root.
    """
    x, y = c.vectors(MOST_PAIRED)
    grams = Grams(-distances(x, x), -distances(y, y), -distances(x, y))
    error = too_few(c, WITH_ERROR) or grams.standard_error
    return {"energy_distance": grams.mmd2, "energy_distance_standard_error": error}
