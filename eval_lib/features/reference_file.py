"""Files of reference statistics, read as a stranger's: what is in them, or one line why not.

Known are ours (`reference`), EDM's (mu, sigma), ADM's (mu_s and sigma_s as well), and
score_sde's arrays of activations (pool_3).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eval_lib.metrics import FeatureSet, Moments
from untrusted import parse_json, plain, read_arrays, read_headers

NAMES = ("mu", "sigma", "mu_s", "sigma_s", "pool", "pool_3", "logits", "labels", "info")
LARGEST = 1e30
"""Of any number in them."""
ROUND_OFF = 1e-5
"""How far a covariance may be from symmetric, as a part of its largest entry, and below zero, as a
part of its trace. Storing one in float32 brings some 1e-7 of either, computing it there 1e-6."""
LONGEST = 300
"""Characters of a text in `info`."""

Arrays = dict[str, np.ndarray]
Info = dict[str, Any]


def read(path: Path, *, named: bool = False) -> tuple[FeatureSet, Info | None]:
    """(the statistics, what they say of themselves: None for a file of another's making).

    Args:
      path: a .npz file.
      named: whether the user typed the path (see `untrusted.open_regular`).

    Raises:
      ValueError: it is no such file, damaged, or its numbers cannot be statistics of images.
      OSError: it cannot be read.
    """
    arrays = read_arrays(path, NAMES, named=named)
    info = _info(arrays["info"], path) if "info" in arrays else None
    pool = arrays.get("pool", arrays.get("pool_3"))
    if not {"mu", "sigma"} <= arrays.keys() and pool is None:
        raise ValueError(
            f"{path} must have mu [d] and sigma [d, d], or activations pool_3 [n, d]; it has "
            + _outline(path, named)
        )
    count = info["count"] if info else None
    if pool is not None:
        _check(pool, "pool", (None, None), path)
    if {"mu", "sigma"} <= arrays.keys():
        moments = _moments(arrays, "mu", "sigma", count, path)
    else:
        moments = Moments.of(np.asarray(pool))
    spatial = None
    if {"mu_s", "sigma_s"} <= arrays.keys():
        spatial = _moments(arrays, "mu_s", "sigma_s", count, path)
    _check_rows(arrays, pool, moments, path)
    found = FeatureSet(moments, pool, arrays.get("logits"), spatial, labels=arrays.get("labels"))
    return found, info


def _outline(path: Path, named: bool) -> str:
    """What arrays a file has, in words."""
    headers = [*read_headers(path, named=named).items()][: len(NAMES)]
    return ", ".join(f"{plain(name)} {list(told.shape)}" for name, told in headers) or "nothing"


def _info(text: np.ndarray, path: Path) -> Info:
    if text.shape or text.dtype.kind != "U":
        raise ValueError(f"{path}: its info must be a text, it is {list(text.shape)} {text.dtype}")
    try:
        info = parse_json(str(text))
    except ValueError as error:
        raise ValueError(f"{path}: of its info, {error}") from error
    for name in ("extractor", "dataset"):
        value = info.get(name)
        if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST:
            raise ValueError(
                f"{path}: its info must name the {name}, in at most {LONGEST} characters: damaged, "
                "or of another program (--mode stats makes statistics)"
            )
    if type(info.get("count")) is not int or info["count"] < 1:
        raise ValueError(f"{path}: its info must have a positive count of images: damaged")
    return info


def _check(array: np.ndarray, name: str, shape: tuple[int | None, ...], path: Path) -> None:
    """ValueError unless an array is of finite floating-point numbers and of a shape (None: any)."""
    alike = array.ndim == len(shape) and all(
        n in (None, m) for n, m in zip(shape, array.shape, strict=True)
    )
    if not alike or array.dtype.kind != "f" or not array.size:
        wanted = ", ".join("n" if n is None else str(n) for n in shape)
        raise ValueError(
            f"{path}: {name} must be floating-point numbers [{wanted}], it is "
            f"{list(array.shape)} of {array.dtype}"
        )
    if not (np.isfinite(array).all() and np.abs(array).max() <= LARGEST):
        raise ValueError(f"{path}: its statistics are not finite ({name})")


def _moments(arrays: Arrays, mean: str, covariance: str, count: int | None, path: Path) -> Moments:
    d = arrays[mean].size
    _check(arrays[mean], mean, (d,), path)
    _check(arrays[covariance], covariance, (d, d), path)
    found = Moments(count, *(np.asarray(arrays[name], np.float64) for name in (mean, covariance)))
    sigma = found.covariance
    if np.abs(sigma - sigma.T).max() > ROUND_OFF * np.abs(sigma).max():
        raise ValueError(f"{path}: {covariance} is no covariance, which is symmetric")
    if not _is_positive(sigma):
        raise ValueError(
            f"{path}: {covariance} is no covariance, which has no negative eigenvalues"
        )
    return found


def _is_positive(sigma: np.ndarray) -> bool:
    """Whether a symmetric matrix has no eigenvalue below zero, but for round-off."""
    trace = sigma.trace()
    if not sigma.any():
        return True
    if not trace > 0:
        return False
    try:
        np.linalg.cholesky(sigma + ROUND_OFF * trace * np.eye(len(sigma)))
    except np.linalg.LinAlgError:
        return False
    return True


def _check_rows(arrays: Arrays, pool: np.ndarray | None, moments: Moments, path: Path) -> None:
    """ValueError unless features, logits and labels are of the same images, and no more of them."""
    if pool is None:
        return
    n, d = len(pool), moments.mean.size
    _check(pool, "pool", (n, d), path)
    if moments.count is not None and n > moments.count:
        raise ValueError(f"{path}: pool is of {n} images, and its count is {moments.count}")
    if "logits" in arrays:
        _check(arrays["logits"], "logits", (n, None), path)
    labels = arrays.get("labels")
    if labels is not None and (labels.shape != (n,) or labels.dtype.kind not in "iu"):
        raise ValueError(
            f"{path}: labels must be {n} integers, they are {list(labels.shape)} of {labels.dtype}"
        )
