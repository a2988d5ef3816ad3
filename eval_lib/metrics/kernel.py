"""The kernel distance (KID): a squared maximum mean discrepancy without bias."""

from __future__ import annotations

import numpy as np

from eval_lib.metrics.base import Compared, Numbers, Others, Vectors, both, present, too_few
from eval_lib.metrics.two_sample import Grams

BLOCK, FEWEST_BLOCKS = 1000, 10


def polynomial(x: Vectors, y: Others) -> np.ndarray:
    """(x.y / d + 1)^3 of all pairs [n, m]."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def mmd2(x: Vectors, y: Others) -> float:
    """The unbiased estimate of n, m >= 2 vectors."""
    return Grams(polynomial(x, x), polynomial(y, y), polynomial(x, y)).mmd2


def kid(c: Compared) -> Numbers:
    """KID with its standard error (Binkowski et al. 2018, arXiv:1801.01401, section 4).

    Both sets, in a fixed random order, are cut into equally many blocks of at most `BLOCK` images,
    and into at least `FEWEST_BLOCKS` if there are enough images. Blocks share no image: their
    estimates are independent, their mean is unbiased, and the standard error is that of the mean.
    """
    samples = present(c.samples.pool, "samples.pool")
    reference = present(c.reference.pool, "reference.pool")
    order = np.random.default_rng(0)
    shuffle = lambda x: np.asarray(x, np.float64)[order.permutation(len(x))]
    fake, real = shuffle(samples), shuffle(reference)
    most = max(len(fake), len(real))
    count = min(max(FEWEST_BLOCKS, -(-most // BLOCK)), len(fake) // 2, len(real) // 2)
    blocks = zip(np.array_split(real, count), np.array_split(fake, count), strict=True)
    values = np.asarray([mmd2(x, y) for x, y in blocks])
    lacking = too_few(c, both(4))  # two blocks of two
    error = lacking or float(values.std(ddof=1) / np.sqrt(count))
    return {"kid": float(values.mean()), "kid_standard_error": error}
