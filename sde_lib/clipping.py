"""A score whose denoiser never leaves the range of the data."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import Number, Time, expand
from sde_lib.condition import Condition
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree
from sde_lib.score import Score, Wrapped


@pytree
class Clipped(Wrapped):
    """x_0 clamped to [least, most], and the noise that goes with it, eps = (x - alpha x_0) / sigma.

    Published for DDPM and its successors in sampling (Ho et al. 2020, arXiv:2006.11239, their
    code), with every sampler: it is the score of no law, but keeps the errors of a network at high
    noise from the sample.
    """

    score: Score
    least: Number = -1.0
    most: Number = 1.0

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The wrapped score's prediction, clamped."""
        found = self.score.predict(x, t, condition)
        x0 = jnp.clip(found.x0, self.least, self.most)
        alpha, sigma = (expand(c, x) for c in self.marginal(t))
        return found._replace(x0=x0, noise=(x - alpha * x0) / sigma)
