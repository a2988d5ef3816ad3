"""Time grids: falling times t_0 = start > ... > t_n = end for n steps.

A grid is a rule of spacing in some variable, mapped to t through the SDE, so that every grid
works with every SDE.
"""

from __future__ import annotations

import abc
from functools import cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_lib import SDE, VP
from sde_lib.base import Number
from sde_lib.pytree import pytree, static


class Grid(abc.ABC):
    """A rule that spaces n + 1 times from `start` down to `end`.

    numbered: whether its times are those of a discrete model's levels, and no two ends of time.
    """

    numbered = False

    @property
    def steps(self) -> int | None:
        """The number of steps; None if it is not fixed."""
        return None

    def most(self, num_scales: int) -> int:
        """The number of steps that `num_scales` levels allow, taken where no other is asked for."""
        return num_scales

    @abc.abstractmethod
    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        """The times, with both ends exact."""


def _even(first: Number, last: Number, n: int) -> Array:
    # On the host: on the device every n would be compiled anew.
    return jnp.asarray(np.linspace(float(first), float(last), n + 1))


def _with_exact_ends(times: Array, start: float, end: float) -> Array:
    # Mapping to another variable and back costs round-off, and both ends carry meaning.
    return times.at[0].set(start).at[-1].set(end)


@pytree
class Uniform(Grid):
    """Evenly spaced in t, as published (score_sde; DDPM's levels for discrete models)."""

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        return _even(start, end, n)


@pytree
class Power(Grid):
    """t^(1/rho) evenly spaced: rho = 2 is the quadratic grid of DDIM (Song et al. 2021)."""

    rho: Number = 2.0

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        root = _even(start ** (1 / self.rho), end ** (1 / self.rho), n)
        return _with_exact_ends(root**self.rho, start, end)


@pytree
class LogSNR(Grid):
    """Evenly spaced in the log-SNR (Lu et al. 2022, arXiv:2206.00927)."""

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        first, last = sde.log_snr(jnp.asarray(start)), sde.log_snr(jnp.asarray(end))
        levels = _even(first, last, n)
        return _with_exact_ends(sde.time_of_log_snr(levels), start, end)


@pytree
class Karras(Grid):
    """(sigma / alpha)^(1/rho) evenly spaced (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""

    rho: Number = 7.0

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        ends = -0.5 * sde.log_snr(jnp.asarray([start, end])) / self.rho
        root = _even(jnp.exp(ends[0]), jnp.exp(ends[1]), n)
        times = sde.time_of_log_snr(-2 * self.rho * jnp.log(root))
        return _with_exact_ends(times, start, end)


@pytree
class Borrowed(Grid):
    """Times evenly spaced in the time of another SDE, between its times of both ends' noise levels.

    With VP it is the spacing that EDM calls 'vp' (Karras et al. 2022, table 1), on any SDE.
    """

    other: SDE = VP()

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        ends = self.other.time_of_log_snr(sde.log_snr(jnp.asarray([start, end])))
        levels = self.other.log_snr(_even(ends[0], ends[1], n))
        return _with_exact_ends(sde.time_of_log_snr(levels), start, end)


@pytree
class Flow(Grid):
    """sigma / (alpha + sigma), the time of rectified flow, evenly spaced, then shifted.

    t' = shift t / (1 + (shift - 1) t) (Esser et al. 2024, arXiv:2403.03206, eq. 23), which
    multiplies every sigma / alpha by `shift`; above 1 it spends more steps on noise.
    """

    shift: Number = 1.0

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        ratio = jnp.exp(-0.5 * sde.log_snr(jnp.asarray([start, end]))) / self.shift
        ends = ratio / (1 + ratio)
        u = _even(ends[0], ends[1], n)
        levels = -2 * jnp.log(self.shift * u / (1 - u))
        return _with_exact_ends(sde.time_of_log_snr(levels), start, end)


IDDPM_LEVELS, IDDPM_C1, IDDPM_C2 = 1000, 0.001, 0.008


@cache
def iddpm_table() -> Float[np.ndarray, " 1000"]:
    """Falling sigma / alpha of iDDPM's levels (Karras et al. 2022, arXiv:2206.00364, table 1)."""
    alpha_bar = np.sin(np.pi / 2 * np.arange(IDDPM_LEVELS + 1) / IDDPM_LEVELS / (1 + IDDPM_C2)) ** 2
    u = np.zeros(IDDPM_LEVELS + 1)
    for j in range(IDDPM_LEVELS, 0, -1):
        kept = max(alpha_bar[j - 1] / alpha_bar[j], IDDPM_C1)
        u[j - 1] = np.sqrt((u[j] ** 2 + 1) / kept - 1)
    return u[:-1]


ON_A_LEVEL = 1e-5
"""Distance in log(sigma / alpha) below which an end is on a level: float32's rounding."""


@pytree
class IDDPM(Grid):
    """Times evenly spaced among iDDPM's thousand levels (Nichol & Dhariwal 2021; EDM's 'iddpm').

    Among the L levels between both ends, counted from 0, the ones numbered round(i (L - 1) / n), as
    in EDM's code with its N = n + 1; the ends themselves replace the first and the last.

    Raises:
        ValueError: more steps than L - 1.
    """

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        first, last = np.asarray(-0.5 * sde.log_snr(jnp.asarray([start, end])))
        table = np.log(iddpm_table())
        table = table[(table <= first + ON_A_LEVEL) & (table >= last - ON_A_LEVEL)]
        most = max(len(table) - 1, 1)
        if n > most:
            raise ValueError(
                f"sampling.grid='iddpm' has {len(table)} levels from end to end, so that "
                f"sampling.num_steps must be at most {most}, got {n}"
            )
        inner = np.round(np.arange(1, n) * ((len(table) - 1) / n)).astype(int)
        levels = np.concatenate([[first], table[inner], [last]])
        return _with_exact_ends(sde.time_of_log_snr(-2 * jnp.asarray(levels)), start, end)


@pytree
class Indices(Grid):
    """n + 1 of a discrete model's times i / (num_scales - 1), spaced as for n + 1 evaluations.

    'trailing' begins at the last index; from the lowest index that it visits the denoiser does the
    rest. 'leading', of the published DDIM code, ends at index 0 and begins below the prior (Lin et
    al. 2024, arXiv:2305.08891, table 2). Neither passes `end`.

    Raises:
        ValueError: more evaluations than indices.
    """

    num_scales: int = static()
    trailing: bool = static(default=True)
    numbered = True

    def __call__(self, sde: SDE, n: int, start: float, end: float) -> Float[Array, " n_plus_1"]:
        if n >= self.num_scales:
            raise ValueError(
                f"sampling.num_steps must be below sde.num_scales = {self.num_scales} on a grid of "
                f"a discrete model's times, got {n}"
            )
        i = np.arange(n + 1)
        if self.trailing:
            chosen = np.round(self.num_scales - i * (self.num_scales / (n + 1))) - 1
        else:
            chosen = i[::-1] * (self.num_scales // (n + 1))
        return jnp.maximum(jnp.asarray(chosen / (self.num_scales - 1) * float(start)), end)
