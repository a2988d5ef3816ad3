"""Noise schedules of discrete-time models: DDPM's linear one and Improved DDPM's cosine.

A schedule gives beta_i, i = 0 .. N - 1, in float64; level i has alpha^2, the product of 1 - beta_j
over j <= i, and sigma^2 = 1 - alpha^2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from configs.names import choose
from sde_lib.tabulated import Tabulated

Betas = Float[np.ndarray, " n"]

OFFSET, LARGEST = 0.008, 0.999
"""Offset s of the cosine, and the largest beta."""


def linear(n: int) -> Betas:
    """Beta evenly spaced from 0.1 / n to 20 / n (Ho et al. 2020, arXiv:2006.11239, at n = 1000).

    Raises ValueError for n at which the last beta is not below 1.
    """
    if n <= 20:
        raise ValueError(
            "sde.num_scales must be above 20 with sde.schedule='linear', whose last beta is "
            f"20 / sde.num_scales, got {n}"
        )
    return np.linspace(0.1 / n, 20 / n, n)


def cosine(n: int) -> Betas:
    """1 - f((i + 1) / n) / f(i / n), at most 0.999, with f(u) = cos^2(pi / 2 (u + s) / (1 + s)).

    (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17.)
    """
    f = np.cos((np.arange(n + 1) / n + OFFSET) / (1 + OFFSET) * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], LARGEST)


SCHEDULES: dict[str, Callable[[int], Betas]] = {"linear": linear, "cosine": cosine}
"""Schedules by name, functions of the number of levels."""


def iddpm(schedule: str, num_scales: int) -> Tabulated:
    """The SDE through the levels of a schedule in `SCHEDULES`."""
    return Tabulated.of_betas(choose("sde.schedule", schedule, SCHEDULES)(num_scales))
