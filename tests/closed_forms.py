"""Every SDE of the library's table in closed form, in NumPy's float64 and without the library.

The constants are none of the defaults, so that no two of them can be exchanged unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import sde_lib
from configs.schema import get_default
from sde_lib import SDE

BETA_MIN, BETA_MAX = 0.2, 12.0
SIGMA_MIN, SIGMA_MAX = 0.03, 40.0
LOG_SNR_MAX, LOG_SNR_MIN = 9.0, -7.0
LEVELS = 60
SETTINGS = {
    "sde.beta_min": BETA_MIN, "sde.beta_max": BETA_MAX, "sde.sigma_min": SIGMA_MIN,
    "sde.sigma_max": SIGMA_MAX, "sde.log_snr_max": LOG_SNR_MAX, "sde.log_snr_min": LOG_SNR_MIN,
    "sde.num_scales": LEVELS,
}  # fmt: skip


class Process(NamedTuple):
    """x_t = alpha x_0 + sigma eps and the diffusion g, for t in [start, end].

    end_sampling: where the authors stop sampling; prior: the deviation they begin it with.
    """

    alpha: Callable[[np.ndarray], np.ndarray]
    sigma: Callable[[np.ndarray], np.ndarray]
    g: Callable[[np.ndarray], np.ndarray]
    start: float
    end: float
    end_sampling: float
    prior: float

    def log_ratio(self, t: np.ndarray) -> np.ndarray:
        """log(sigma / alpha)."""
        return np.log(self.sigma(t) / self.alpha(t))

    def times(self, n: int) -> np.ndarray:
        """n times from the first to the last, denser towards the first."""
        part = np.linspace(0, 1, n) ** 3
        return self.start + part * (self.end - self.start)


def _beta(t: np.ndarray) -> np.ndarray:
    return BETA_MIN + t * (BETA_MAX - BETA_MIN)


def _mean(t: np.ndarray) -> np.ndarray:
    """exp(-1/2 integral of beta), as score_sde writes it."""
    return np.exp(-0.25 * t**2 * (BETA_MAX - BETA_MIN) - 0.5 * t * BETA_MIN)


def _geometric(t: np.ndarray) -> np.ndarray:
    return SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** t


def _bends(t: np.ndarray) -> np.ndarray:
    """sigmoid(10 t - 10 k / 15) of the sixteen bends k."""
    return 1 / (1 + np.exp(-10 * (np.asarray(t)[..., None] - np.arange(16) / 15)))


def _risen(t: np.ndarray) -> np.ndarray:
    """h of a schedule that has not been trained: a straight line and a tenth of the bends' mean."""
    return t + 0.1 * _bends(t).mean(axis=-1)


_RISE = _risen(np.ones(())) - _risen(np.zeros(()))


def _fallen(t: np.ndarray) -> np.ndarray:
    """The log-SNR along h."""
    part = (_risen(t) - _risen(np.zeros(()))) / _RISE
    return LOG_SNR_MAX - (LOG_SNR_MAX - LOG_SNR_MIN) * part


def _speed(t: np.ndarray) -> np.ndarray:
    """-d log-SNR / dt, sigmoid' being sigmoid (1 - sigmoid)."""
    slope = 1 + np.mean(_bends(t) * (1 - _bends(t)), axis=-1)
    return (LOG_SNR_MAX - LOG_SNR_MIN) * slope / _RISE


def _between(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Levels at i / (N - 1), logarithms straight in between."""
    at = np.linspace(0, 1, LEVELS)
    return lambda t: np.exp(np.interp(t, at, np.log(values)))


def _tabulated(alpha_bars: np.ndarray) -> Process:
    """The process through levels of alpha^2; g^2 = 2 sigma^2 d log(sigma / alpha) / dt."""
    alpha, sigma = _between(np.sqrt(alpha_bars)), _between(np.sqrt(1 - alpha_bars))
    logs = 0.5 * (np.log(1 - alpha_bars) - np.log(alpha_bars))

    def g(t: np.ndarray) -> np.ndarray:
        i = np.minimum((np.asarray(t) * (LEVELS - 1)).astype(int), LEVELS - 2)
        return sigma(t) * np.sqrt(2 * (logs[i + 1] - logs[i]) * (LEVELS - 1))

    return Process(alpha, sigma, g, 0.0, 1.0, 0.0, 1.0)


_LINEAR = np.cumprod(1 - np.linspace(BETA_MIN / LEVELS, BETA_MAX / LEVELS, LEVELS))


def _cosine(u: np.ndarray) -> np.ndarray:
    """f of Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17."""
    return np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2


_COSINE = _cosine(np.arange(1, LEVELS + 1) / LEVELS) / _cosine(np.zeros(()))
_COSINE[-1] = 0.001 * _COSINE[-2]  # its beta is clipped to 0.999


PROCESSES: dict[str, Process] = {
    "vp": Process(
        _mean, lambda t: np.sqrt(1 - _mean(t) ** 2), lambda t: np.sqrt(_beta(t)),
        1e-5, 1.0, 1e-3, 1.0,
    ),
    "subvp": Process(
        _mean, lambda t: 1 - _mean(t) ** 2, lambda t: np.sqrt(_beta(t) * (1 - _mean(t) ** 4)),
        1e-5, 1.0, 1e-3, 1.0,
    ),
    "ve": Process(
        lambda t: np.ones_like(t), _geometric,
        lambda t: _geometric(t) * np.sqrt(2 * np.log(SIGMA_MAX / SIGMA_MIN)),
        1e-5, 1.0, 1e-5, SIGMA_MAX,
    ),
    "edm": Process(
        lambda t: np.ones_like(t), lambda t: t, lambda t: np.sqrt(2 * t),
        SIGMA_MIN, SIGMA_MAX, SIGMA_MIN, SIGMA_MAX,
    ),
    "learned": Process(
        lambda t: np.sqrt(1 / (1 + np.exp(-_fallen(t)))),
        lambda t: np.sqrt(1 / (1 + np.exp(_fallen(t)))),
        lambda t: np.sqrt(_speed(t) / (1 + np.exp(_fallen(t)))),
        0.0, 1.0, 0.0, 1.0,
    ),
    "iddpm": _tabulated(_COSINE),
    "levels": _tabulated(_COSINE),
    "vp discrete": _tabulated(_LINEAR),
}  # fmt: skip
"""By the names of `sde_lib.SDES`; VE's levels lie on VE, so that its discrete form is no other."""


def configured(name: str = "vp"):
    """The default config with this SDE and the constants above."""
    config = get_default()
    config.update_from_flattened_dict(SETTINGS)
    config.sde.name, _, discrete = name.partition(" ")
    config.training.continuous = not discrete
    return config


def built(name: str) -> SDE:
    """The library's, from that config."""
    return sde_lib.build(configured(name))
