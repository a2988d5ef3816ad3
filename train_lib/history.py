"""A law of t that learns from the losses: large ones are drawn more often."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sde_lib import SDE
from sde_lib.base import Time
from sde_lib.pytree import pytree
from train_lib.times import TimeLaw

KEPT = 10
"""Losses that are remembered of each level."""
UNIFORM = 0.001
"""Share of the draws that is spread evenly over the levels."""


@runtime_checkable
class Remembering(TimeLaw, Protocol):
    """A law with a history, which is part of the state of training."""

    def after(self, t: Float[Array, " b"], losses: Float[Array, " b"]) -> Any:
        """The law that has seen these losses, not corrected for the draws, at these times."""


@pytree
class LossSecondMoment:
    """Levels i / (N - 1) with a probability that follows the root mean square of their losses,

        p_i = 0.999 rms_i / sum_j rms_j + 0.001 / N,     each loss being weighted by 1 / (N p_i),

    over the last 10 losses at level i, and uniformly until every level has as many (Nichol &
    Dhariwal 2021, arXiv:2102.09672, eq. 18). It lowers the variance of a variational loss.

    losses: the last ones of each level, in any order. counts: of all that were seen.
    """

    losses: Float[Array, "n k"]
    counts: Int[Array, " n"]

    @classmethod
    def start(cls, num_scales: int) -> LossSecondMoment:
        """The law before the first loss."""
        empty = np.zeros((num_scales, KEPT), np.float32)
        return cls(empty, np.zeros(num_scales, np.int32))  # type: ignore[arg-type]

    def probabilities(self) -> Float[Array, " n"]:
        """p_i of every level."""
        n = len(self.counts)
        rms = jnp.sqrt(jnp.mean(jnp.square(self.losses), axis=1))
        total = jnp.sum(rms)
        learned = (1 - UNIFORM) * rms / jnp.where(total > 0, total, 1.0) + UNIFORM / n
        ready = jnp.all(jnp.asarray(self.counts) >= KEPT) & (total > 0)
        return jnp.where(ready, learned, 1 / n)

    def _index(self, t: Time) -> Int[Array, "*b"]:
        return jnp.round(t * (len(self.counts) - 1)).astype(jnp.int32)

    def quantile(self, sde: SDE, u: Float[Array, " b"]) -> Time:
        """The level whose share of [0, 1) has u in it."""
        ends = jnp.cumsum(self.probabilities())[:-1]
        chosen = jnp.searchsorted(ends, u, side="right")
        return chosen.astype(u.dtype) / (len(self.counts) - 1)

    def correction(self, sde: SDE, t: Time) -> Time:
        """1 / (N p_i)."""
        p = self.probabilities()[self._index(t)]
        return (1 / (len(self.counts) * p)).astype(t.dtype)

    def after(self, t: Float[Array, " b"], losses: Float[Array, " b"]) -> LossSecondMoment:
        """The law that remembers these losses, in their order, and forgets the oldest ones."""
        i, counts = self._index(t), jnp.asarray(self.counts)
        rank, more = _ranks(i), jnp.zeros_like(counts).at[i].add(1)
        # Those that this very batch pushes out again are not written: out of bounds.
        row = jnp.where(rank >= more[i] - KEPT, i, len(counts))
        seat = (counts[i] + rank) % KEPT
        kept = jnp.asarray(self.losses).at[row, seat].set(losses, mode="drop")
        return LossSecondMoment(kept, counts + more)


def _ranks(i: Int[Array, " b"]) -> Int[Array, " b"]:
    """The number of equal entries before each one."""
    order = jnp.argsort(i, stable=True)
    of_sorted = jnp.arange(len(i)) - jnp.searchsorted(i[order], i[order], side="left")
    return jnp.zeros_like(of_sorted).at[order].set(of_sorted)
