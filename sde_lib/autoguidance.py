"""Autoguidance: a score guided by a worse model of the same data (Karras et al. 2024)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import Number, Time
from sde_lib.guidance import led, weight_within
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree
from sde_lib.score import Condition, Score, Wrapped


@pytree
class Autoguidance(Wrapped):
    """The score of p(x) (p(x) / q(x))^(weight - 1), q being what a worse model learned of p.

        prediction = score + (weight - 1) (score - guide)

    for x_0 and noise alike (Karras et al. 2024, arXiv:2406.02507, eq. 3), which leads away from the
    guide's errors; a learned variance is the score's. The weight is 1 outside of `least` <=
    sigma / alpha <= `most`. The two models are evaluated separately and may differ in everything
    but the SDE and the shape of x.
    """

    score: Score
    guide: Score
    weight: Number
    least: Number = 0.0
    most: Number = jnp.inf

    @property
    def evaluations(self) -> int:
        """Evaluations of the score plus those of the guide."""
        return self.score.evaluations + self.guide.evaluations

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The guided predictions, both models being given the condition."""
        weight = weight_within(self, x, t, self.weight, self.least, self.most)
        return led(weight, *(model.predict(x, t, condition) for model in (self.score, self.guide)))
