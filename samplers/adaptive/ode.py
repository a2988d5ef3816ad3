"""The probability flow by adaptive solvers, entirely on the device.

It is solved in one of three clocks, each with a suitable scaling of x (`samplers.planned.forms`):

    clock       q                    y                      dy/dq
    time        t                    x                      f(x, t) - g(t)^2 score / 2
    sigma       r = sigma / alpha    x / alpha              eps
    log_snr     log(1 / r)           x / |(alpha, sigma)|   (sin a x_0 - cos a eps) / (2 cosh q)

with a = atan r. In the log-SNR the flow is about equally hard everywhere, so that a step size found
in one place suits the next; in t most of the steps go into the last percent.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, Float

from samplers.adaptive.integrate import INTEGRATORS, Integrator, Tolerance
from samplers.base import Method, Plan, State
from sde_lib import SDE, Score, expand
from sde_lib.base import Number, Time
from sde_lib.pytree import pytree, static


class FlowClock(abc.ABC):
    """A clock of the module's docstring. Holds no state."""

    @abc.abstractmethod
    def coordinate(self, sde: SDE, t: Time) -> Time:
        """q at t."""

    @abc.abstractmethod
    def time(self, sde: SDE, q: Time) -> Time:
        """t at q."""

    @abc.abstractmethod
    def scale(self, sde: SDE, t: Time) -> Time:
        """y / x at t."""

    @abc.abstractmethod
    def slope(self, score: Score, x: Float[Array, "b *d"], t: Time) -> Float[Array, "b *d"]:
        """dy/dq at x_t."""


@pytree
class InTime(FlowClock):
    """q = t, y = x: the published form."""

    def coordinate(self, sde: SDE, t: Time) -> Time:
        return t

    def time(self, sde: SDE, q: Time) -> Time:
        return q

    def scale(self, sde: SDE, t: Time) -> Time:
        return jnp.ones_like(t)

    def slope(self, score: Score, x: Float[Array, "b *d"], t: Time) -> Float[Array, "b *d"]:
        return score.velocity(x, t)


@pytree
class InSigma(FlowClock):
    """q = sigma / alpha, y = x / alpha."""

    def coordinate(self, sde: SDE, t: Time) -> Time:
        return jnp.exp(-sde.log_snr(t) / 2)

    def time(self, sde: SDE, q: Time) -> Time:
        return sde.time_of_log_snr(-2 * jnp.log(q))

    def scale(self, sde: SDE, t: Time) -> Time:
        return 1 / sde.alpha(t)

    def slope(self, score: Score, x: Float[Array, "b *d"], t: Time) -> Float[Array, "b *d"]:
        return score.noise(x, t)


@pytree
class InLogSNR(FlowClock):
    """q = half the log-SNR, y = x / sqrt(alpha^2 + sigma^2)."""

    def coordinate(self, sde: SDE, t: Time) -> Time:
        return sde.log_snr(t) / 2

    def time(self, sde: SDE, q: Time) -> Time:
        return sde.time_of_log_snr(2 * q)

    def scale(self, sde: SDE, t: Time) -> Time:
        return 1 / jnp.hypot(*sde.marginal(t))

    def slope(self, score: Score, x: Float[Array, "b *d"], t: Time) -> Float[Array, "b *d"]:
        q = self.coordinate(score.sde, t)
        angle, weight = jnp.arctan(jnp.exp(-q)), 1 / (2 * jnp.cosh(q))
        x0, eps, *_ = score.predict(x, t)
        return expand(weight * jnp.sin(angle), x) * x0 - expand(weight * jnp.cos(angle), x) * eps


CLOCKS: dict[str, Callable[[], FlowClock]] = {
    "time": InTime,
    "sigma": InSigma,
    "log_snr": InLogSNR,
}


@pytree
class FlowField:
    """dy/dq of the probability flow, a field for `samplers.adaptive.integrate`."""

    clock: FlowClock
    score: Score

    def __call__(self, q: Float[Array, " b"], y: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        t = self.clock.time(self.score.sde, q)
        return self.clock.slope(self.score, y / expand(self.clock.scale(self.score.sde, t), y), t)


@pytree
class AdaptiveODE(Method):
    """The probability flow with error control (Song et al. 2021, arXiv:2011.13456, section 4.3).

    Each sample has its own steps, or with `shared` the steps of the batch (`Tolerance`).
    `Samples.evaluations` counts the evaluations that a sample needed itself.

    `solver` is one of `samplers.adaptive.integrate.INTEGRATORS`, which sets the order. The times of
    the grid are only points at which to stop on the way, for a corrector or a frame; usually the
    grid is one step from T to the end. `max_steps` bounds the solver's steps between two times of
    the grid; a run that would need more gives NaN.
    """

    rtol: Number = 1e-5
    atol: Number = 1e-5
    solver: str = static(default="dopri5")
    clock: FlowClock = InLogSNR()
    shared: bool = static(default=False)
    max_steps: int = static(default=4096)
    stochastic, adaptive = False, True

    @property
    def _integrator(self) -> Integrator:
        tolerance = Tolerance(self.rtol, self.atol, self.shared, self.max_steps)
        return INTEGRATORS[self.solver](tolerance)

    @property
    def order(self) -> int:
        return self._integrator.order

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        return Plan.of_steps(self, times[:-1], times[1:])

    def step(self, score: Score, state: State, row: dict[str, Time]) -> State:
        sde, clock = score.sde, self.clock
        t, s = row["t"], row["s"]
        start, end = clock.coordinate(sde, t), clock.coordinate(sde, s)
        y = state.x * clock.scale(sde, t)
        solved = self._integrator(FlowField(clock, score), y, start, end)
        evaluations = state.evaluations + solved.evaluations
        return replace(state, x=solved.y / clock.scale(sde, s), evaluations=evaluations)
