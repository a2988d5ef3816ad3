"""Reference statistics from a stranger's file, checked to be statistics.

Files of ours, of EDM (mu, sigma) and of ADM (mu_s, sigma_s besides), and score_sde's activations
(pool_3). Only the arrays of these names are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval_lib.metrics import FeatureSet, Moments
from untrusted import UntrustedError, parse_json, plain, read_arrays, sha256, shown

NAMES = ("mu", "sigma", "mu_s", "sigma_s", "pool", "pool_3", "logits", "labels", "info")
ROUND_OFF = 1e-5
"""Fraction of the trace by which a covariance may be asymmetric, or its eigenvalues below zero;
sums in float32 cause some 1e-6."""
LONGEST = 500
"""Characters of a text in info that a report repeats."""
LARGEST = 1e30
"""Largest absolute value of any number: sums of squares of larger ones would overflow."""


@dataclass(frozen=True)
class Statistics:
    """Content of a file: features, and info (see `reference.describe`), None if it has none."""

    features: FeatureSet
    info: dict[str, Any] | None
    sha256: str


def read(path: Path) -> Statistics:
    """The statistics in a file whose path the user typed.

    Raises:
      ValueError: it is not a .npz, damaged, or its arrays are not statistics; it names the file.
      OSError: it cannot be read.
    """
    arrays = read_arrays(path, NAMES, named=True)
    digest = sha256(path, named=True)
    try:
        info = _info(arrays)
        return Statistics(_features(arrays, info["count"] if info else None), info, digest)
    except ValueError as error:
        raise ValueError(f"{plain(path.name)}: {error}") from error


def _info(arrays: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    if "info" not in arrays:
        return None
    if arrays["info"].ndim or arrays["info"].dtype.kind != "U":
        raise ValueError(f"info must be a text, it is {_outline(arrays['info'])}")
    try:
        info = parse_json(str(arrays["info"]))
    except UntrustedError as error:
        raise ValueError(f"info: {error}") from error
    for name in ("extractor", "dataset"):
        told = info.get(name)
        if not isinstance(told, str) or not told.isprintable() or not 0 < len(told) <= LONGEST:
            raise ValueError(f"info must say its {name}, a line of text, it says {shown(told)}")
    count = info.get("count")
    if type(count) is not int or not 0 < count < 1 << 53:
        raise ValueError(f"info must say its count of images, 1 or more, it says {shown(count)}")
    return info


def _features(arrays: Mapping[str, np.ndarray], count: int | None) -> FeatureSet:
    pool = _rows(arrays, "pool")
    if pool is None and "pool_3" in arrays and arrays["pool_3"].ndim == 2:
        pool = _rows(arrays, "pool_3")
    moments = _moments(arrays, "mu", "sigma", count)
    if moments is None and pool is not None:
        moments = Moments.of(pool)
    if moments is None:
        held = ", ".join(f"{name} {_outline(array)}" for name, array in arrays.items())
        raise ValueError(
            "it must have mu [d] and sigma [d, d], or activations pool_3 [n, d]; it has "
            f"{held or 'nothing'}"
        )
    if pool is not None and pool.shape[1] != moments.mean.size:
        raise ValueError(f"pool has {pool.shape[1]} features and mu {moments.mean.size}: damaged")
    if pool is not None and count is not None and len(pool) > count:
        raise ValueError(f"pool is of {len(pool)} images and the count {count}: damaged")
    logits, labels = _rows(arrays, "logits"), arrays.get("labels")
    if labels is not None and (labels.ndim != 1 or labels.dtype.kind not in "iu"):
        raise ValueError(f"labels must be integers [n], they are {_outline(labels)}")
    lengths = {len(array) for array in (pool, logits, labels) if array is not None}
    if len(lengths) > 1:
        raise ValueError(f"pool, logits and labels are of {sorted(lengths)} images: damaged")
    spatial = _moments(arrays, "mu_s", "sigma_s", count)
    return FeatureSet(moments, pool, logits, spatial, labels=labels)


def _rows(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """The vectors [n, d] of that name."""
    if name not in arrays:
        return None
    array = _numbers(arrays, name)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name} must be [n, d], it is {_outline(array)}")
    return array


def _moments(
    arrays: Mapping[str, np.ndarray], mean: str, covariance: str, count: int | None
) -> Moments | None:
    if mean not in arrays or covariance not in arrays:
        return None
    mu, sigma = (_numbers(arrays, name).astype(np.float64) for name in (mean, covariance))
    if mu.ndim != 1 or not mu.size or sigma.shape != 2 * mu.shape:
        raise ValueError(
            f"{mean} must be [d] and {covariance} [d, d], they are {_outline(mu)} and "
            f"{_outline(sigma)}"
        )
    if not _is_covariance(sigma):
        raise ValueError(
            f"{covariance} is no covariance: it must be symmetric, without negative eigenvalues"
        )
    return Moments(count, mu, sigma)


def _is_covariance(sigma: np.ndarray) -> bool:
    """True if a matrix is symmetric and positive semidefinite up to float32's rounding."""
    slack = ROUND_OFF * max(float(sigma.trace()), 0.0)
    if np.abs(sigma - sigma.T).max() > slack:
        return False
    if not slack:
        return not sigma.any()
    try:
        np.linalg.cholesky(sigma + slack * np.eye(len(sigma)))
    except np.linalg.LinAlgError:
        return False
    return True


def _numbers(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """The array of that name; ValueError unless it holds finite numbers."""
    array = arrays[name]
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold numbers, it is {_outline(array)}")
    if array.size and not -LARGEST < array.min() <= array.max() < LARGEST:  # also false for NaN
        raise ValueError(f"{name} must be finite, and at most {LARGEST:g}")
    return array


def _outline(array: np.ndarray) -> str:
    return f"{shown(array.shape)} of {array.dtype}"
