"""Scores whose denoiser never leaves the range of the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import Number, Time, expand
from sde_lib.condition import Condition
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree, static
from sde_lib.score import Score, Wrapped

Range = tuple[float, float]


def _with(
    score: Score, x: Float[Array, "b *d"], t: Time, found: Predicted, x0: Array, renoised: bool
) -> Predicted:
    """The prediction with another x_0 and, if `renoised`, with the noise that goes with it."""
    if not renoised:
        return found._replace(x0=x0)
    alpha, sigma = (expand(c, x) for c in score.marginal(t))
    return found._replace(x0=x0, noise=(x - alpha * x0) / sigma)


@pytree
class Clipped(Wrapped):
    """x_0 clamped to [least, most], and the noise that goes with it, eps = (x - alpha x_0) / sigma.

    Published for DDPM and its successors in sampling (Ho et al. 2020, arXiv:2006.11239, their
    code), with every sampler: it is the score of no law, but keeps the errors of a network at high
    noise from the sample. Without `renoised` the noise stays the network's.
    """

    score: Score
    least: Number = -1.0
    most: Number = 1.0
    renoised: bool = static(default=True)

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The wrapped score's prediction, clamped."""
        found = self.score.predict(x, t, condition)
        x0 = jnp.clip(found.x0, self.least, self.most)
        return _with(self, x, t, found, x0, self.renoised)


@pytree
class DynamicallyClipped(Wrapped):
    """x_0 <- clip(x_0, -s, s) / s, s the quantile of |x_0| of an example, at least 1.

    Dynamic thresholding (Saharia et al. 2022, arXiv:2205.11487, section 2.3), for data in [-1, 1];
    data in another range of the same width on both sides of `middle` are treated alike. s is at
    most `largest`. `renoised` as in `Clipped`.
    """

    score: Score
    quantile: Number = 0.995
    largest: Number = jnp.inf
    middle: Number = 0.0
    half: Number = 1.0
    renoised: bool = static(default=True)

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The wrapped score's prediction, scaled into the range."""
        found = self.score.predict(x, t, condition)
        x0 = (found.x0 - self.middle) / self.half
        sizes = jnp.quantile(jnp.abs(x0).reshape(len(x0), -1), self.quantile, axis=1)
        bound = expand(jnp.clip(sizes, 1.0, self.largest), x0)
        x0 = self.middle + self.half * (jnp.clip(x0, -bound, bound) / bound)
        return _with(self, x, t, found, x0, self.renoised)


Limit = Callable[[Score], Score]


def build_limit(sampling: Any, gray_range: Callable[[str], Range]) -> Limit | None:
    """The map that a `sampling` section says from a score to one that stays in the data's range.

    gray_range: the name of the setting that asks -> black and white in the network's range, or
    ValueError. None if there is no limit. The dynamic one comes before the other.
    """
    number = lambda v: jnp.asarray(v, jnp.float32)
    if sampling.threshold:
        quantile, largest = number(sampling.threshold), number(sampling.threshold_max)
        least, most = gray_range("sampling.threshold")
        middle, half = (least + most) / 2, (most - least) / 2
        renoised = sampling.clip_noise
        return lambda score: DynamicallyClipped(score, quantile, largest, middle, half, renoised)
    if not sampling.clip:
        return None
    bound, renoised = sampling.clip_range, sampling.clip_noise
    least, most = (-bound, bound) if bound else gray_range("sampling.clip=True")
    return lambda score: Clipped(score, least, most, renoised)
