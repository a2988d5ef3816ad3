"""First-order predictors: one evaluation, one step of the reverse-time process from t to s < t.

Notation: a and b are those of the exact forward kernel x_t | x_s ~ N(a x_s, b I)
(`SDE.transition`); on DDPM's levels a^2 = 1 - beta_i and b = beta_i, on NCSN's a = 1 and
b = sigma_i^2 - sigma_{i-1}^2. z ~ N(0, I). With `probability_flow` a predictor integrates the
ODE with the same marginals: half the score, no noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from samplers.base import Last, Method, Plan, State
from samplers.planned.levels import Levels, Schedule, landing, steps
from samplers.planned.linear import LinearSampler, Row
from samplers.planned.one_step import OneStep, Step, unrolled
from sde_lib import Score
from sde_lib.base import Number
from sde_lib.pytree import pytree, static


@pytree
class EulerMaruyama(OneStep):
    """x_s = x - (f x - g^2 score) h + g sqrt(h) z,  h = t - s, coefficients at t.

    Song et al. 2021, arXiv:2011.13456, appendix G. Weak order 1. With `probability_flow`, Euler's
    method on the flow: x_s = x - (f x - g^2 score / 2) h.
    """

    probability_flow: bool = static(default=False)
    order = 1

    @property
    def stochastic(self) -> bool:
        return not self.probability_flow

    def step(self, schedule: Schedule, t: Levels, s: Levels) -> Step:
        h, (f, g) = t.t - s.t, schedule.drift_and_diffusion(t.t)
        if self.probability_flow:
            return Step(x=1 - f * h, eps=-(g**2) / 2 / t.sigma * h)
        return Step(x=1 - f * h, eps=-(g**2) / t.sigma * h, z=g * np.sqrt(h))


@pytree
class ReverseDiffusion(OneStep):
    """x_s = (2 - a) x + b score + sqrt(b) z: the forward discretization, reversed.

    Song et al. 2021, arXiv:2011.13456, eq. 46 and appendix E. The forward discretization is the
    exact kernel, which on VP's and VE's levels is the published one, and which exists for any SDE
    and grid. Weak order 1. With `probability_flow`, (2 - a) x + b score / 2.
    """

    probability_flow: bool = static(default=False)
    order = 1

    @property
    def stochastic(self) -> bool:
        return not self.probability_flow

    def step(self, schedule: Schedule, t: Levels, s: Levels) -> Step:
        a, b = schedule.transition(s.t, t.t)
        if self.probability_flow:
            return Step(x=2 - a, eps=-b / 2 / t.sigma)
        return Step(x=2 - a, eps=-b / t.sigma, z=np.sqrt(b))


@pytree
class Ancestral(OneStep):
    """x_s = (b alpha_s x_0 + a sigma_s^2 x) / sigma_t^2 + sqrt(v) z,
    v = b (sigma_s^2 / sigma_t^2)^(1 - large).

    Ancestral sampling of the Markov chain of levels (Ho et al. 2020, arXiv:2006.11239, eq. 7 and
    alg. 2, where the mean is (x + b score) / a; Song et al. 2021, appendix F), for any SDE.
    large = 0 is the posterior variance of x_s given x_t and x_0, DDPM's beta-tilde, published for
    VE and equal to DDIM with eta = 1; large = 1 is the kernel's variance, DDPM's beta, published
    for VP. With `learned` it is the fraction that the network says, number by number (Nichol &
    Dhariwal 2021, arXiv:2102.09672, eq. 15). Weak order 1.

    With `data_variance` the variance is instead the exact one for data of law N(m, variance I),

        v = b sigma_s^2 / sigma_t^2 + (b alpha_s / sigma_t^2)^2 Var(x_0 | x_t),

    the form of Analytic-DPM (Bao et al. 2022, arXiv:2201.06503, eq. 7).

    The last step, to x_0, has the posterior variance 0. In its place a learned variance has that of
    the step before, and large = 1 has it in place of the kernel's, as published.
    """

    large: Number = 0.0
    data_variance: Number = 0.0
    learned: bool = static(default=False)
    order, stochastic = 1, True

    def step(self, schedule: Schedule, t: Levels, s: Levels) -> Step:
        a, b = schedule.transition(s.t, t.t)
        high, low = schedule.unrounded(t.t), schedule.unrounded(s.t)
        if self.learned and not schedule.score.says_variance:
            raise ValueError(
                "sampling.ancestral_variance='learned' needs a network that says a variance "
                "(model.learn_variance=True): use posterior or kernel"
            )
        large, data = float(self.large), float(self.data_variance)
        of_x0 = data * high.sigma**2 / (high.alpha**2 * data + high.sigma**2)
        v = b * ((low.sigma / high.sigma) ** 2) ** (1 - large)
        v += (b * low.alpha / high.sigma**2) ** 2 * of_x0
        spread = np.log(high.sigma / low.sigma) if self.learned else None
        return Step(
            x=a * (low.sigma / high.sigma) ** 2,
            x0=b * low.alpha / high.sigma**2,
            z=np.sqrt(v),
            spread=spread,
        )

    def last(self, schedule: Schedule, levels: Levels) -> Last:
        if not self.learned and float(self.large) < 1:
            return Last(0.0)
        high, low = schedule.unrounded(levels.t[-2]), schedule.unrounded(levels.t[-1])
        b = schedule.transition(low.t, high.t)[1]
        spread = np.log(high.sigma**2 / b) / 2 if self.learned else 0.0
        return Last(b * (low.sigma / high.sigma) ** 2, spread)


@pytree
class DDIM(OneStep):
    """x_s = alpha_s x_0 + sqrt(sigma_s^2 - v) eps + sqrt(v) z, v = eta^2 sigma_s^2 (1 - r_s^2 / r_t^2).

    Song et al. 2021, arXiv:2010.02502, eq. 12 and 16, for any SDE; r = sigma / alpha. eta = 0 is the
    exact step of the probability flow for constant eps and the first-order member of every family
    here; eta = 1 is ancestral sampling with the posterior variance. Order 1.

    even: whether steps land as in `landing`, and not at the next level.
    """  # noqa: E501

    eta: Number = 0.0
    even: bool = static(default=False)
    order, stochastic, by_levels = 1, True, True

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        s = landing(schedule, levels) if self.even else levels[1:]
        return unrolled(self.stages(schedule, levels[:-1], s), len(levels) - 1)

    def step(self, schedule: Schedule, t: Levels, s: Levels) -> Step:
        v = (float(self.eta) * s.sigma) ** 2 * -np.expm1(2 * (s.log_ratio - t.log_ratio))
        return Step(x0=s.alpha, eps=np.sqrt(s.sigma**2 - v), z=np.sqrt(v))


@pytree
class Consistency(OneStep):
    """x_s = alpha_s f(x_t) + sigma_s z, f = c_out x_0 + c_skip x: multistep consistency sampling.

    Song et al. 2023, arXiv:2303.01469, algorithm 1, as latent consistency models have it (Luo et
    al. 2023, arXiv:2310.04378): c_skip = 1 / (4 u^2 + 1), c_out = 2 u / sqrt(4 u^2 + 1), with
    u = scaling times the level's number (of 1000 in a continuous model). Not a solver: of no
    order, it is right for a network whose x_0 is a sample.
    """

    scaling: Number = 10.0
    order, stochastic, by_levels = 0, True, True

    def step(self, schedule: Schedule, t: Levels, s: Levels) -> Step:
        u = 2 * float(self.scaling) * schedule.out_of_1000(t)
        skip, out = 1 / (u**2 + 1), u / np.sqrt(u**2 + 1)
        return Step(x=s.alpha * skip, x0=s.alpha * out, z=s.sigma)


@pytree
class TrajectoryConsistency(OneStep):
    """DDIM's step to time (1 - eta) s below s, and the forward kernel's noise up to s.

    Strategic stochastic sampling of trajectory consistency models (Zheng et al. 2024,
    arXiv:2402.19159, algorithm 4), of a discrete model at a whole level. eta = 0 is DDIM. Order 1
    for that, and none above.
    """

    eta: Number = 0.3
    stochastic, by_levels = True, True

    @property
    def order(self) -> int:
        return 0 if float(self.eta) else 1

    def step(self, schedule: Schedule, t: Levels, s: Levels) -> Step:
        below = schedule.shrunk(s, 1 - float(self.eta))
        up = s.alpha / below.alpha
        noise = np.sqrt(np.maximum(s.sigma**2 - (up * below.sigma) ** 2, 0.0))
        return Step(x0=s.alpha, eps=up * below.sigma, z=noise)


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
    order, stochastic = 1, True

    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        gamma, mu = float(self.gamma), float(self.mu)

        def row(k: int, t: Levels, s: Levels) -> Row:
            below = np.exp((s.log_ratio - mu * t.log_ratio) / (1 - mu))
            gap = s.alpha * (below - t.ratio)
            eps = {k: gap * gamma, k - 1: gap * (1 - gamma)} if k else {0: gap}
            # At mu = 0 the two are equal up to round-off.
            z = s.alpha * np.sqrt(np.maximum(s.ratio**2 - below**2, 0.0))
            return Row(t.t, eps=1.0, x=s.alpha / t.alpha, f=eps, z={k: z})

        return [row(*step) for step in steps(levels)]


@pytree
class Still(Method):
    """A method that leaves x unchanged."""

    def step(self, score: Score, state: State, row: Any) -> State:
        return state


@pytree
class Idle:
    """x_s = x, without an evaluation: a predictor for corrector-only (annealed Langevin) sampling,
    as NCSN does, or a corrector that corrects nothing."""

    order, stochastic, adaptive = 0, False, False

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        return self.at(score, times[:-1], times[1:])

    def at(self, score: Score, t: Float[Array, " n"], neighbour: Float[Array, " n"]) -> Plan:
        return Plan.of_steps(Still(), t, neighbour)
