"""Steps that follow the gradient of the misfit of a measurement."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from samplers.base import State
from samplers.rules.base import Advance, Known, StepRule, Turn
from sde_lib import Score
from sde_lib.base import Number, Time
from sde_lib.measurements.base import Measurement
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree, static


@pytree
class MisfitDescent(StepRule):
    """x_s <- x_s - weight grad_x_t |y - A E[x_0 | x_t]|, the step x_s itself not knowing y.

    Diffusion posterior sampling, DPS (Chung et al. 2022, arXiv:2209.14687, algorithm 1), whose code
    has the norm and whose text its square over the norm, twice that gradient. The norm is that of
    each example alone; the published one is of the batch. With `squared` it is the gradient of the
    squared norm. A need not be linear.
    """

    measurement: Measurement
    weight: Number = 1.0
    squared: bool = static(default=False)
    single, evaluations = True, 2

    def step(self, score: Score, state: State, turn: Turn, advance: Advance) -> State:
        found, slope = self._slope(score, state.x, turn.t)
        moved = advance(Known(score, found), state)
        return replace(moved, x=moved.x - self.weight * slope)

    def finish(self, score: Score, state: State, t: Time) -> Float[Array, "b *d"]:
        found, slope = self._slope(score, state.x, t)
        return found.x0 - self.weight * slope

    def _slope(self, score: Score, x: Array, t: Time) -> tuple[Predicted, Array]:
        def misfit(x: Array) -> tuple[Array, Predicted]:
            found = score.predict(x, t)
            residual = self.measurement.residual(found.x0)
            square = jnp.sum(residual.reshape(len(residual), -1) ** 2, axis=1)
            if self.squared:
                return jnp.sum(square), found
            # The norm has no derivative at 0, where nothing is to be done.
            apart = square > 0
            return jnp.sum(jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)), found

        slope, found = jax.grad(misfit, has_aux=True)(x)
        return found, slope
