"""Guidance: maps from a score to a score, so that every sampler can use them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sde_lib.base import Number, Time, expand
from sde_lib.combinations import Combination, Mixed, Pair, Point
from sde_lib.condition import Condition, with_part
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree
from sde_lib.score import Score, Wrapped

Guidance = Callable[[Score, Condition], Score]
"""A map from (score, condition) to the score for sampling; the plain one is `Conditional`."""

FORGETFUL = (
    "sampling.guidance_momentum needs a sampler that keeps what guidance did before: a predictor "
    "with a fixed number of steps and no corrector; adaptive ones, likelihoods and codes keep "
    "nothing: set it to 0"
)
"""The error of guidance with momentum where nothing keeps it."""


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

    With `momentum`, what is added to the prediction without the condition is the running difference
    of the two x_0,

        d <- (with - without) + momentum d,

    with d as it was after the evaluation before, and 0 at first (Sadat et al. 2024,
    arXiv:2410.02416, algorithm 1). Outside of the interval d stays as it is.

    condition, null: the conditions of c and of no class, of equal structure, first axis the batch.
    memory: d; the sampler's.
    """

    score: Score
    condition: Condition
    null: Condition
    weight: Number
    least: Number = 0.0
    most: Number = jnp.inf
    combination: Combination = Mixed()
    momentum: Number | None = None
    memory: Float[Array, "b *d"] | None = None

    @property
    def remembers(self) -> bool:
        """True with momentum."""
        return self.momentum is not None

    def recalling(self, memory: Float[Array, "b *d"] | None) -> Score:
        """This guidance with the difference `memory`."""
        return replace(self, memory=memory) if self.remembers else self

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
        without, memory = self._recalled(told, untold, at, inside)
        guided = self.combination(jnp.asarray(self.weight, x.dtype), told[:2], without, at)
        x0, noise = (jnp.where(inside, a, b) for a, b in zip(guided, told[:2], strict=True))
        return Predicted(x0, noise, told.fraction, memory=memory)

    def _recalled(
        self, told: Predicted, untold: Predicted, at: Point, inside: Array
    ) -> tuple[Pair, Array | None]:
        """(the prediction that differs by d from that with the condition, d)."""
        if self.momentum is None:
            return untold[:2], None
        if self.memory is None:
            raise ValueError(FORGETFUL)
        difference = told.x0 - untold.x0 + self.momentum * self.memory
        x0 = told.x0 - difference
        return (x0, at.noise(x0)), jnp.where(inside, difference, self.memory)


@pytree
class Embedded(Wrapped):
    """The score of a network that is told the weight of guidance, in one evaluation.

    It was distilled of one that `ClassifierFree` guides, and is given `weight` - 1 (Meng et al.
    2023, arXiv:2210.03142, section 3.1; Luo et al. 2023, arXiv:2310.04378, section 4.3), and 0
    outside of `least` <= sigma / alpha <= `most`.
    """

    score: Score
    condition: Condition
    weight: Number
    least: Number = 0.0
    most: Number = jnp.inf

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The prediction under the fixed condition and the weight."""
        inside = within(self, x, t, self.least, self.most).reshape(-1)
        told = jnp.where(inside, jnp.asarray(self.weight, x.dtype) - 1, 0)
        return self.score.predict(x, t, with_part(self.condition, "guidance", told))
