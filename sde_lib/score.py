"""Score: the only thing that samplers, likelihood and guidance ever see of a model.

One evaluation gives (x_0, eps) = (E[x_0 | x_t], E[eps | x_t]); the rest are views:

    score = -eps / sigma,     denoiser = x_0,     velocity = f(x, t) - g(t)^2 score / 2.

Everything here is a frozen pytree, so a Score is an ordinary argument of a jitted function.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sde_lib.base import SDE, Time, expand
from sde_lib.condition import Condition, told_of
from sde_lib.parametrization import Parametrization, Predicted
from sde_lib.pytree import pytree, static

Apply = Callable[..., Float[Array, "b *e"]]
"""apply(params, x, label, condition, dropout_key) -> raw output; a None key means evaluation."""


class Score(abc.ABC):
    """Protocol of a score; guidance and conditioning are maps Score -> Score."""

    if TYPE_CHECKING:  # at run time a property would be taken for the default of a field

        @property
        def sde(self) -> SDE:
            """The SDE whose marginals have this score."""

    @property
    def evaluations(self) -> int:
        """Network evaluations per sample for one prediction, the unit of NFE."""
        return 1

    @property
    def says_variance(self) -> bool:
        """True if its predictions have a `fraction`."""
        return False

    @property
    def remembers(self) -> bool:
        """True if a prediction depends on those before it in a run; their state is an array like
        x, zeros before the first, that the sampler keeps."""
        return False

    def recalling(self, memory: Float[Array, "b *d"] | None) -> Score:
        """The score after the evaluations that left `memory`; itself if it remembers nothing."""
        return self

    @abc.abstractmethod
    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """(E[x_0 | x_t = x], E[eps | x_t = x]) from one evaluation."""

    def snap(self, t: Time) -> Time:
        """The time at which the score is evaluated for t: t itself, or that of a known level."""
        return t

    def marginal(self, t: Time) -> tuple[Time, Time]:
        """(alpha, sigma) of the noise level that replaces t."""
        return self.sde.marginal(self.snap(t))

    def __call__(
        self, x: Float[Array, "b *d"], t: Time, condition: Condition = None
    ) -> Float[Array, "b *d"]:
        """The score, the gradient of log p_t at x."""
        sigma = self.marginal(t)[1]
        return -self.noise(x, t, condition) / expand(sigma, x)

    def denoise(
        self, x: Float[Array, "b *d"], t: Time, condition: Condition = None
    ) -> Float[Array, "b *d"]:
        """The denoiser E[x_0 | x_t = x] (Tweedie's formula)."""
        return self.predict(x, t, condition).x0

    def noise(
        self, x: Float[Array, "b *d"], t: Time, condition: Condition = None
    ) -> Float[Array, "b *d"]:
        """The expected noise E[eps | x_t = x]."""
        return self.predict(x, t, condition).noise

    def velocity(
        self, x: Float[Array, "b *d"], t: Time, condition: Condition = None
    ) -> Float[Array, "b *d"]:
        """dx/dt of the probability-flow ODE."""
        half_g2 = 0.5 * self.sde.diffusion(t) ** 2
        return self.sde.drift(x, t) - expand(half_g2, x) * self(x, t, condition)


@pytree
class ModelScore(Score):
    """The score of a network: apply function, parameters, SDE and parametrization.

    `dropout_key` is set by the training objective only; None evaluates without dropout.
    """

    apply: Apply = static()
    params: Any
    sde: SDE
    parametrization: Parametrization
    dropout_key: PRNGKeyArray | None = None

    def with_params(self, params: Any) -> ModelScore:
        """A copy with other trained parameters: the network's and, if it has any, the SDE's."""
        sde, network = self.sde.split(params)
        return replace(self, params=network, sde=sde)

    @property
    def says_variance(self) -> bool:
        """True if the network says a variance."""
        return self.parametrization.learn_variance

    def snap(self, t: Time) -> Time:
        """The time to which the parametrization rounds t."""
        return self.parametrization.rounding.snap(t)

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The prediction of one evaluation of the network; computed in float32 or above."""
        scaled, label = self.parametrization.inputs(self.sde, x, t)
        label = jnp.broadcast_to(label, x.shape[:1])
        raw = self.apply(self.params, scaled, label, condition, self.dropout_key)
        return self.parametrization.interpret(self.sde, x, t, raw.astype(x.dtype))


class Wrapped(Score):
    """Base class of a score made from another, `score`, with its SDE and noise levels."""

    score: Score

    @property
    def sde(self) -> SDE:
        """The SDE of the wrapped score."""
        return self.score.sde

    @property
    def evaluations(self) -> int:
        """Evaluations of the wrapped score; a subclass that makes several overrides this."""
        return self.score.evaluations

    @property
    def says_variance(self) -> bool:
        """True if the wrapped score says a variance."""
        return self.score.says_variance

    @property
    def remembers(self) -> bool:
        """True if the wrapped score remembers."""
        return self.score.remembers

    def recalling(self, memory: Float[Array, "b *d"] | None) -> Score:
        """This form of the wrapped score that recalls."""
        own: Any = self
        return replace(own, score=self.score.recalling(memory)) if self.remembers else self

    def snap(self, t: Time) -> Time:
        """The time at which the wrapped score is evaluated for t."""
        return self.score.snap(t)


@pytree
class Conditional(Wrapped):
    """`score` with its condition fixed, so that a sampler need not know of it."""

    score: Score
    condition: Condition

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The wrapped score's prediction under the fixed condition."""
        return self.score.predict(x, t, told_of(self.condition))
