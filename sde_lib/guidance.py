"""Guidance: maps from a score to a score, so that every sampler can use them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sde_lib.base import Number, Time, expand
from sde_lib.combinations import Combination, Mixed, Point
from sde_lib.condition import Condition
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree
from sde_lib.score import Score, Wrapped

Guidance = Callable[[Score, Condition], Score]
"""A map from (score, condition) to the score for sampling; the plain one is `Conditional`."""


def within(
    score: Score, x: Float[Array, "b *d"], t: Time, least: Number, most: Number
) -> Bool[Array, "..."]:
    """True for each example of x with least <= sigma / alpha <= most."""
    alpha, sigma = score.marginal(jnp.broadcast_to(t, x.shape[:1]))
    return expand((sigma >= least * alpha) & (sigma <= most * alpha), x)


@pytree
class ClassifierFree(Wrapped):
    """The score of p(x) (p(x | c) / p(x))^weight, from one network that knows p and p(. | c).

        prediction = with + (weight - 1) (with - without)

    for x_0 and noise alike (Ho & Salimans 2022, arXiv:2207.12598, eq. 6, whose w is weight - 1), or
    another combination of the two. At weight 0 and 1 it is one of the two predictions, to the last
    bit and whatever the other one is; at other weights it is the score of no diffusion process, yet
    samples follow it. Outside of `least` <= sigma / alpha <= `most` it is the prediction with the
    condition (Kynkaanniemi et al. 2024, arXiv:2404.07724, eq. 5). Both predictions are one call of
    the network with a batch of twice the size. A learned variance is that with the condition.

    condition, null: the conditions of c and of no class, of equal structure, first axis the batch.
    """

    score: Score
    condition: Condition
    null: Condition
    weight: Number
    least: Number = 0.0
    most: Number = jnp.inf
    combination: Combination = Mixed()

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
        half = lambda part: jax.tree.map(lambda both: both[part], found)
        told, untold = half(slice(len(x))), half(slice(len(x), None))
        at = Point(x, *(expand(c, x) for c in self.marginal(every)))
        inside = within(self, x, t, self.least, self.most)
        guided = self.combination(jnp.asarray(self.weight, x.dtype), told[:2], untold[:2], at)
        x0, noise = (jnp.where(inside, a, b) for a, b in zip(guided, told[:2], strict=True))
        return Predicted(x0, noise, told.fraction)
