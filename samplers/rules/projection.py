"""Replacement of what is known by the measurement, after each step."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from samplers.base import State
from samplers.rules.base import LAST, Advance, StepRule, Turn, aside
from sde_lib import Score, expand
from sde_lib.base import Number, Time
from sde_lib.measurements.base import Measurement
from sde_lib.pytree import pytree, static


def noised(
    score: Score, measurement: Measurement, state: State, t: Time, turn: Int[Array, ""] | int
) -> Float[Array, "b *m"]:
    """alpha y + sigma A z, what A x_t is if y = A x_0, with noise of a turn's own."""
    alpha, sigma = score.marginal(t)
    y = measurement.y
    return expand(alpha, y) * y + expand(sigma, y) * measurement.operator(aside(state, turn))


@pytree
class Projection(StepRule):
    """x_s <- x_s + A^+ (alpha_s y + sigma_s A z - A x_s): what y says of x_s replaces it.

    The controllable generation of Song et al. 2021, arXiv:2011.13456, appendix I.2, for a mask
    (inpainting) or the gray image (colorization), after every predictor and every corrector step,
    whose start is noised too. With A a low-pass filter it is ILVR (Choi et al. 2021,
    arXiv:2108.02938). y is taken for exact. The result is not a draw from the posterior: what is
    unknown was not told of the known part when it was denoised together with other noise.

    least: sigma / alpha below which nothing is replaced. late: the replacement has the noise of t
    instead of s, one level too noisy, as ILVR's code does. ends: the result is projected as well,
    so that A x_0 = y.
    """

    measurement: Measurement
    least: Number = 0.0
    late: bool = static(default=False)
    ends: bool = static(default=True)

    def step(self, score: Score, state: State, turn: Turn, advance: Advance) -> State:
        began = jnp.where(turn.first, self._at(score, state, turn.t, LAST - 1), state.x)
        state = advance(score, replace(state, x=began))
        noise_of = turn.t if self.late else turn.s
        alpha, sigma = score.marginal(turn.s)
        acts = jnp.asarray(sigma / alpha >= self.least)
        found = self._at(score, state, noise_of, turn.number)
        return replace(state, x=jnp.where(expand(acts, found), found, state.x))

    def finish(self, score: Score, state: State, t: Time) -> Float[Array, "b *d"]:
        x0 = score.denoise(state.x, t)
        if not self.ends:
            return x0
        return self.measurement.operator.replaced(x0, self.measurement.y)

    def _at(
        self, score: Score, state: State, t: Time, turn: Int[Array, ""] | int
    ) -> Float[Array, "b *d"]:
        """x with the part that y fixes, at the noise of t."""
        known = noised(score, self.measurement, state, t, turn)
        return self.measurement.operator.replaced(state.x, known)
