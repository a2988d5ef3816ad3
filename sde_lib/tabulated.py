"""An SDE given by a table of noise levels: the continuous form of a discrete-time model.

Level i of N sits at t_i = i / (N - 1); between levels log alpha and log sigma are linear in t, so
the transition kernel from level i - 1 to i is exactly the model's own Markov step (DDPM's beta_i)
and fractional time steps are well defined.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_lib.base import SDE, Time
from sde_lib.pytree import pytree

COARSE = 2.0**12
"""Times that are multiples of 1 / COARSE have exact float32 products with N - 1."""
ROUNDED = 2.0**-23
"""Relative distance within which t counts as t_i: the rounding of i / (N - 1) in float32."""


@pytree
class Table:
    """Numbers in two parts, `high` rounded to float32 and `low` the remainder.

    Differences of neighbours, on which every transition depends, are so accurate to float32's last
    digit.
    """

    high: Float[Array, " n"]
    low: Float[Array, " n"]

    @classmethod
    def of(cls, values: Float[np.ndarray, " n"]) -> Table:
        """A table from float64 values."""
        high = jnp.asarray(values, float)
        return cls(high, jnp.asarray(values - np.asarray(high, np.float64), float))

    def _parts(self, dtype: Any) -> tuple[Array, Array]:
        return jnp.asarray(self.high, dtype), jnp.asarray(self.low, dtype)

    def __len__(self) -> int:
        return self.high.shape[0]

    def at(self, i: Float[Array, "*b"]) -> Time:
        """Entries at the whole numbers i."""
        index, (high, low) = i.astype(jnp.int32), self._parts(i.dtype)
        return high[index] + low[index]

    def gap(self, i: Float[Array, "*b"], j: Float[Array, "*b"]) -> Time:
        """Entry j - entry i."""
        i_, j_ = i.astype(jnp.int32), j.astype(jnp.int32)
        high, low = self._parts(i.dtype)
        return (high[j_] - high[i_]) + (low[j_] - low[i_])


@pytree
class Place:
    """A position between entries i and i + 1 of a table of n, at the fraction `rest` of the way."""

    i: Float[Array, "*b"]
    rest: Float[Array, "*b"]

    @classmethod
    def of(cls, t: Time, n: int) -> Place:
        """The position t (n - 1), computed without losing its fraction to rounding."""
        coarse, nearest = jnp.round(t * COARSE) / COARSE, jnp.round(t * (n - 1))
        beyond = (coarse * (n - 1) - nearest) + (t - coarse) * (n - 1)
        noise = jnp.where(jnp.abs(beyond) <= ROUNDED * nearest, beyond, 0.0)
        beyond = beyond - jax.lax.stop_gradient(noise)  # so that derivatives are the table's
        i = jnp.clip(jnp.where(beyond < 0, nearest - 1, nearest), 0, n - 2)
        return cls(i, (nearest - i) + beyond)


@pytree
class Tabulated(SDE):
    """log alpha and log sigma at t_i = i / (N - 1), i = 0 .. N - 1; the prior is N(0, I).

    Level 0 already carries noise, so the smallest usable time is 0.
    """

    log_alphas: Table
    log_sigmas: Table

    t_min: ClassVar[float] = 0.0
    t_min_sampling: ClassVar[float] = 0.0

    @classmethod
    def of(cls, log_alphas: np.ndarray, log_sigmas: np.ndarray) -> Tabulated:
        """Build from float64 tables, checked (strictly falling log-SNR)."""
        if len(log_alphas) < 2 or not np.all(np.diff(log_alphas - log_sigmas) < 0):
            raise ValueError("a table of noise levels needs two or more of strictly falling SNR")
        return cls(Table.of(log_alphas), Table.of(log_sigmas))

    @classmethod
    def of_betas(cls, betas: Float[np.ndarray, " n"]) -> Tabulated:
        """DDPM's levels, alpha_i^2 = prod_{j <= i} (1 - beta_j), sigma^2 = 1 - alpha^2.

        (Ho et al. 2020, arXiv:2006.11239, eq. 4.) Computed in float64 and cast once.
        """
        log_alpha_bar = np.cumsum(np.log1p(-betas))
        return cls.of(0.5 * log_alpha_bar, 0.5 * np.log(-np.expm1(log_alpha_bar)))

    @property
    def num_levels(self) -> int:
        """N."""
        return len(self.log_alphas)

    def _interpolate(self, t: Time, table: Table) -> Time:
        at = Place.of(t, len(table))
        return table.at(at.i) + at.rest * table.gap(at.i, at.i + 1)

    def _change(self, s: Time, t: Time, table: Table) -> Time:
        """Change of the table's interpolant: rest of s's interval, whole intervals, part of t's."""
        n = len(table)
        at, to = Place.of(s, n), Place.of(t, n)
        first, last = table.gap(at.i, at.i + 1), table.gap(to.i, to.i + 1)
        apart = (1 - at.rest) * first + table.gap(at.i + 1, to.i) + to.rest * last
        within = (at.i == to.i) & (to.rest < 1)  # at 1, the last level, it is `apart` all the same
        return jnp.where(within, (t - s) * (n - 1) * first, apart)

    def log_alpha(self, t: Time) -> Time:
        """Interpolated log alpha."""
        return self._interpolate(t, self.log_alphas)

    def log_sigma(self, t: Time) -> Time:
        """Interpolated log sigma."""
        return self._interpolate(t, self.log_sigmas)

    def sigma(self, t: Time) -> Time:
        """exp(log sigma)."""
        return jnp.exp(self.log_sigma(t))

    def time_of_log_snr(self, log_snr: Time) -> Time:
        """Closed form between the two levels around it; values outside are clipped."""
        n, i = len(self.log_alphas), jnp.arange(len(self.log_alphas), dtype=log_snr.dtype)
        table = 2 * (self.log_alphas.at(i) - self.log_sigmas.at(i))
        after = jnp.searchsorted(-table, -log_snr, side="right")
        at = jnp.clip(after - 1, 0, n - 2)
        part = (table[at] - log_snr) / (table[at] - table[at + 1])
        return (i[at] + jnp.clip(part, 0.0, 1.0)) / (n - 1)

    def log_alpha_change(self, s: Time, t: Time) -> Time:
        """Change of the interpolated log alpha from s to t."""
        return self._change(s, t, self.log_alphas)

    def log_snr_change(self, s: Time, t: Time) -> Time:
        """Change of the interpolated log-SNR from s to t."""
        return 2 * (self._change(s, t, self.log_alphas) - self._change(s, t, self.log_sigmas))

    @property
    def prior_std(self) -> Float[Array, ""]:
        """1, as published for DDPM."""
        return jnp.ones(())
