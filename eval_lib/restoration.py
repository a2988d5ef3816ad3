"""Quality of reconstructions: distance from the truth, its coverage, agreement with measurements.

All are of arrays in the units of the data, on the host.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

WINDOW_STD, WINDOW_RADIUS = 1.5, 5
"""Standard deviation and half width, in pixels, of the window of SSIM."""
K1, K2 = 0.01, 0.03
"""Constants of SSIM, shares of the range of values."""
SHARE = 0.9
"""Share of the posterior in the interval whose coverage is counted."""


def psnr(
    x: Float[np.ndarray, "n *d"], truth: Float[np.ndarray, "n *d"], span: float
) -> Float[np.ndarray, " n"]:
    """Peak signal-to-noise ratio in dB, 10 log10(span^2 / mean squared error); inf if equal.

    span: difference of the largest and the smallest possible value.
    """
    square = np.mean((x - truth).reshape(len(x), -1).astype(np.float64) ** 2, axis=1)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(span**2 / square)


def ssim(
    x: Float[np.ndarray, "n h w c"], truth: Float[np.ndarray, "n h w c"], span: float
) -> Float[np.ndarray, " n"]:
    """Structural similarity of pictures, the mean over pixels and channels; 1 if they are equal.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity",
    eq. 13, with its Gaussian window of 11 pixels and standard deviation 1.5; borders are mirrored.
    """
    x, truth = x.astype(np.float64), truth.astype(np.float64)
    smooth = lambda image: gaussian_filter(
        image, WINDOW_STD, axes=(1, 2), radius=WINDOW_RADIUS, mode="reflect"
    )
    mean, true = smooth(x), smooth(truth)
    variance, true_variance = smooth(x**2) - mean**2, smooth(truth**2) - true**2
    covariance = smooth(x * truth) - mean * true
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    similar = (2 * mean * true + c1) * (2 * covariance + c2)
    whole = (mean**2 + true**2 + c1) * (variance + true_variance + c2)
    found: np.ndarray = np.mean((similar / whole).reshape(len(x), -1), axis=1)
    return found


class Coverage(NamedTuple):
    """The share of true values inside an interval, and the share that there would be if truth and
    samples had the same law."""

    share: float
    expected: float


def coverage(
    samples: Float[np.ndarray, "n s *d"],
    truth: Float[np.ndarray, "n *d"],
    counted: Bool[np.ndarray, "n *d"] | None = None,
) -> Coverage:
    """Coverage of the central interval between two of the s samples of each number.

    The interval is that between the k-th smallest and the k-th largest sample with k as large as
    its expected share, (s + 1 - 2 k) / (s + 1), is at least 0.9, or k = 1: with fewer than 19
    samples it has less. counted: the numbers that count; None for all.

    Raises ValueError for fewer than two samples.
    """
    s = samples.shape[1]
    if s < 2:
        raise ValueError("coverage needs two samples of each at least")
    k = max(1, math.floor((s + 1) * (1 - SHARE) / 2 + 1e-9))
    ordered = np.sort(samples, axis=1)
    inside = (truth >= ordered[:, k - 1]) & (truth <= ordered[:, s - k])
    if counted is not None:
        inside = inside[counted]
    return Coverage(float(inside.mean()) if inside.size else math.nan, (s + 1 - 2 * k) / (s + 1))


def misfit(
    residual: Float[np.ndarray, "n *m"], counted: Bool[np.ndarray, "n *m"]
) -> Float[np.ndarray, " n"]:
    """Root mean square of y - A x of each example, over the numbers that were measured of it."""
    square = np.where(counted, residual.astype(np.float64) ** 2, 0).reshape(len(residual), -1)
    found: np.ndarray = np.sqrt(square.sum(axis=1) / counted.reshape(len(counted), -1).sum(axis=1))
    return found
