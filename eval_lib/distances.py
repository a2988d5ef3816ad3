"""Distances between sets of images that need no network: for comparing samplers of one model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

COMPONENTS = 64
"""Principal components of the reference that are looked at, at most."""
LARGEST_SCALE = 10.0


def _root(matrix: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def frechet(
    mean: Float[np.ndarray, " d"], covariance: Float[np.ndarray, "d d"],
    other_mean: Float[np.ndarray, " d"], other_covariance: Float[np.ndarray, "d d"],
) -> float:  # fmt: skip
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two Gaussians (Dowson & Landau 1982, eq. 16).

    The root's trace is that of (C^1/2 C' C^1/2)^(1/2), which is symmetric: no complex round-off.
    """
    root = _root(covariance)
    cross = np.linalg.eigvalsh(root @ other_covariance @ root)
    traces = np.trace(covariance) + np.trace(other_covariance)
    gap = np.sum((mean - other_mean) ** 2)
    return float(gap + traces - 2 * np.sum(np.sqrt(np.maximum(cross, 0.0))))


@dataclass(frozen=True)
class PixelFrechet:
    """The Frechet distance to reference images in their own principal components.

    Components are scaled to unit variance, but none by more than `LARGEST_SCALE` times the first,
    so that fine structure counts and pixels that hardly ever vary do not. It sees means and
    covariances only: good for telling which solver has converged, not for comparing models; two
    sets of n images of one law are about d (d + 3) / (2 n) apart in d components.
    """

    centre: Float[np.ndarray, " p"]
    axes: Float[np.ndarray, "p d"]
    covariance: Float[np.ndarray, "d d"]

    @classmethod
    def of(cls, images: Float[np.ndarray, "n h w c"]) -> PixelFrechet:
        """With the leading components of `images`."""
        flat = np.asarray(images, np.float64).reshape(len(images), -1)
        centre = flat.mean(0)
        _, deviations, axes = np.linalg.svd(flat - centre, full_matrices=False)
        deviations = deviations[:COMPONENTS] / np.sqrt(len(flat))
        scaled = np.maximum(deviations, deviations[0] / LARGEST_SCALE)
        covariance = np.diag((deviations / scaled) ** 2)
        return cls(centre, axes[:COMPONENTS].T / scaled, covariance)

    def distance(self, images: Float[np.ndarray, "n h w c"]) -> float:
        """To the reference, of images as they would be saved: clipped to [0, 1], NaN black."""
        flat = np.clip(np.nan_to_num(np.asarray(images, np.float64)), 0, 1).reshape(len(images), -1)
        features = (flat - self.centre) @ self.axes
        zero = np.zeros(len(self.covariance))
        return frechet(zero, self.covariance, features.mean(0), np.cov(features, rowvar=False))
