"""The level that diffusers tells the network first in a warped grid whose levels it truncates.

The grid begins at the noisiest level, N - 1. diffusers finds its number by comparing the logarithm
of sigma in float64 with that in float32, so that rounding decides between N - 1 and, truncated,
N - 2.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from models.pretrained.diffusers.rules import Json
from sde_lib.iddpm import cosine

FAINT = 2.0**-24
"""alpha^2 of the last level with zero terminal SNR in the schedulers that truncate."""


def _evenly(first: float, last: float, n: int) -> Float[np.ndarray, " n"]:
    """n even numbers in float32, each rounded once, from the nearer end and a rounded step."""
    start, end = np.float32(first), np.float32(last)
    step, i = float((end - start) / np.float32(n - 1)), np.arange(n)
    near = np.where(i < n // 2, float(start) + step * i, float(end) - step * (n - 1 - i))
    return near.astype(np.float32)


def _betas(c: Json) -> Float[np.ndarray, " n"]:
    n, kind = c["num_train_timesteps"], c["beta_schedule"]
    if c["trained_betas"] is not None:
        return np.asarray(c["trained_betas"], np.float32)
    if kind == "squaredcos_cap_v2":
        return cosine(n).astype(np.float32)
    if kind == "linear":
        return _evenly(c["beta_start"], c["beta_end"], n)
    return _evenly(c["beta_start"] ** 0.5, c["beta_end"] ** 0.5, n) ** 2


def first_is_below(c: Json) -> bool:
    """True if the number of the noisiest level is truncated to the one below."""
    kept = np.cumprod((1 - _betas(c)).astype(np.float64))[-1].astype(np.float32)
    kept = np.float32(FAINT) if c["rescale_betas_zero_snr"] else kept
    sigma = np.sqrt((np.float32(1) - kept) / kept)
    return math.log(float(sigma)) < float(np.log(sigma))
