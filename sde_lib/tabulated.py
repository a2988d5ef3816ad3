"""An SDE given by a table of noise levels: the continuous form of a discrete-time model.

Level i of N sits at t_i = i / (N - 1); between levels log alpha and log sigma are linear in t, so
the transition kernel from level i - 1 to i is exactly the model's own Markov step (DDPM's beta_i)
and fractional time steps are well defined.
"""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_lib.base import SDE, Time
from sde_lib.pytree import pytree


@pytree
class Tabulated(SDE):
    """log alpha and log sigma at t_i = i / (N - 1), i = 0 .. N - 1; the prior is N(0, I).

    Level 0 already carries noise, so the smallest usable time is 0.
    """

    log_alphas: Float[Array, " n"]
    log_sigmas: Float[Array, " n"]

    t_min: ClassVar[float] = 0.0
    t_min_sampling: ClassVar[float] = 0.0

    @classmethod
    def of(cls, log_alphas: np.ndarray, log_sigmas: np.ndarray) -> Tabulated:
        """Build from float64 tables, checked (strictly falling log-SNR) and cast once."""
        if len(log_alphas) < 2 or not np.all(np.diff(log_alphas - log_sigmas) < 0):
            raise ValueError("a table of noise levels needs two or more of strictly falling SNR")
        return cls(jnp.asarray(log_alphas, float), jnp.asarray(log_sigmas, float))

    def _interpolate(self, t: Time, table: Float[Array, " n"]) -> Time:
        # Position and weight are split by hand: jnp.interp over t_i loses a digit to 1 / (N - 1).
        last = table.shape[0] - 1
        position = t * last
        i = jnp.clip(jnp.floor(position), 0, last - 1)
        index = i.astype(jnp.int32)
        table = table.astype(t.dtype)
        return table[index] + (position - i) * (table[index + 1] - table[index])

    def log_alpha(self, t: Time) -> Time:
        """Interpolated log alpha."""
        return self._interpolate(t, self.log_alphas)

    def log_sigma(self, t: Time) -> Time:
        """Interpolated log sigma."""
        return self._interpolate(t, self.log_sigmas)

    def sigma(self, t: Time) -> Time:
        """exp(log sigma)."""
        return jnp.exp(self.log_sigma(t))

    @property
    def prior_std(self) -> Float[Array, ""]:
        """1, as published for DDPM."""
        return jnp.ones(())
