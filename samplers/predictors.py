"""Predictors: numerical steps of the reverse-time process from t to s < t.

Notation: a and b are those of the exact forward kernel x_t | x_s ~ N(a x_s, b I)
(`SDE.transition`); on DDPM's levels a^2 = 1 - beta_i and b = beta_i, on NCSN's a = 1 and
b = sigma_i^2 - sigma_{i-1}^2. z ~ N(0, I). With `probability_flow` a predictor integrates the
ODE with the same marginals: half the score, no noise.
"""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp

from samplers.base import State
from sde_lib import Score
from sde_lib.base import Number, Time
from sde_lib.pytree import pytree, static


@pytree
class EulerMaruyama:
    """x_s = x + (f - g^2 score)(s - t) + g sqrt(t - s) z, coefficients at t.

    Song et al. 2021, arXiv:2011.13456, appendix G. Weak order 1. With `probability_flow`, Euler's
    method on dx = (f - g^2 score / 2) dt.
    """

    probability_flow: bool = static(default=False)
    order, evaluations = 1, 1

    @property
    def stochastic(self) -> bool:
        return not self.probability_flow

    def init(self, state: State) -> State:
        return state

    def step(self, score: Score, state: State, t: Time, s: Time) -> State:
        sde = score.sde
        if self.probability_flow:
            flow = sde.probability_flow(score)
            return replace(state, x=state.x + flow.drift(state.x, t) * (s - t))
        reverse = sde.reverse(score)
        x = state.x + reverse.drift(state.x, t) * (s - t)
        state, z = state.normal()
        return replace(state, x=x + reverse.diffusion(t) * jnp.sqrt(t - s) * z)


@pytree
class ReverseDiffusion:
    """x_s = (2 - a) x + b score + sqrt(b) z: the forward discretization, reversed.

    Song et al. 2021, arXiv:2011.13456, eq. 46 and appendix E, with the forward rule taken to be
    the exact kernel, which is the published one for VP's and VE's levels and carries over to any
    SDE and grid. Weak order 1. With `probability_flow`, (2 - a) x + b score / 2.
    """

    probability_flow: bool = static(default=False)
    order, evaluations = 1, 1

    @property
    def stochastic(self) -> bool:
        return not self.probability_flow

    def init(self, state: State) -> State:
        return state

    def step(self, score: Score, state: State, t: Time, s: Time) -> State:
        a, b = score.sde.transition(s, t)
        if self.probability_flow:
            return replace(state, x=(2 - a) * state.x + 0.5 * b * score(state.x, t))
        x = (2 - a) * state.x + b * score(state.x, t)
        state, z = state.normal()
        return replace(state, x=x + jnp.sqrt(b) * z)


@pytree
class Ancestral:
    """x_s = (x + b score) / a + sqrt(v) z,  v = b (sigma_s^2 / sigma_t^2)^(1 - large).

    Ancestral sampling of the Markov chain of levels (Ho et al. 2020, arXiv:2006.11239, alg. 2;
    Song et al. 2021, appendix F), for any SDE. large = 0 takes the posterior variance of x_s given
    x_t and x_0, DDPM's beta-tilde, published for VE and equal to DDIM with eta = 1; large = 1
    takes the kernel's, DDPM's beta, published for VP. Weak order 1.
    """

    large: Number = 0.0
    order, evaluations, stochastic = 1, 1, True

    def init(self, state: State) -> State:
        return state

    def step(self, score: Score, state: State, t: Time, s: Time) -> State:
        a, b = score.sde.transition(s, t)
        ratio = score.sde.sigma(s) ** 2 / score.sde.sigma(t) ** 2
        x = (state.x + b * score(state.x, t)) / a
        state, z = state.normal()
        return replace(state, x=x + jnp.sqrt(b * ratio ** (1 - self.large)) * z)


@pytree
class Heun:
    """Heun's method on the probability flow, in the variable sigma / alpha.

    Karras et al. 2022, arXiv:2206.00364, algorithm 1: with x-bar = x / alpha and A, B the values of
    sigma / alpha at t and s, d x-bar / d (sigma / alpha) = eps, so

        x' = x-bar + (B - A) eps(x-bar, t),   x-bar_s = x-bar + (B - A) (eps + eps(x', s)) / 2.

    The same for every SDE on the same sigma / alpha. Order 2.
    """

    order, evaluations, stochastic = 2, 2, False

    def init(self, state: State) -> State:
        return state

    def step(self, score: Score, state: State, t: Time, s: Time) -> State:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = score.marginal(t), score.marginal(s)
        gap = sigma_s / alpha_s - sigma_t / alpha_t
        x_bar, slope = state.x / alpha_t, score.noise(state.x, t)
        end_slope = score.noise(alpha_s * (x_bar + gap * slope), s)
        return replace(state, x=alpha_s * (x_bar + gap * (slope + end_slope) / 2))


@pytree
class NoPredictor:
    """x_s = x: corrector-only (annealed Langevin) sampling, as NCSN does."""

    order, evaluations, stochastic = 0, 0, False

    def init(self, state: State) -> State:
        return state

    def step(self, score: Score, state: State, t: Time, s: Time) -> State:
        return state
