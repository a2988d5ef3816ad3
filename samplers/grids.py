"""Time grids: falling times t_0 = start > ... > t_n = end for n steps.

A grid is a law of spacing; it is applied to whichever variable it is stated in and mapped back to
t through the SDE, so every grid serves every SDE.
"""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib import SDE
from sde_lib.base import Number
from sde_lib.pytree import pytree


class Grid(Protocol):
    """A rule that spreads n + 1 times from `start` down to `end`."""

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        """The times, with both ends exact."""


def _with_exact_ends(times: Array, start: float, end: float) -> Array:
    # Mapping to another variable and back costs round-off, and both ends carry meaning.
    return times.at[0].set(start).at[-1].set(end)


@pytree
class Uniform:
    """Evenly spaced in t, as published (score_sde; DDPM's levels for discrete models)."""

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        return jnp.linspace(start, end, n + 1)


@pytree
class Power:
    """t^(1/rho) evenly spaced: rho = 2 is the quadratic grid of DDIM (Song et al. 2021)."""

    rho: Number = 2.0

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        root = jnp.linspace(start ** (1 / self.rho), end ** (1 / self.rho), n + 1)
        return _with_exact_ends(root**self.rho, start, end)


@pytree
class LogSNR:
    """Evenly spaced in the log-SNR (Lu et al. 2022, arXiv:2206.00927)."""

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        first, last = sde.log_snr(jnp.asarray(start)), sde.log_snr(jnp.asarray(end))
        levels = jnp.linspace(first, last, n + 1)
        return _with_exact_ends(sde.time_of_log_snr(levels), start, end)


@pytree
class Karras:
    """(sigma / alpha)^(1/rho) evenly spaced (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""

    rho: Number = 7.0

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        ends = -0.5 * sde.log_snr(jnp.asarray([start, end])) / self.rho
        root = jnp.linspace(jnp.exp(ends[0]), jnp.exp(ends[1]), n + 1)
        times = sde.time_of_log_snr(-2 * self.rho * jnp.log(root))
        return _with_exact_ends(times, start, end)
