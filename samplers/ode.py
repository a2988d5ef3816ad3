"""The probability flow by adaptive solvers of diffrax, wholly on the device.

Solved in one of three clocks, each with the scaling of x that suits it (`samplers.forms`):

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
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from samplers.base import Plan, State
from sde_lib import SDE, Score, expand
from sde_lib.base import Number, Time
from sde_lib.pytree import pytree, static

FIRST_STEP = 0.01
"""As a part of the interval; the controller finds the right one in a step or two."""


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
        x0, eps = score.predict(x, t)
        return expand(weight * jnp.sin(angle), x) * x0 - expand(weight * jnp.cos(angle), x) * eps


CLOCKS: dict[str, Callable[[], FlowClock]] = {
    "time": InTime,
    "sigma": InSigma,
    "log_snr": InLogSNR,
}
SOLVERS: dict[str, tuple[Callable[[], Any], int]] = {
    "tsit5": (diffrax.Tsit5, 6),
    "dopri5": (diffrax.Dopri5, 6),
    "dopri8": (diffrax.Dopri8, 13),
    "bosh3": (diffrax.Bosh3, 3),
}
"""Name -> diffrax's solver, and evaluations per step (one more at the start: the last stage of a
step is the first of the next)."""


@custom_vmap
def _slope(
    clock: FlowClock, score: Score, batch: Float[Array, " b"], x: Float[Array, " *d"], t: Time
) -> Float[Array, " *d"]:
    """Of one sample; only its shapes are ever used, since it is only called under vmap."""
    return clock.slope(score, jnp.broadcast_to(x, (len(batch), *x.shape)), t)[0]


@_slope.def_vmap
def _slopes(
    axis_size: int, in_batched: Any, clock: FlowClock, score: Score, batch: Array, x: Array, t: Time
) -> tuple[Array, bool]:
    """All samples in one evaluation, so that what the score knows of each (its class) is kept."""
    del in_batched, batch
    return clock.slope(score, x, jnp.broadcast_to(t, (axis_size,))), True


@pytree
class AdaptiveODE:
    """The probability flow with error control (Song et al. 2021, arXiv:2011.13456, section 4.3).

    A step is accepted where the embedded estimate of its error is within
    atol + rtol |y| (root mean square over a sample's numbers). With `shared` all samples of a
    batch take the same steps, by the error over the whole batch, as published (SciPy's RK45 on
    one long vector); else each its own, so that sample k does not depend on its batch. Evaluations
    are made for all samples at once until the last is done; `Samples.evaluations` counts those that
    a sample needed.

    Order 5 (tsit5, dopri5), 8 (dopri8) or 3 (bosh3), of steps that it chooses itself. The grid only
    says where to stop on the way, for a corrector or a frame: one step of it, from T to the end,
    is the rule. `max_steps` bounds the solver's steps between two times of the grid; a run that
    would need more gives NaN.
    """

    rtol: Number = 1e-5
    atol: Number = 1e-5
    solver: str = static(default="dopri5")
    clock: FlowClock = InLogSNR()
    shared: bool = static(default=False)
    max_steps: int = static(default=4096)
    stochastic = False

    @property
    def order(self) -> int:
        return SOLVERS[self.solver][0]().order(None)

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        rows = {"t": times[:-1], "s": times[1:]}
        return Plan(self, rows, np.arange(len(times) - 1), np.asarray(times), 0)

    def init(self, state: State) -> State:
        """The history is the size of each sample's next step, as a part of what is left."""
        n = () if self.shared else state.x.shape[:1]
        return replace(state, history=jnp.full(n, FIRST_STEP, state.x.dtype))

    def step(self, score: Score, state: State, row: dict[str, Time]) -> State:
        sde, clock = score.sde, self.clock
        t, s = row["t"], row["s"]
        start, end = clock.coordinate(sde, t), clock.coordinate(sde, s)
        y = state.x * clock.scale(sde, t)
        batch = jnp.zeros(y.shape[0])
        axes = (None, None, 0, None, None, 0)
        solve = self._solve if self.shared else jax.vmap(self._solve, axes)
        y, steps, part = solve(score, batch, y, start, end, state.history)
        cost = SOLVERS[self.solver][1] * steps + 1
        evaluations = state.evaluations + jnp.broadcast_to(cost, state.evaluations.shape)
        return replace(state, x=y / clock.scale(sde, s), evaluations=evaluations, history=part)

    def _solve(
        self, score: Score, batch: Array, y: Array, start: Array, end: Array, part: Array
    ) -> tuple[Array, Array, Array]:
        """(y at the end, steps tried, the next first step) of one sample, or of a shared batch."""

        def field(q: Array, y: Array, args: Any) -> Array:
            t = self.clock.time(score.sde, q)
            x = y / self.clock.scale(score.sde, t)
            if self.shared:
                return self.clock.slope(score, x, t)
            return _slope(self.clock, score, batch, x, t)

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),  # type: ignore[arg-type]
            SOLVERS[self.solver][0](),
            start,
            end,
            (end - start) * part,
            y,
            stepsize_controller=diffrax.PIDController(rtol=self.rtol, atol=self.atol),
            max_steps=self.max_steps,
            throw=False,
        )
        assert solution.ys is not None
        done = solution.result == diffrax.RESULTS.successful
        y = jnp.where(done, solution.ys[-1], jnp.nan)
        steps = solution.stats["num_steps"]
        return y, steps, jnp.asarray(FIRST_STEP, y.dtype)
