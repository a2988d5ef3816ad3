"""Steps that follow the pseudo-inverse of the misfit of a measurement."""

from __future__ import annotations

from dataclasses import replace

import jax
from jaxtyping import Array, Float

from samplers.base import State
from samplers.rules.base import Advance, Known, StepRule, Turn
from sde_lib import Score, expand
from sde_lib.base import Number, Time
from sde_lib.measurements.base import Measurement
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree, static


@pytree
class PseudoInverseStep(StepRule):
    """x_s <- x_s + alpha_s change,  change = weight alpha_t J^T A^+ (y - A E[x_0 | x_t]).

    PiGDM (Song et al. 2023, "Pseudoinverse-guided diffusion models for inverse problems", algorithm
    1) as RED-diff's code has it (its `awd`): the step itself does not know y, and the change has a
    factor alpha_s that the paper has not. Without `awd` E[x_0 | x_t] is moved by the change and the
    noise with it, before the step; the last one, to x_0, is the same. Published with 100 steps of
    DDIM, eta = 1. y is taken for exact; A is linear. It costs two evaluations for each step. Exact
    in no case: the posterior score of the same name is, for data of one variance.
    """

    measurement: Measurement
    weight: Number = 1.0
    awd: bool = static(default=True)
    single, evaluations = True, 2

    def step(self, score: Score, state: State, turn: Turn, advance: Advance) -> State:
        found, change = self._change(score, state.x, turn.t)
        if self.awd:
            moved = advance(Known(score, found), state)
            alpha = expand(score.marginal(turn.s)[0], change)
            return replace(moved, x=moved.x + alpha * change)
        alpha, sigma = (expand(c, change) for c in score.marginal(turn.t))
        noise = found.noise - alpha / sigma * change
        return advance(Known(score, found._replace(x0=found.x0 + change, noise=noise)), state)

    def finish(self, score: Score, state: State, t: Time) -> Float[Array, "b *d"]:
        found, change = self._change(score, state.x, t)
        return found.x0 + change

    def _change(self, score: Score, x: Array, t: Time) -> tuple[Predicted, Array]:
        def predict(x: Array) -> tuple[Array, Predicted]:
            found = score.predict(x, t)
            return found.x0, found

        x0, pull, found = jax.vjp(predict, x, has_aux=True)
        operator, residual = self.measurement.operator, self.measurement.residual(x0)
        alpha = expand(score.marginal(t)[0], x0)
        return found, self.weight * alpha * pull(operator.pseudo_inverse(residual, x0))[0]
