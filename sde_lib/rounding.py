"""Roundings: the times of its training that a network takes others for."""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp

from sde_lib.base import Time
from sde_lib.pytree import pytree, static

ROUNDING_SLACK = 5e-4
"""Added before truncating t (N - 1): float32 keeps an integer level to 1.2e-4 at N = 1000."""


class Rounding(Protocol):
    """Map from a time t to the time at which the network was trained that replaces it."""

    def snap(self, t: Time) -> Time:
        """The trained time that replaces t."""


@pytree
class Continuous:
    """The identity, for a network that was trained at every t."""

    def snap(self, t: Time) -> Time:
        return t


@pytree
class LevelBelow:
    """The level i <= t (N - 1): how the published code looks up DDPM's standard deviation."""

    num_scales: int = static()

    def snap(self, t: Time) -> Time:
        last = self.num_scales - 1
        return jnp.floor(t * last + ROUNDING_SLACK) / last


@pytree
class NearestIndex:
    """The level nearest to t (N - 1), at exactly the time i / (N - 1)."""

    num_scales: int = static()

    def snap(self, t: Time) -> Time:
        last = self.num_scales - 1
        return jnp.round(t * last) / last


@pytree
class NearestLevel:
    """The level nearest to t (N - 1), as the published code does for NCSN's levels."""

    num_scales: int = static()

    def snap(self, t: Time) -> Time:
        last = self.num_scales - 1
        return 1 - jnp.round((1 - t) * last) / last
