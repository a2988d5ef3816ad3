"""The loss by noise level: in which part of the times a model is good, and where it diverges."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sde_lib import SDE
from sde_lib.pytree import pytree
from train_lib.objective import TrainingLoss, drawn

COUNT = 8


@pytree
class Buckets:
    """Losses in `COUNT` ranges of times, each as likely as the others under the law of training.

    total: sums of the losses; number: how many there were.
    """

    total: Float[Array, "*k n"]
    number: Float[Array, "*k n"]

    @classmethod
    def empty(cls) -> Buckets:
        """Before the first loss."""
        return cls(jnp.zeros(COUNT), jnp.zeros(COUNT))

    @classmethod
    def of(
        cls, objective: TrainingLoss, sde: SDE, key: PRNGKeyArray, losses: Float[Array, " b"]
    ) -> Buckets:
        """Those of a batch, whose times `objective` drew from `key`."""
        t = drawn(objective, sde, key, losses.shape[0])
        bucket = jnp.sum(t[:, None] >= edges(objective, sde)[None], axis=1)
        inside = jax.nn.one_hot(bucket, COUNT)
        return cls(jnp.sum(losses[:, None] * inside, axis=0), jnp.sum(inside, axis=0))

    def means(self) -> Float[np.ndarray, " n"]:
        """The mean loss in each range, over all leading axes; NaN where there was none."""
        total, number = (np.reshape(x, (-1, COUNT)).sum(0) for x in (self.total, self.number))
        return np.divide(total, number, out=np.full(COUNT, np.nan), where=number > 0)


def edges(objective: TrainingLoss, sde: SDE) -> Float[Array, " m"]:
    """The times between one range and the next, m = COUNT - 1."""
    return objective.law.quantile(sde, jnp.arange(1, COUNT) / COUNT)


def names(objective: TrainingLoss, sde: SDE) -> list[str]:
    """What each range is called in a log: '0.25-0.375', by its times."""
    ends = [sde.t_min, *map(float, edges(objective, sde)), sde.T]
    return [f"{float(a):.3g}-{float(b):.3g}" for a, b in itertools.pairwise(ends)]
