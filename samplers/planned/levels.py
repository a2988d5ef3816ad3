"""Noise levels for the solvers' arithmetic: on the host, in float64.

alpha, sigma: x_t = alpha x_0 + sigma eps. ratio = sigma / alpha, the noise level of x / alpha
(EDM's sigma), and log_ratio, minus half the log-SNR.

Coefficients are computed from the levels at `Score.snap`'s times in the working precision: a time
that is rounded, to float32 or to a discrete model's level, changes the level with it, and the
coefficients are exact for that level. In float32 the difference of two neighbours among a
thousand levels would keep four digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_lib import SDE, Score
from sde_lib.base import time_derivative

Numbers = Float[np.ndarray, "..."]

SHORTEST = 64
"""Length to which shorter arrays are padded."""


@dataclass(frozen=True)
class Levels:
    """Times and their noise levels: float64 arrays of one shape."""

    t: Numbers
    alpha: Numbers
    sigma: Numbers

    @property
    def parts(self) -> tuple[Numbers, Numbers, Numbers]:
        """(t, alpha, sigma)."""
        return self.t, self.alpha, self.sigma

    @property
    def ratio(self) -> Numbers:
        """sigma / alpha."""
        return self.sigma / self.alpha

    @property
    def log_ratio(self) -> Numbers:
        """log(sigma / alpha) = -log-SNR / 2."""
        return np.log(self.sigma) - np.log(self.alpha)

    def __getitem__(self, index: int | slice) -> Levels:
        return Levels(self.t[index], self.alpha[index], self.sigma[index])

    def __len__(self) -> int:
        return len(self.t)


def steps(levels: Levels) -> Iterator[tuple[int, Levels, Levels]]:
    """(k, levels at t_k, levels at t_{k+1}) of a grid."""
    return ((k, levels[k], levels[k + 1]) for k in range(len(levels) - 1))


def _padded(times: Numbers | Array) -> np.ndarray:
    """Times, flat and padded to a power of two, since each length is compiled separately."""
    flat = np.ravel(np.asarray(times))
    size = max(SHORTEST, 1 << max(len(flat) - 1, 0).bit_length())
    return np.pad(flat, (0, size - len(flat)), mode="edge")


def _host(f: Callable[..., Any], *times: Numbers) -> Any:
    """f of arrays of one shape, in float64, on the CPU if there is one."""
    shape = np.shape(times[0])
    with jax.enable_x64(True), jax.default_device(_cpu()):
        found = f(*(jnp.asarray(_padded(t), jnp.float64) for t in times))
    return jax.tree.map(lambda x: np.asarray(x)[: math.prod(shape)].reshape(shape), found)


def _cpu() -> jax.Device | None:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # it was told to use other platforms only
        return None


def _exact(leaf: Any) -> Any:
    """A number of an SDE in float64; arrays are cast, Python's floats need not be."""
    return leaf if isinstance(leaf, float) else np.asarray(leaf, np.float64)


@dataclass(frozen=True)
class Schedule:
    """The noise schedule of a score: its levels by time or by noise level."""

    score: Score

    @cached_property
    def _sde(self) -> SDE:
        """The score's SDE on the host."""
        return jax.tree.map(_exact, self.score.sde)

    def at(self, t: Numbers | Array) -> Levels:
        """The levels at times, which are rounded to the working precision."""
        shape, known = np.shape(t), jnp.asarray(_padded(t))
        cut = lambda x: np.asarray(x, np.float64)[: math.prod(shape)].reshape(shape)
        alpha, sigma = _host(self._sde.marginal, cut(self.score.snap(known)))
        return Levels(cut(known), alpha, sigma)

    def time(self, log_ratio: Numbers) -> Numbers:
        """The times at which log(sigma / alpha) has these values."""
        return _host(self._sde.time_of_log_snr, -2 * log_ratio)

    def at_ratio(self, log_ratio: Numbers) -> Levels:
        """The levels nearest to these values of log(sigma / alpha)."""
        return self.at(self.time(log_ratio))

    @property
    def num_scales(self) -> int:
        """The number of a discrete model's levels; ValueError for a continuous one."""
        if self._sde.num_levels is None:
            raise ValueError(
                "sampling.even_steps=True needs a model of numbered levels, such as that of "
                "sde.name='levels' with training.continuous=False"
            )
        return self._sde.num_levels

    def number(self, levels: Levels) -> Numbers:
        """The numbers of a discrete model's levels."""
        return np.round(levels.t * (self.num_scales - 1))

    def numbered(self, number: Numbers) -> Levels:
        """The levels with these numbers of a discrete model."""
        return self.at(number / (self.num_scales - 1))

    def out_of_1000(self, levels: Levels) -> Numbers:
        """Numbers of a discrete model's levels; of a continuous one's as if it had 1000."""
        if self._sde.num_levels:
            return self.number(levels)
        return levels.t / float(self._sde.T) * 999

    def shrunk(self, levels: Levels, share: float) -> Levels:
        """The levels at `share` of the time, of a discrete model the next whole ones below."""
        if self._sde.num_levels:
            return self.numbered(np.floor(share * self.number(levels)))
        return self.at(np.maximum(share * levels.t, float(self._sde.t_min_sampling)))

    def unrounded(self, t: Numbers) -> Levels:
        """The SDE's levels at t without the score's rounding."""
        return Levels(t, *_host(self._sde.marginal, t))

    def rates(self, t: Numbers) -> tuple[Numbers, Numbers]:
        """(d alpha / dt, d sigma / dt)."""
        sde = self._sde
        return _host(lambda t: (time_derivative(sde.alpha, t), time_derivative(sde.sigma, t)), t)

    def drift_and_diffusion(self, t: Numbers) -> tuple[Numbers, Numbers]:
        """(d log alpha / dt, g(t)) of the SDE."""
        return _host(lambda t: (self._sde.drift_rate(t), self._sde.diffusion(t)), t)

    def transition(self, s: Numbers, t: Numbers) -> tuple[Numbers, Numbers]:
        """(a, b) of the forward kernel x_t | x_s ~ N(a x_s, b I)."""
        return _host(self._sde.transition, s, t)


def stride(schedule: Schedule, levels: Levels) -> int:
    """Levels of a discrete model that each of the n = len(levels) - 1 even steps goes down."""
    return schedule.num_scales // (len(levels) - 1)


def landing(schedule: Schedule, levels: Levels) -> Levels:
    """The levels [n] where even steps land, as those of published chains of discrete models do.

    Each goes down by `stride` levels, whether or not that is the level which is evaluated next;
    steps beyond level 0 land at the last of `levels`.
    """
    number = schedule.number(levels)[:-1] - stride(schedule, levels)
    found = schedule.numbered(np.maximum(number, 0))
    pairs = zip(found.parts, levels[-1].parts, strict=True)
    return Levels(*(np.where(number < 0, last, own) for own, last in pairs))


def check_distinct(levels: Levels) -> None:
    """Refuse a grid on which a solver that compares neighbouring evaluations is not defined.

    The last two may be one time: no solver compares evaluations at both, since the run ends there.

    Raises:
        ValueError: two neighbours have the same noise level.
    """
    gaps = np.diff(levels.log_ratio)
    still = levels.t[-1] == levels.t[-2] and gaps[-1] == 0
    if not np.all(gaps[: len(gaps) - still] < 0):
        raise ValueError(
            "two neighbouring times of the grid have the same noise level, and this predictor "
            "needs them to differ: a model of discrete levels cannot take as many steps as it has "
            "levels; lower sampling.num_steps"
        )
