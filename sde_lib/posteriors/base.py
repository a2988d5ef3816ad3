"""A score that a measurement of the example changes."""

from __future__ import annotations

import abc
from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from sde_lib.base import Time, expand
from sde_lib.condition import Condition
from sde_lib.measurements.base import Measurement
from sde_lib.parametrization import Predicted
from sde_lib.score import Score, Wrapped

Pull = Callable[[Array], Array]
"""The product J^T u."""


class MeasuredScore(Wrapped):
    """An approximation of the score of p(x_0 | y): E[x_0 | x_t, y] in place of E[x_0 | x_t].

    By Tweedie's formula E[x_0 | x_t, y] = E[x_0 | x_t] + (sigma^2 / alpha) g, with g the gradient
    of log p(y | x_t); a subclass says `unguided`, with that second term.
    """

    score: Score
    measurement: Measurement

    @abc.abstractmethod
    def unguided(
        self, x: Float[Array, "b *d"], t: Time, condition: Condition = None
    ) -> tuple[Predicted, Float[Array, "b *d"]]:
        """(the wrapped score's predictions, the change of x_0)."""

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The predictions given the measurement: x_0 and the noise that goes with it."""
        found, change = self.unguided(x, t, condition)
        alpha, sigma = (expand(c, x) for c in self.marginal(t))
        return Predicted(found.x0 + change, found.noise - alpha / sigma * change, found.fraction)


class Differentiated(MeasuredScore):
    """A change of x_0 that needs J^T, J the Jacobian of the denoiser by x_t."""

    @property
    def passes(self) -> int:
        """Number of products with J^T in one evaluation, each a backward pass of the network."""
        return 1

    @property
    def evaluations(self) -> int:
        """Evaluations of the wrapped score, and as many for each of its backward passes."""
        return (1 + self.passes) * self.score.evaluations

    @abc.abstractmethod
    def change(
        self, x0: Float[Array, "b *d"], pull: Pull, alpha: Array, sigma: Array
    ) -> Float[Array, "b *d"]:
        """The change of x0; pull(u) = J^T u; alpha and sigma broadcast against examples."""

    def unguided(
        self, x: Float[Array, "b *d"], t: Time, condition: Condition = None
    ) -> tuple[Predicted, Float[Array, "b *d"]]:
        """(the wrapped score's predictions, the change of x_0)."""

        def predict(x: Array) -> tuple[Array, Predicted]:
            found = self.score.predict(x, t, condition)
            return found.x0, found

        x0, pull, found = jax.vjp(predict, x, has_aux=True)
        alpha, sigma = (expand(c, x) for c in self.marginal(t))
        return found, self.change(x0, lambda u: pull(u)[0], alpha, sigma)
