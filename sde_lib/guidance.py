"""Guidance: maps from a score to a score, so that every sampler can use them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import Number, Time, expand
from sde_lib.pytree import pytree
from sde_lib.score import Condition, Score, Wrapped

Guidance = Callable[[Score, Condition], Score]
"""From a score and its condition to the score that samples follow; the plain one: `Conditional`."""


def null_of(condition: Condition) -> Condition:
    """What stands for no class: the same with every label replaced by -1."""
    return jax.tree.map(lambda labels: jnp.full_like(labels, -1), condition)


def weight_within(
    score: Score, x: Float[Array, "b *d"], t: Time, weight: Number, least: Number, most: Number
) -> Float[Array, "..."]:
    """`weight` for each example of x where least <= sigma / alpha <= most, elsewhere 1."""
    alpha, sigma = score.marginal(jnp.broadcast_to(t, x.shape[:1]))
    inside = (sigma >= least * alpha) & (sigma <= most * alpha)
    return expand(jnp.where(inside, jnp.asarray(weight, x.dtype), 1.0), x)


@pytree
class ClassifierFree(Wrapped):
    """The score of p(x) (p(x | c) / p(x))^weight, from one network that knows p and p(. | c).

        prediction = with + (weight - 1) (with - without)

    for x_0 and noise alike (Ho & Salimans 2022, arXiv:2207.12598, eq. 6, whose w is weight - 1). It is
    the score of no process for other weights than 0 and 1, yet samples follow it; at these two it is
    one of the predictions, to the last bit and whatever the other is. Outside of
    `least` <= sigma / alpha <= `most` the weight is 1 (Kynkaanniemi et al. 2024, arXiv:2404.07724, eq. 5).
    Both predictions are one call of the network with a batch of twice the size.

    condition, null: what stands for c, and for no c, alike in structure, first axis the batch.
    """  # noqa: E501

    score: Score
    condition: Condition
    null: Condition
    weight: Number
    least: Number = 0.0
    most: Number = jnp.inf

    @property
    def evaluations(self) -> int:
        """Twice those of the wrapped score, at every noise level."""
        return 2 * self.score.evaluations

    def predict(
        self, x: Float[Array, "b *d"], t: Time, condition: Condition = None
    ) -> tuple[Float[Array, "b *d"], Float[Array, "b *d"]]:
        """The guided predictions; the condition is the fixed one."""
        every = jnp.broadcast_to(t, x.shape[:1])
        twice = lambda a, b: jnp.concatenate([a, b])
        found = self.score.predict(
            twice(x, x), twice(every, every), jax.tree.map(twice, self.condition, self.null)
        )
        weight = weight_within(self, x, t, self.weight, self.least, self.most)
        with_c, without = zip(*(jnp.split(both, 2) for both in found), strict=True)
        x0, noise = (mixed(weight, a, b) for a, b in zip(with_c, without, strict=True))
        return x0, noise


def mixed(weight: Array, a: Float[Array, "b *d"], b: Float[Array, "b *d"]) -> Array:
    """a + (weight - 1) (a - b); a and b themselves at 1 and 0, where 0 times infinity is none."""
    between = a + (weight - 1) * (a - b)
    return jnp.where(weight == 1, a, jnp.where(weight == 0, b, between))
