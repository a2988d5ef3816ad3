"""Refusal of updates that would spoil the state; too many in a row end the run.

An update is bad if its loss or its gradient is not finite, or if its loss exploded: if it is
`explosion` times its running mean or more. A bad update leaves parameters, averages and optimizer
unchanged, and training goes on with the next batch; after `patience` bad ones in a row nothing
changes any more, not even the count of updates. So the state at the end of such a run is that
before the last bad update, and a run that is started again meets that update again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sde_lib.pytree import pytree

T = TypeVar("T")

MEMORY = 0.99
"""Decay, per update, of the running mean of the loss."""


@pytree
class Watch:
    """Statistics of past updates. mean: running mean of |loss|, 0 before the first update; refused:
    number of bad updates skipped; row: number of bad updates since the last good one."""

    mean: Float[Array, ""]
    refused: Int[Array, ""]
    row: Int[Array, ""]

    @classmethod
    def start(cls) -> Watch:
        """The statistics before the first update."""
        count = lambda: jnp.zeros((), jnp.int32)
        return cls(jnp.zeros(()), count(), count())

    def resumed(self) -> Watch:
        """The same statistics for a run that has its whole patience again."""
        return replace(self, row=jnp.zeros_like(self.row))


@dataclass(frozen=True)
class Guard:
    """Rule for bad updates, and how many in a row end the run. explosion 0: no loss explodes."""

    patience: int = 1
    explosion: float = 1e4

    def is_good(
        self, watch: Watch, loss: Float[Array, ""], grad_norm: Float[Array, ""]
    ) -> Bool[Array, ""]:
        """True if an update may be made; always False once the run has ended."""
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        limit = jnp.where(watch.mean > 0, self.explosion * watch.mean, jnp.inf)
        tame = jnp.abs(loss) < limit if self.explosion else True
        return finite & tame & ~self.is_over(watch)

    def is_over(self, watch: Watch) -> Bool[Array, ""]:
        """True if the run has ended."""
        return watch.row >= self.patience

    def after(self, watch: Watch, loss: Float[Array, ""], good: Bool[Array, ""]) -> Watch:
        """The statistics after an update."""
        size = jnp.abs(loss)
        mean = jnp.where(watch.mean > 0, MEMORY * watch.mean + (1 - MEMORY) * size, size)
        row = jnp.where(good, 0, jnp.minimum(watch.row + 1, self.patience))
        left_out = (~good & (row < self.patience)).astype(jnp.int32)
        return Watch(jnp.where(good, mean, watch.mean), watch.refused + left_out, row)


def select_update(good: Bool[Array, ""], new: T, old: T) -> T:
    """`new` where `good`, else `old`, array by array."""
    return jax.tree.map(lambda a, b: jax.lax.select(good, a, b), new, old)


# Unoptimized, because it takes longer to compile than it is ever going to run.
@partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
def all_finite(tree: Any) -> Array:
    """True if no number in the tree is infinite or NaN."""
    numbers = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in numbers]))
