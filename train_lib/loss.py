"""A training objective's protocol, its random draws, and reductions over an example's axes."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sde_lib import SDE, ModelScore
from sde_lib.base import Time
from sde_lib.condition import Condition
from train_lib.times import TimeLaw, draw_times


def mean(x: Float[Array, "b *d"]) -> Float[Array, " b"]:
    """The mean of each example."""
    return jnp.mean(x.reshape(x.shape[0], -1), axis=1)


def half_sum(x: Float[Array, "b *d"]) -> Float[Array, " b"]:
    """Half the sum of each example."""
    return 0.5 * jnp.sum(x.reshape(x.shape[0], -1), axis=1)


def known(condition: Condition, errors: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
    """Errors, and 0 where the example's value is missing."""
    observed = condition.get("observed") if isinstance(condition, Mapping) else None
    return errors if observed is None else errors * observed


class TrainingLoss(Protocol):
    """A training objective: one loss per example."""

    trains_schedule: ClassVar[bool]
    """True if it trains the schedule of an SDE that learns one; it is of no use for other SDEs."""

    @property
    def law(self) -> TimeLaw | None:
        """Distribution of the training times; None for a loss without times."""

    @property
    def stratified(self) -> bool:
        """True if a batch's times are spread evenly over their distribution."""

    def __call__(
        self,
        score: ModelScore,
        key: PRNGKeyArray,
        x0: Float[Array, "b *d"],
        condition: Condition = None,
        *,
        train: bool,
    ) -> Float[Array, " b"]:
        """Losses of a batch at random times and noises; with dropout if `train`."""


class TimedLoss(abc.ABC):
    """An objective whose losses are functions of noise and time. Holds no state."""

    law: TimeLaw
    stratified: bool
    trains_schedule: ClassVar[bool] = False

    @abc.abstractmethod
    def at(
        self,
        score: ModelScore,
        x0: Float[Array, "b *d"],
        noise: Float[Array, "b *d"],
        t: Float[Array, " b"],
        condition: Condition = None,
    ) -> Float[Array, " b"]:
        """The losses for given noise and times."""

    def __call__(
        self,
        score: ModelScore,
        key: PRNGKeyArray,
        x0: Float[Array, "b *d"],
        condition: Condition = None,
        *,
        train: bool,
    ) -> Float[Array, " b"]:
        """Losses of a batch at random times and noises; with dropout if `train`."""
        t, noise, dropout_key = draw(self, score.sde, key, x0, train)
        return self.at(replace(score, dropout_key=dropout_key), x0, noise, t, condition)


def drawn(objective: TrainingLoss, sde: SDE, key: PRNGKeyArray, n: int) -> Time:
    """The times of n examples that an objective draws if it is called with this key.

    All are 0 for an objective without times.
    """
    if objective.law is None:
        return jnp.zeros(n)
    return draw_times(objective.law, sde, _keys(key)[0], n, stratified=objective.stratified)


def draw(
    objective: TrainingLoss, sde: SDE, key: PRNGKeyArray, x0: Float[Array, "b *d"], train: bool
) -> tuple[Time, Float[Array, "b *d"], PRNGKeyArray | None]:
    """(t, noise, the dropout key or None)."""
    _, key_noise, key_dropout = _keys(key)
    noise = jax.random.normal(key_noise, x0.shape, x0.dtype)
    return drawn(objective, sde, key, x0.shape[0]), noise, key_dropout if train else None


def _keys(key: PRNGKeyArray) -> PRNGKeyArray:
    return jax.random.split(key, 3)
