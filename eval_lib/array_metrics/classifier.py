"""The classifier two-sample test (C2ST)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from eval_lib.array_metrics.base import Pair
from eval_lib.metrics.base import Numbers, Others, Vectors, chosen_rows

MOST = 2000
"""Largest number of arrays of each set; more tell a little more apart, in more time."""
FOLDS = 5
UNITS = 10
"""Units of each hidden layer, for each number of a vector."""
MOST_INPUTS = 50
"""Longest vectors that the classifier sees; of longer ones it sees principal components."""
FAR = 100.0
"""Standard deviations beyond which a number counts as this far, so that none overflows."""


def accuracy(x: Vectors, y: Others, seed: int = 1) -> float:
    """Cross-validated accuracy of a classifier that tells n vectors of x from n of y.

    (Lopez-Paz & Oquab 2017, arXiv:1610.06545; the network of Lueckmann et al. 2021,
    arXiv:2101.04653: two hidden layers of 10 d ReLU units, five folds.) 1/2 if the laws are equal,
    and otherwise at most (1 + their total variation distance) / 2, which the best classifier has.
    Vectors are in standard deviations. Every fold holds equally many of both.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    n = min(len(x), len(y))
    both = np.clip(
        np.concatenate([x[chosen_rows(len(x), n)], y[chosen_rows(len(y), n)]]), -FAR, FAR
    )
    seen = _components(both) if both.shape[1] > MOST_INPUTS else both
    units = UNITS * seen.shape[1]
    network = MLPClassifier((units, units), max_iter=10_000, random_state=seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with threadpool_limits(1):  # matrices this small take longer on several threads
        found = cross_val_score(network, seen, np.repeat([0, 1], n), cv=folds, scoring="accuracy")
    return float(found.mean())


def _components(x: Vectors) -> Float[np.ndarray, "n k"]:
    """The leading principal components of vectors of both sets, each of variance 1."""
    from sklearn.decomposition import PCA

    count = min(MOST_INPUTS, len(x) - 1)
    found = PCA(count, whiten=True, svd_solver="randomized", random_state=0)
    return np.asarray(found.fit_transform(x.astype(np.float32)), np.float64)


def c2st(c: Pair) -> Numbers:
    """`accuracy` on at most `MOST` of each, and its standard error as a share of 2 n decisions."""
    x, y = c.vectors(MOST)
    share = accuracy(x, y)
    error = np.sqrt(share * (1 - share) / (2 * min(len(x), len(y))))
    return {"c2st": share, "c2st_standard_error": float(error)}
