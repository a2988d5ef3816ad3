"""Measurements of every example beside its loss, such as a classifier's accuracy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from jaxtyping import Array, Float, PRNGKeyArray

from sde_lib import ModelScore
from sde_lib.condition import Condition
from train_lib.loss import TrainingLoss

Measured = tuple[Float[Array, " b"], dict[str, Float[Array, " b"]]]


class Measuring(TrainingLoss, Protocol):
    """A training objective that measures more of every example than its loss."""

    measures: tuple[str, ...]
    """Names of the measurements."""
    measured: Callable[..., Measured]
    """The losses, and the measurements by name, of the arguments of a loss."""


def measures(objective: TrainingLoss) -> tuple[str, ...]:
    """Names of what an objective measures of every example beside its loss."""
    found: tuple[str, ...] = getattr(objective, "measures", ())
    return found


def summarised(objective: TrainingLoss, means: dict[str, float]) -> dict[str, float]:
    """Means of the measurements as they are told: some are moments of which others follow."""
    tell = getattr(objective, "summarised", None)
    return means if tell is None else tell(means)


def measured(
    objective: TrainingLoss,
    score: ModelScore,
    key: PRNGKeyArray,
    x0: Float[Array, "b *d"],
    condition: Condition = None,
    *,
    train: bool,
) -> Measured:
    """The losses of an objective, and its `measures` by name."""
    if not measures(objective):
        return objective(score, key, x0, condition, train=train), {}
    return cast(Measuring, objective).measured(score, key, x0, condition, train=train)
