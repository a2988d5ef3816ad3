"""Noise schedules of discrete-time models: DDPM's linear one, Improved DDPM's cosine and others.

A schedule gives beta_i, i = 0 .. N - 1, in float64; level i has alpha^2, the product of 1 - beta_j
over j <= i, and sigma^2 = 1 - alpha^2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from configs.names import choose
from sde_lib.tables import made
from sde_lib.tabulated import Tabulated

Betas = Float[np.ndarray, " n"]

OFFSET, LARGEST = 0.008, 0.999
"""Offset s of the cosine, and the largest beta."""
FIRST, LAST = 0.1, 20.0
"""n times the first and the last beta of Ho et al. 2020, arXiv:2006.11239, whose n is 1000."""


def _check(schedule: str, n: int, beta_min: float, beta_max: float) -> None:
    """Raise ValueError unless 0 < beta_min <= beta_max < n."""
    if beta_min > beta_max:
        raise ValueError(
            f"sde.beta_min must be at most sde.beta_max = {beta_max:g} with sde.schedule="
            f"{schedule!r}, got {beta_min:g}"
        )
    if n <= beta_max:
        raise ValueError(
            f"sde.num_scales must be above {beta_max:g} with sde.schedule={schedule!r}, whose last "
            f"beta is {beta_max:g} / sde.num_scales, got {n}"
        )


def linear(n: int, beta_min: float = FIRST, beta_max: float = LAST) -> Betas:
    """Beta evenly spaced from beta_min / n to beta_max / n (Ho et al. 2020, arXiv:2006.11239).

    Raises ValueError for n at which the last beta is not below 1.
    """
    _check("linear", n, beta_min, beta_max)
    return np.linspace(beta_min / n, beta_max / n, n)


def scaled_linear(n: int, beta_min: float = FIRST, beta_max: float = LAST) -> Betas:
    """The root of beta evenly spaced, from that of beta_min / n to that of beta_max / n.

    (Rombach et al. 2022, arXiv:2112.10752, whose code calls it linear.) Raises as `linear`.
    """
    _check("scaled_linear", n, beta_min, beta_max)
    return np.linspace(np.sqrt(beta_min / n), np.sqrt(beta_max / n), n) ** 2


def cosine(n: int) -> Betas:
    """1 - f((i + 1) / n) / f(i / n), at most 0.999, with f(u) = cos^2(pi / 2 (u + s) / (1 + s)).

    (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17.)
    """
    f = np.cos((np.arange(n + 1) / n + OFFSET) / (1 + OFFSET) * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], LARGEST)


def table(n: int, betas: Sequence[float]) -> Betas:
    """The betas themselves; ValueError unless there are n."""
    if len(betas) != n:
        raise ValueError(
            f"sde.betas must have one number for each of sde.num_scales = {n} levels with "
            f"sde.schedule='table', got {len(betas)}"
        )
    return np.asarray(betas, np.float64)


SCHEDULES: dict[str, Callable[..., Betas]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "cosine": cosine,
    "table": table,
}
"""Schedules by name, functions of the number n of levels and of settings of the `sde` section."""


def iddpm(schedule: str, num_scales: int) -> Tabulated:
    """The SDE through the levels of a schedule in `SCHEDULES` that needs no other setting."""
    return Tabulated.of_betas(choose("sde.schedule", schedule, SCHEDULES)(num_scales))


def of_settings(section: Any) -> Tabulated:
    """The SDE through the levels of the `sde` section of a config; see `rescaled`."""
    row = choose("sde.schedule", section.schedule, SCHEDULES)
    betas = made(row, section, n=section.num_scales)
    if section.zero_terminal_snr:
        return rescaled(betas, section.terminal_alpha)
    return Tabulated.of_betas(betas)


def rescaled(betas: Betas, terminal_alpha: float) -> Tabulated:
    """Levels without signal in the last: alpha_i <- (alpha_i - alpha_T) alpha_0 / (alpha_0 - alpha_T).

    (Lin et al. 2024, arXiv:2305.08891, algorithm 1.) The last alpha would be 0, at which nothing can
    be divided by it nor its logarithm be taken: it is `terminal_alpha`. Raises ValueError if that
    is not below the alpha before it.
    """  # noqa: E501
    alphas = np.exp(np.cumsum(np.log1p(-betas)) / 2)
    alphas = (alphas - alphas[-1]) * (alphas[0] / (alphas[0] - alphas[-1]))
    if not terminal_alpha < alphas[-2]:
        raise ValueError(
            f"sde.terminal_alpha must be below alpha of the level before the last, "
            f"{alphas[-2]:.3g}, got {terminal_alpha:g}"
        )
    alphas[-1] = terminal_alpha
    return Tabulated.of(np.log(alphas), np.log1p(-(alphas**2)) / 2)
