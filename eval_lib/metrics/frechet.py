"""Frechet distances between Gaussians fitted to features: FID and its variants."""

from __future__ import annotations

import numpy as np

from eval_lib.metrics.base import Compared, Moments, Numbers, Others, Vectors, present

BLOCKS = 5
"""Largest number of blocks: the extrapolation uses all samples, halves, thirds, ... to fifths."""


def frechet(a: Moments, b: Moments) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two Gaussians (Dowson & Landau 1982, eq. 16).

    With C = F F^T the root's trace is the sum of the singular values of F^T F'. So there are no
    complex numbers from rounding, and no square roots of rounded zeros, whatever the ranks.
    """
    cross = np.linalg.svd(a.factor.T @ b.factor, compute_uv=False).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(np.sum((a.mean - b.mean) ** 2) + traces - 2 * cross)


def fid(c: Compared) -> Numbers:
    """The Frechet distance of the features (Heusel et al. 2017, arXiv:1706.08500, eq. 6).

    With n samples of the reference's own law it is not 0: its bias falls as 1 / n.
    """
    return {"fid": frechet(c.reference.moments, c.samples.moments)}


def _extrapolated(reference: Moments, x: Vectors) -> tuple[float, float]:
    """(value at 1 / n = 0, its standard error) of a line through mean distances of blocks of n."""
    shuffled = x[np.random.default_rng(0).permutation(len(x))]
    counts = np.arange(1, BLOCKS + 1)
    means = [
        np.mean([frechet(reference, Moments.of(block)) for block in np.array_split(shuffled, k)])
        for k in counts
    ]
    design = np.stack([np.ones(BLOCKS), counts / len(x)], axis=1)
    (value, slope), *_ = np.linalg.lstsq(design, np.asarray(means), rcond=None)
    residual = np.asarray(means) - design @ np.asarray([value, slope])
    noise = np.sum(residual**2) / (BLOCKS - 2)
    return float(value), float(np.sqrt(noise * np.linalg.pinv(design.T @ design)[0, 0]))


def fid_infinity(c: Compared) -> Numbers:
    """FID as the number of samples goes to infinity (Chong & Forsyth 2020, arXiv:1911.07023).

    A line in 1 / n is fitted to the mean distances of all samples, of their halves, thirds,
    quarters and fifths, which are disjoint (published: random subsets); `_fit_error` is the
    standard error of the fit. The reference's own bias remains, and n should be well above the
    number of features.
    """
    pool = present(c.samples.pool, "samples.pool")
    value, error = _extrapolated(c.reference.moments, pool)
    return {"fid_infinity": value, "fid_infinity_fit_error": error}


def sfid(c: Compared) -> Numbers:
    """The Frechet distance of spatial features (Nash et al. 2021, arXiv:2103.03841, section 5)."""
    real = present(c.reference.spatial, "reference.spatial")
    return {"sfid": frechet(real, present(c.samples.spatial, "samples.spatial"))}


def class_fid(c: Compared) -> Numbers:
    """FID within each class of either set, and their mean if every class has one.

    (Ravuri & Vinyals 2019, arXiv:1905.10887, section 3.) Its bias is that of few images.
    """
    fakes = present(c.samples.pool, "samples.pool")
    reals = present(c.reference.pool, "reference.pool")
    fake_labels = present(c.samples.labels, "samples.labels")
    real_labels = present(c.reference.labels, "reference.labels")
    found = {
        f"fid_class_{label}": _of_class(reals[real_labels == label], fakes[fake_labels == label])
        for label in np.union1d(fake_labels, real_labels)
    }
    values = [value for value in found.values() if not isinstance(value, str)]
    if len(values) < len(found):
        lacking = len(found) - len(values)
        return {"class_fid": f"{lacking} of {len(found)} classes have too few images", **found}
    return {"class_fid": float(np.mean(values)), **found}


def _of_class(real: Vectors, fake: Others) -> float | str:
    for kind, images in (("samples", fake), ("reference images", real)):
        if len(images) < 2:
            return f"it needs 2 {kind} of the class, and there are {len(images)}"
    return frechet(Moments.of(real), Moments.of(fake))
