"""The sliced Wasserstein distance of features."""

from __future__ import annotations

import numpy as np

from eval_lib.metrics.base import Compared, Numbers, Others, Vectors, present

DIRECTIONS = 256


def sliced_wasserstein(x: Vectors, y: Others) -> float:
    """Root mean squared Wasserstein-2 distance along random directions, the same at every call.

    (Bonneel et al. 2015, section 3.) It depends on more than means and covariances, and needs no
    classifier; two sets of n vectors of one law are about n^-1/2 apart. Sets of different sizes
    are compared at the quantiles of the smaller.
    """
    directions = np.random.default_rng(0).standard_normal((x.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    along = [np.sort(np.asarray(z, np.float64) @ directions, axis=0) for z in (x, y)]
    n = min(map(len, along))
    at = (np.arange(n) + 0.5) / n
    a, b = (np.quantile(z, at, axis=0, method="hazen") for z in along)
    return float(np.sqrt(np.mean((a - b) ** 2)))


def sliced(c: Compared) -> Numbers:
    """`sliced_wasserstein` of the features of samples and reference images."""
    samples = present(c.samples.pool, "samples.pool")
    return {
        "sliced_wasserstein": sliced_wasserstein(
            samples, present(c.reference.pool, "reference.pool")
        )
    }
