"""Updates that would spoil the state are refused; too many in a row end the run.

An update is bad where its loss or its gradient is not finite, or where its loss exploded: where it
is `explosion` times its running mean or more. A bad update leaves parameters, averages and
optimizer as they were, and training goes on with the next batch; after `patience` bad ones in a
row nothing changes any more, the count of updates least of all. So what is there when the run ends
is the state before the last of them, and a run that is started again meets it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sde_lib.pytree import pytree

T = TypeVar("T")

MEMORY = 0.99
"""Of the running mean of the loss, per update."""


@pytree
class Watch:
    """What has been seen. mean: of |loss|, 0 before the first update; refused: bad updates in all;
    row: the last ones without a good one between; began: the updates before the first of these."""

    mean: Float[Array, ""]
    refused: Int[Array, ""]
    row: Int[Array, ""]
    began: Int[Array, ""]

    @classmethod
    def start(cls) -> Watch:
        """Before the first update."""
        count = lambda: jnp.zeros((), jnp.int32)
        return cls(jnp.zeros(()), count(), count(), count())

    def resumed(self) -> Watch:
        """At the start of a run, which has its whole patience again."""
        return replace(self, row=jnp.zeros_like(self.row))


@dataclass(frozen=True)
class Guard:
    """Which updates are bad, and how many in a row end the run. explosion 0: none explodes."""

    patience: int = 1
    explosion: float = 1e4

    def is_good(
        self, watch: Watch, loss: Float[Array, ""], grad_norm: Float[Array, ""]
    ) -> Bool[Array, ""]:
        """Whether an update may be made; never once the run has ended."""
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        limit = jnp.where(watch.mean > 0, self.explosion * watch.mean, jnp.inf)
        tame = jnp.abs(loss) < limit if self.explosion else True
        return finite & tame & ~self.is_over(watch)

    def is_over(self, watch: Watch) -> Bool[Array, ""]:
        """Whether the run has ended."""
        return watch.row >= self.patience

    def after(
        self, watch: Watch, loss: Float[Array, ""], step: Int[Array, ""], good: Bool[Array, ""]
    ) -> Watch:
        """What has been seen after the update that follows `step` others."""
        size = jnp.abs(loss)
        mean = jnp.where(watch.mean > 0, MEMORY * watch.mean + (1 - MEMORY) * size, size)
        bad = (~good & ~self.is_over(watch)).astype(jnp.int32)
        row = jnp.where(good, 0, watch.row + bad)
        return Watch(
            mean=jnp.where(good, mean, watch.mean),
            refused=watch.refused + bad,
            row=row,
            began=jnp.where(bad * row == 1, step, watch.began),
        )


def choose(good: Bool[Array, ""], new: T, old: T) -> T:
    """`new` where `good`, else `old`, array by array."""
    return jax.tree.map(lambda a, b: jax.lax.select(good, a, b), new, old)
