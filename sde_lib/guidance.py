"""Guidance: maps from a score to a score, so that every sampler can use them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import Number, Time, expand
from sde_lib.condition import Condition
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree
from sde_lib.score import Score, Wrapped

Guidance = Callable[[Score, Condition], Score]
"""A map from (score, condition) to the score for sampling; the plain one is `Conditional`."""


def weight_within(
    score: Score, x: Float[Array, "b *d"], t: Time, weight: Number, least: Number, most: Number
) -> Float[Array, "..."]:
    """`weight` for each example of x with least <= sigma / alpha <= most, and 1 for the others."""
    alpha, sigma = score.marginal(jnp.broadcast_to(t, x.shape[:1]))
    inside = (sigma >= least * alpha) & (sigma <= most * alpha)
    return expand(jnp.where(inside, jnp.asarray(weight, x.dtype), 1.0), x)


@pytree
class ClassifierFree(Wrapped):
    """The score of p(x) (p(x | c) / p(x))^weight, from one network that knows p and p(. | c).

        prediction = with + (weight - 1) (with - without)

    for x_0 and noise alike (Ho & Salimans 2022, arXiv:2207.12598, eq. 6, whose w is weight - 1); a
    learned variance is that of `with`.
    At weight 0 and 1 it is one of the two predictions, to the last bit and whatever the other one
    is; at other weights it is the score of no diffusion process, yet samples follow it. The weight
    is 1 outside of `least` <= sigma / alpha <= `most` (Kynkaanniemi et al. 2024, arXiv:2404.07724,
    eq. 5). Both predictions are one call of the network with a batch of twice the size.

    condition, null: the conditions of c and of no class, of equal structure, first axis the batch.
    """

    score: Score
    condition: Condition
    null: Condition
    weight: Number
    least: Number = 0.0
    most: Number = jnp.inf

    @property
    def evaluations(self) -> int:
        """Twice the evaluations of the wrapped score, at every noise level."""
        return 2 * self.score.evaluations

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The guided predictions; `condition` is ignored, as `self.condition` is fixed."""
        every = jnp.broadcast_to(t, x.shape[:1])
        twice = lambda a, b: jnp.concatenate([a, b])
        found = self.score.predict(
            twice(x, x), twice(every, every), jax.tree.map(twice, self.condition, self.null)
        )
        weight = weight_within(self, x, t, self.weight, self.least, self.most)
        half = lambda part: jax.tree.map(lambda both: both[part], found)
        return led(weight, half(slice(len(x))), half(slice(len(x), None)))


def led(weight: Array, strong: Predicted, weak: Predicted) -> Predicted:
    """`mixed` x_0 and noise, with the fraction of the strong prediction."""
    x0, noise = (mixed(weight, a, b) for a, b in zip(strong[:2], weak[:2], strict=True))
    return Predicted(x0, noise, strong.fraction)


def mixed(weight: Array, a: Float[Array, "b *d"], b: Float[Array, "b *d"]) -> Array:
    """a + (weight - 1) (a - b), exactly a at 1 and b at 0 even if the other is infinite."""
    between = a + (weight - 1) * (a - b)
    return jnp.where(weight == 1, a, jnp.where(weight == 0, b, between))
