"""Guidance by a function log p(y | x): classifiers, encoders of images, any differentiable one."""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sde_lib.base import Number, Time, expand
from sde_lib.condition import Condition
from sde_lib.guidance import within
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree, static
from sde_lib.score import Score, Wrapped


class LogDensity(Protocol):
    """log p(y | x) up to a constant, a pytree that is called."""

    def __call__(
        self, x: Float[Array, "b *d"], t: Float[Array, "b"], label: Condition
    ) -> Float[Array, "b"]:
        """The logarithm for each example; `label` is the class that is asked for, None: there are
        none."""


@pytree
class LikelihoodGuidance(Wrapped):
    """The score of p(x) p(y | x_t)^weight.

        x_0 <- x_0 + weight (sigma^2 / alpha) g,   noise <- noise - weight sigma g,

    g the gradient of log p(y | x_t) at x_t (Song et al. 2021, arXiv:2011.13456, eq. 14; Dhariwal &
    Nichol 2021, arXiv:2105.05233, algorithm 2). With `denoised`, the function knows clean examples
    only: it is given E[x_0 | x_t], and the gradient goes through the network, an approximation of
    p(y | x_t). At weight 0 and outside of `least` <= sigma / alpha <= `most` it is the score to the
    last bit.

    condition: of the score, fixed. label: what the function is asked for.
    """

    score: Score
    condition: Condition
    log_density: LogDensity
    label: Array | None
    weight: Number
    least: Number = 0.0
    most: Number = jnp.inf
    denoised: bool = static(default=False)

    @property
    def evaluations(self) -> int:
        """Evaluations of the score and of the function, and as many backward passes of both that
        the gradient needs."""
        return self.score.evaluations * (2 if self.denoised else 1) + 2

    def gradient(self, x: Float[Array, "b *d"], t: Time) -> Float[Array, "b *d"]:
        """weight g."""
        return self.unguided(x, t)[1]

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The guided predictions; `condition` is ignored, as `self.condition` is fixed."""
        found, gradient = self.unguided(x, t)
        alpha, sigma = (expand(c, x) for c in self.marginal(t))
        acts = within(self, x, t, self.least, self.most) & (jnp.asarray(self.weight) != 0)
        x0 = jnp.where(acts, found.x0 + sigma**2 / alpha * gradient, found.x0)
        noise = jnp.where(acts, found.noise - sigma * gradient, found.noise)
        return Predicted(x0, noise, found.fraction)

    def unguided(self, x: Float[Array, "b *d"], t: Time) -> tuple[Predicted, Array]:
        """(the prediction of the score, weight g)."""
        every, weight = jnp.broadcast_to(t, x.shape[:1]), jnp.asarray(self.weight, x.dtype)

        def total(x: Array) -> Array:
            return jnp.sum(self.log_density(x, every, self.label))

        def total_denoised(x: Array) -> tuple[Array, Predicted]:
            found = self.score.predict(x, t, self.condition)
            return total(found.x0), found

        if self.denoised:
            gradient, found = jax.grad(total_denoised, has_aux=True)(x)
            return found, weight * gradient
        return self.score.predict(x, t, self.condition), weight * jax.grad(total)(x)


@pytree
class MeanShift(Wrapped):
    """The score as it is, with the mean of each step moved by its variance times weight g.

    `LikelihoodGuidance` of ancestral sampling as published: the mean of p(x_s | x_t) becomes
    mean + Sigma weight g, with g at x_t and Sigma the step's own variance (Dhariwal & Nichol 2021,
    arXiv:2105.05233, algorithm 1, whose text has g at the mean and whose code has it at x_t). The
    two differ by the ratio of Sigma to b / sqrt(1 - b). The variance of the last step, to x_0, is
    the sampler's to say (`samplers.base.Last`); without one it is that of the kernel, sigma_t^2.
    """

    score: LikelihoodGuidance

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The score's prediction, and weight g where guidance acts, as the shift."""
        found, shift = self._moved(x, t)
        return found._replace(shift=shift)

    def denoise(
        self, x: Float[Array, "b *d"], t: Time, condition: Condition = None
    ) -> Float[Array, "b *d"]:
        """The mean of the step to x_0."""
        found, shift = self._moved(x, t)
        return found.x0 + expand(self.marginal(t)[1], x) ** 2 * shift

    def _moved(self, x: Array, t: Time) -> tuple[Predicted, Array]:
        found, gradient = self.score.unguided(x, t)
        inside = within(self, x, t, self.score.least, self.score.most)
        return found, jnp.where(inside, gradient, jnp.zeros_like(gradient))
