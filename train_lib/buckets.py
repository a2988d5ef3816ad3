"""The loss by noise level, which shows at which times a model is good or diverges."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_lib import SDE
from sde_lib.pytree import pytree
from train_lib.loss import TrainingLoss
from train_lib.times import TimeLaw

COUNT = 8


@pytree
class Buckets:
    """Losses in `COUNT` ranges of times, all equally likely under the distribution of times.

    total: sums of the losses; number: their numbers. others: sums of what else is measured of every
    example, by name.
    """

    total: Float[Array, "*k n"]
    number: Float[Array, "*k n"]
    others: dict[str, Float[Array, "*k n"]] = field(default_factory=dict)

    @classmethod
    def empty(cls, others: Iterable[str] = ()) -> Buckets:
        """Buckets before the first loss."""
        return cls(jnp.zeros(COUNT), jnp.zeros(COUNT), {name: jnp.zeros(COUNT) for name in others})

    @classmethod
    def of(
        cls,
        objective: TrainingLoss,
        sde: SDE,
        t: Float[Array, " b"],
        losses: Float[Array, " b"],
        others: Mapping[str, Float[Array, " b"]] | None = None,
    ) -> Buckets:
        """Buckets of a batch's losses at t, in the ranges of `objective`."""
        bucket = jnp.sum(t[:, None] >= edges(objective, sde)[None], axis=1)
        inside = jax.nn.one_hot(bucket, COUNT)
        add = lambda values: jnp.sum(values[:, None] * inside, axis=0)
        sums = {name: add(values) for name, values in (others or {}).items()}
        return cls(add(losses), jnp.sum(inside, axis=0), sums)

    def means(self, of: str = "") -> Float[np.ndarray, " n"]:
        """The mean loss in each range, over all leading axes; NaN in a range without losses.

        of: the name of what else was measured, instead of the loss.
        """
        sums = self.others[of] if of else self.total
        total, number = (np.reshape(x, (-1, COUNT)).sum(0) for x in (sums, self.number))
        return np.divide(total, number, out=np.full(COUNT, np.nan), where=number > 0)

    def mean(self, of: str) -> float:
        """The mean of what else was measured, over all examples."""
        return float(np.sum(self.others[of]) / max(float(np.sum(self.number)), 1.0))


def edges(objective: TrainingLoss, sde: SDE) -> Float[Array, " m"]:
    """The m = COUNT - 1 times that separate the ranges; without times all is in the first."""
    if objective.law is None:
        return jnp.full(COUNT - 1, jnp.inf)
    return objective.law.quantile(sde, jnp.arange(1, COUNT) / COUNT)


@jax.jit
def _edges(law: TimeLaw, sde: SDE) -> Float[Array, " m"]:
    return law.quantile(sde, jnp.arange(1, COUNT) / COUNT)


def names(objective: TrainingLoss, sde: SDE) -> list[str]:
    """Names of the ranges in a log, by their times: '0.25-0.375'; () without times."""
    if objective.law is None:
        return []
    # In one program: one by one, a law's operations are thirty, compiled before the first update.
    ends = [sde.t_min, *np.asarray(_edges(objective.law, sde)), sde.T]
    return [f"{float(a):.3g}-{float(b):.3g}" for a, b in itertools.pairwise(ends)]
