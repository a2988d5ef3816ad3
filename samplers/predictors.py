"""First-order predictors: one evaluation, one step of the reverse-time process from t to s < t.

Notation: a and b are those of the exact forward kernel x_t | x_s ~ N(a x_s, b I)
(`SDE.transition`); on DDPM's levels a^2 = 1 - beta_i and b = beta_i, on NCSN's a = 1 and
b = sigma_i^2 - sigma_{i-1}^2. z ~ N(0, I). With `probability_flow` a predictor integrates the
ODE with the same marginals: half the score, no noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samplers.base import Plan, State
from samplers.planned.levels import Clock, Levels
from samplers.planned.linear import LinearSampler, Row
from sde_lib import Score
from sde_lib.base import Number
from sde_lib.pytree import pytree, static


def steps(levels: Levels) -> Iterator[tuple[int, Levels, Levels]]:
    """(k, levels at t_k, levels at t_{k+1}) of a grid."""
    return ((k, levels[k], levels[k + 1]) for k in range(len(levels) - 1))


@pytree
class EulerMaruyama(LinearSampler):
    """x_s = x + (f - g^2 score)(s - t) + g sqrt(t - s) z, coefficients at t.

    Song et al. 2021, arXiv:2011.13456, appendix G. Weak order 1. With `probability_flow`, Euler's
    method on dx = (f - g^2 score / 2) dt.
    """

    probability_flow: bool = static(default=False)
    order = 1

    @property
    def adds(self) -> bool:  # type: ignore[override]
        return not self.probability_flow

    def rows(self, clock: Clock, levels: Levels) -> list[Row]:
        rate, g = clock.drift_and_diffusion(levels.t)
        share = 0.5 if self.probability_flow else 1.0
        return [
            Row(
                t.t,
                noise=1.0,
                x=1 + rate[k] * (s.t - t.t),
                history={k: share * g[k] ** 2 / t.sigma * (s.t - t.t)},
                z=g[k] * np.sqrt(t.t - s.t),
            )
            for k, t, s in steps(levels)
        ]


@pytree
class ReverseDiffusion(LinearSampler):
    """x_s = (2 - a) x + b score + sqrt(b) z: the forward discretization, reversed.

    Song et al. 2021, arXiv:2011.13456, eq. 46 and appendix E, with the forward rule taken to be
    the exact kernel, which is the published one for VP's and VE's levels and carries over to any
    SDE and grid. Weak order 1. With `probability_flow`, (2 - a) x + b score / 2.
    """

    probability_flow: bool = static(default=False)
    order = 1

    @property
    def adds(self) -> bool:  # type: ignore[override]
        return not self.probability_flow

    def rows(self, clock: Clock, levels: Levels) -> list[Row]:
        a, b = clock.transition(levels.t[1:], levels.t[:-1])
        share = 0.5 if self.probability_flow else 1.0
        return [
            Row(
                t.t,
                noise=1.0,
                x=2 - a[k],
                history={k: -share * b[k] / t.sigma},
                z=np.sqrt(b[k]),
            )
            for k, t, _ in steps(levels)
        ]


@pytree
class Ancestral(LinearSampler):
    """x_s = (x + b score) / a + sqrt(v) z,  v = b (sigma_s^2 / sigma_t^2)^(1 - large).

    Ancestral sampling of the Markov chain of levels (Ho et al. 2020, arXiv:2006.11239, alg. 2;
    Song et al. 2021, appendix F), for any SDE. large = 0 takes the posterior variance of x_s given
    x_t and x_0, DDPM's beta-tilde, published for VE and equal to DDIM with eta = 1; large = 1
    takes the kernel's, DDPM's beta, published for VP. Weak order 1.

    With `data_variance` the variance is instead the exact one for data that is N(m, variance I),

        v = b sigma_s^2 / sigma_t^2 + (b alpha_s / sigma_t^2)^2 Var(x_0 | x_t),

    the form of Analytic-DPM (Bao et al. 2022, arXiv:2201.06503, eq. 7).
    """

    large: Number = 0.0
    data_variance: Number = 0.0
    order, adds = 1, True

    def rows(self, clock: Clock, levels: Levels) -> list[Row]:
        a, b = clock.transition(levels.t[1:], levels.t[:-1])
        alpha, sigma = clock.sde_marginal(levels.t)
        ratio = (sigma[1:] / sigma[:-1]) ** 2
        data = float(self.data_variance)
        left = data * sigma[:-1] ** 2 / (alpha[:-1] ** 2 * data + sigma[:-1] ** 2)
        variance = (
            b * ratio ** (1 - float(self.large)) + (b * alpha[1:] / sigma[:-1] ** 2) ** 2 * left
        )
        return [
            Row(
                t.t,
                noise=1.0,
                x=1 / a[k],
                history={k: -b[k] / (a[k] * t.sigma)},
                z=np.sqrt(variance[k]),
            )
            for k, t, _ in steps(levels)
        ]


@pytree
class DDIM(LinearSampler):
    """x_s = alpha_s x_0 + sqrt(sigma_s^2 - v) eps + sqrt(v) z, v = eta^2 sigma_s^2 (1 - r_s^2 / r_t^2).

    Song et al. 2021, arXiv:2010.02502, eq. 12 and 16, for any SDE; r = sigma / alpha. eta = 0 is the
    exact step of the probability flow for constant eps and the first-order member of every family
    here; eta = 1 is ancestral sampling with the posterior variance. Order 1.
    """  # noqa: E501

    eta: Number = 0.0
    order, adds = 1, True

    def rows(self, clock: Clock, levels: Levels) -> list[Row]:
        def row(k: int, t: Levels, s: Levels) -> Row:
            v = (float(self.eta) * s.sigma) ** 2 * -np.expm1(2 * (s.log_ratio - t.log_ratio))
            # x_0 = (x - sigma_t eps) / alpha_t
            gain = s.alpha / t.alpha
            weight = np.sqrt(s.sigma**2 - v) - gain * t.sigma
            return Row(t.t, noise=1.0, x=gain, history={k: weight}, z=np.sqrt(v))

        return [row(*step) for step in steps(levels)]


@pytree
class Accelerated(LinearSampler):
    """xb_s = xb + (r' - r_t)(gamma eps + (1 - gamma) eps') + sqrt(r_s^2 - r'^2) z, xb = x / alpha.

    DDIM as gradient descent on the distance to the data, with momentum (Permenter & Yuan 2024,
    arXiv:2306.04848, algorithm 2): eps' is the previous evaluation's, r = sigma / alpha, and
    r' = (r_s / r_t^mu)^(1 / (1 - mu)). gamma = 1, mu = 0 is DDIM, gamma = 2 the paper's choice and
    gamma = 1.5 second order on the log-SNR grid; mu = 1/2 is ancestral sampling. Order 1.
    """

    gamma: Number = 2.0
    mu: Number = 0.0
    order, adds = 1, True

    def rows(self, clock: Clock, levels: Levels) -> list[Row]:
        gamma, mu = float(self.gamma), float(self.mu)

        def row(k: int, t: Levels, s: Levels) -> Row:
            below = np.exp((s.log_ratio - mu * t.log_ratio) / (1 - mu))
            gap = s.alpha * (below - t.ratio)
            weights = {k: gap * gamma, k - 1: gap * (1 - gamma)} if k else {0: gap}
            # At mu = 0 the two are equal up to round-off.
            z = s.alpha * np.sqrt(np.maximum(s.ratio**2 - below**2, 0.0))
            return Row(t.t, noise=1.0, x=s.alpha / t.alpha, history=weights, z=z)

        return [row(*step) for step in steps(levels)]


@pytree
class Still:
    """Leaves x alone."""

    def init(self, state: State) -> State:
        return state

    def step(self, score: Score, state: State, row: Any) -> State:
        return state


@pytree
class Idle:
    """x_s = x, without an evaluation: a predictor for corrector-only (annealed Langevin) sampling,
    as NCSN does, or a corrector that corrects nothing."""

    order, stochastic = 0, False

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        return Plan(Still(), (), np.arange(len(times) - 1), np.asarray(times), 0)

    def at(self, score: Score, t: Float[Array, " n"], neighbour: Float[Array, " n"]) -> Plan:
        return self.plan(score, jnp.append(t, neighbour[-1]))
