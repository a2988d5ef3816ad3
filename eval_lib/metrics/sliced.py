"""The sliced Wasserstein distance of features."""

from __future__ import annotations

import numpy as np

from eval_lib.metrics.base import Compared, Numbers, present

DIRECTIONS = 256


def sliced(c: Compared) -> Numbers:
    """Root mean squared Wasserstein-2 distance along random directions, the same at every call.

    (Bonneel et al. 2015, section 3.) It depends on more than means and covariances, and needs no
    classifier; two sets of n images of one law are about n^-1/2 apart. Sets of different sizes are
    compared at the quantiles of the smaller.
    """
    samples = present(c.samples.pool, "samples.pool")
    reference = present(c.reference.pool, "reference.pool")
    d = samples.shape[1]
    directions = np.random.default_rng(0).standard_normal((d, DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    along = [np.sort(np.asarray(x, np.float64) @ directions, axis=0)
             for x in (samples, reference)]  # fmt: skip
    n = min(map(len, along))
    at = (np.arange(n) + 0.5) / n
    a, b = (np.quantile(x, at, axis=0, method="hazen") for x in along)
    return {"sliced_wasserstein": float(np.sqrt(np.mean((a - b) ** 2)))}
