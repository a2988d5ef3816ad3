"""Ordinary differential equations with error control, each sample of a batch by its own steps.

    dy/dq = field(q, y),   y a pytree of leaves [b, ...], one q per sample.

All samples are evaluated until the last is done. A new integrator is one class and one line in
`INTEGRATORS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import diffrax
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int

from sde_lib import expand
from sde_lib.base import Number
from sde_lib.pytree import pytree, static

Tree = Any
"""A pytree of arrays whose first axis is the batch's."""

FIRST_STEP = 0.01
"""First step of diffrax's solvers, as a fraction of the interval; they adapt it in a few steps."""
FIRST_ADAMS_STEP = 1e-3
"""First step of Adams methods, smaller because a first-order method makes it."""
SMALLEST, LARGEST = 0.3, 3.0
"""Bounds of the ratio of successive step sizes of an Adams method."""


class Field(Protocol):
    """The right-hand side; a pytree, so that it can carry a score through transformations."""

    def __call__(self, q: Float[Array, " b"], y: Tree) -> Tree:
        """dy/dq of every sample."""


@pytree
class Solution:
    """y at the end, NaN if the solver gave up; evaluations [b] of the field."""

    y: Tree
    evaluations: Int[Array, " b"]


class Integrator(Protocol):
    """A solver from start to end, upwards or downwards."""

    @property
    def order(self) -> int: ...

    def __call__(
        self, field: Field, y: Tree, start: Float[Array, ""], end: Float[Array, ""]
    ) -> Solution: ...


@pytree
class Tolerance:
    """Tolerance of a step: its error is within atol + rtol |y|, root mean square over each leaf.

    shared: one error and one step for the whole batch, as published (SciPy's RK45 on one long
    vector); False: for each sample alone, so that sample k does not depend on its batch.
    max_steps: largest number of attempted steps.
    """

    rtol: Number = 1e-5
    atol: Number = 1e-5
    shared: bool = static(default=False)
    max_steps: int = static(default=4096)


def largest_rms(scaled: Tree) -> Float[Array, ""]:
    """The largest of the leaves' root mean squares: small leaves count like large ones."""
    return jnp.max(jnp.stack([jnp.sqrt(jnp.mean(x**2)) for x in jax.tree.leaves(scaled)]))


@custom_vmap
def _slope(field: Field, batch: Float[Array, " b"], q: Float[Array, ""], y: Tree) -> Tree:
    """Slope of one sample; only its shapes are used, since it is only called under vmap."""
    whole = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(batch), *x.shape)), y)
    return jax.tree.map(lambda x: x[0], field(jnp.broadcast_to(q, batch.shape), whole))


@_slope.def_vmap
def _slopes(
    axis_size: int, in_batched: Any, field: Field, batch: Array, q: Array, y: Tree
) -> tuple[Tree, Tree]:
    """Slopes of all samples in one evaluation, as the field has data of each (its class)."""
    del in_batched, batch
    slopes = field(jnp.broadcast_to(q, (axis_size,)), y)
    return slopes, jax.tree.map(lambda _: True, slopes)


RUNGE_KUTTA: dict[str, tuple[Callable[[], Any], int]] = {
    "tsit5": (diffrax.Tsit5, 6),
    "dopri5": (diffrax.Dopri5, 6),
    "dopri8": (diffrax.Dopri8, 13),
    "bosh3": (diffrax.Bosh3, 3),
}
"""Name -> diffrax's solver, and evaluations per step. The last stage of a step is the first of the
next, so that the start takes one evaluation more."""


@pytree
class EmbeddedRungeKutta:
    """One of diffrax's pairs: order 5 (tsit5, dopri5), 8 (dopri8) or 3 (bosh3)."""

    solver: str = static()
    tolerance: Tolerance = Tolerance()

    @property
    def order(self) -> int:
        return RUNGE_KUTTA[self.solver][0]().order(None)

    def __call__(
        self, field: Field, y: Tree, start: Float[Array, ""], end: Float[Array, ""]
    ) -> Solution:
        n = jax.tree.leaves(y)[0].shape[0]
        batch = jnp.zeros(n)
        axes = (None, None, 0, None, None)
        solve = self._solve if self.tolerance.shared else jax.vmap(self._solve, axes)
        y, steps = solve(field, batch, y, start, end)
        cost = RUNGE_KUTTA[self.solver][1] * steps + 1
        return Solution(y, jnp.broadcast_to(cost, (n,)).astype(jnp.int32))

    def _solve(
        self, field: Field, batch: Array, y: Tree, start: Array, end: Array
    ) -> tuple[Tree, Array]:
        """(y at the end, steps attempted) of one sample, or of a shared batch."""
        tolerance = self.tolerance

        def slope(part: Array, y: Tree, args: Any) -> Tree:
            q = (1 - part) * start + part * end
            if tolerance.shared:
                slopes = field(jnp.broadcast_to(q, batch.shape), y)
            else:
                slopes = _slope(field, batch, q, y)
            return jax.tree.map(lambda dy: (end - start) * dy, slopes)

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),  # type: ignore[arg-type]
            RUNGE_KUTTA[self.solver][0](),
            # Numbers, which diffrax checks here; arrays it checks in the program, by a call back
            # into Python that accelerators may not have.
            0.0,
            1.0,
            FIRST_STEP,
            y,
            stepsize_controller=diffrax.PIDController(
                rtol=tolerance.rtol, atol=tolerance.atol, norm=largest_rms
            ),
            max_steps=tolerance.max_steps,
            throw=False,
        )
        done = solution.result == diffrax.RESULTS.successful
        last = jax.tree.map(lambda ys: jnp.where(done, ys[-1], jnp.nan), solution.ys)
        return last, solution.stats["num_steps"]


StepMoments = tuple[Array, Array, Array, Array]
"""The weight of the old y after a step, and the integrals of the weight times 1, tau and tau^2."""


def plain_moments(h: Float[Array, " b"]) -> StepMoments:
    """Moments of dy/dq = N: the weight of y is 1, and the integrals over [0, h] have weight 1."""
    return jnp.ones_like(h), h, h**2 / 2, h**3 / 3


def decaying_moments(h: Float[Array, " b"]) -> StepMoments:
    """Moments of dy/dq = N - y: the weight of y is e^-h, and that of the integrals e^(tau - h)."""
    zeroth = -jnp.expm1(-h)
    first = h - zeroth
    return jnp.exp(-h), zeroth, first, h**2 - 2 * first


@pytree
class AdamsRun:
    """Solver state: y(q), the last two values of N, the last and next step sizes, attempts.

    The last step size is 0 before the first step. arrived: whether q is the end, which is noted
    because XLA may compute the end anew where it is compared, with another last bit.
    """

    y: Tree
    q: Float[Array, " b"]
    new: Tree
    old: Tree
    before: Float[Array, " b"]
    h: Float[Array, " b"]
    tries: Int[Array, " b"]
    arrived: Bool[Array, " b"]


def adams(
    field: Field,
    y: Tree,
    q: Float[Array, " b"],
    end: Float[Array, " b"],
    h: Float[Array, " b"],
    *,
    moments: Callable[[Array], StepMoments],
    error: Callable[[Tree, Tree, Array], Float[Array, " b"]],
    max_tries: int | Int[Array, ""],
) -> AdamsRun:
    """Adams-Bashforth-Moulton of orders 2 and 3, one evaluation per attempted step.

    The prediction extrapolates a line through N_0 at q and N_1 a step before; the correction uses a
    parabola through both and N_2, evaluated at the prediction. The correction is the error estimate
    and N_2 serves the next step, so that neither takes an evaluation more (Hairer, Norsett & Wanner
    1993, section III.5). A step of size h is taken if error(correction, corrected y, q) <= 1; the
    next is 0.9 h error^(-1/3), by a factor of 0.3 to 3. Ends when q = end, or after max_tries.
    """

    def going(run: AdamsRun) -> Bool[Array, " b"]:
        return ~run.arrived & (run.tries < max_tries)

    def attempt(run: AdamsRun) -> AdamsRun:
        active = going(run)
        last = jnp.abs(run.h) >= jnp.abs(end - run.q)
        q = jnp.where(active & ~last, run.q + run.h, end)
        h = jnp.where(active, q - run.q, run.h)
        predicted, corrected, found = _adams_step(field, run, h, q, moments)
        change = jax.tree.map(jnp.subtract, corrected, predicted)
        size = error(change, corrected, q)
        accept = active & (size <= 1)
        factor = jnp.clip(0.9 * jnp.maximum(size, 1e-9) ** (-1 / 3), SMALLEST, LARGEST)
        # A size that is not a number shrinks the step, as a large one does.
        factor = jnp.where(jnp.isnan(factor), SMALLEST, factor)
        choose = lambda a, b: jax.tree.map(lambda x, y: jnp.where(expand(accept, x), x, y), a, b)
        return AdamsRun(
            choose(corrected, run.y),
            jnp.where(accept, q, run.q),
            choose(found, run.new),
            choose(run.new, run.old),
            jnp.where(accept, h, run.before),
            jnp.where(active, factor * h, run.h),
            run.tries + active.astype(jnp.int32),
            run.arrived | (accept & last),
        )

    first, none = field(q, y), jnp.zeros(q.shape, jnp.int32)
    begin = AdamsRun(y, q, first, first, jnp.zeros_like(q), h, none, arrived=q == end)
    done: AdamsRun = jax.lax.while_loop(lambda run: jnp.any(going(run)), attempt, begin)
    y = jax.tree.map(lambda x: jnp.where(expand(done.arrived, x), x, jnp.nan), done.y)
    return replace(done, y=y)


def _adams_step(
    field: Field, run: AdamsRun, h: Array, q: Array, moments: Callable[[Array], StepMoments]
) -> tuple[Tree, Tree, Tree]:
    """(prediction, correction, N at the prediction), all at q = run.q + h."""
    known = run.before != 0
    back = 1 / jnp.where(known, run.before, 1.0)
    kept, zeroth, first, second = moments(h)

    def slope_before(new: Array, old: Array) -> Array:
        return jnp.where(expand(known, new), (new - old) * expand(back, new), 0.0)

    def predict(y: Array, new: Array, before: Array) -> Array:
        like = lambda c: expand(c, y)
        return like(kept) * y + like(zeroth) * new + like(first) * before

    def correct(y: Array, new: Array, before: Array, found: Array) -> Array:
        like = lambda c: expand(c, y)
        ahead = (found - new) / like(h)
        bend = jnp.where(like(known), (ahead - before) / like(h + run.before), 0.0)
        straight = like(kept) * y + like(zeroth) * new + like(first) * ahead
        return straight + like(second - h * first) * bend

    before = jax.tree.map(slope_before, run.new, run.old)
    predicted = jax.tree.map(predict, run.y, run.new, before)
    found = field(q, predicted)
    return predicted, jax.tree.map(correct, run.y, run.new, before, found), found


@pytree
class AdaptiveAdamsPair:
    """`adams` without decay: order 3.

    If the field is rough in q, as networks with fast time embeddings are, short steps of one
    evaluation resolve more than a Runge-Kutta step with many.
    """

    tolerance: Tolerance = Tolerance()
    order = 3

    def __call__(
        self, field: Field, y: Tree, start: Float[Array, ""], end: Float[Array, ""]
    ) -> Solution:
        n = jax.tree.leaves(y)[0].shape[0]
        q, stop = jnp.broadcast_to(start, (n,)), jnp.broadcast_to(end, (n,))
        h = (stop - q) * FIRST_ADAMS_STEP
        run = adams(
            field, y, q, stop, h,
            moments=plain_moments, error=self._error, max_tries=self.tolerance.max_steps,
        )  # fmt: skip
        return Solution(run.y, run.tries + 1)

    def _error(self, change: Tree, y: Tree, q: Array) -> Float[Array, " b"]:
        tolerance = self.tolerance
        scale = lambda c, y: c / (tolerance.atol + tolerance.rtol * jnp.abs(y))
        scaled = jax.tree.map(scale, change, y)
        if tolerance.shared:
            return jnp.broadcast_to(largest_rms(scaled), q.shape)
        return jax.vmap(largest_rms)(scaled)


INTEGRATORS: dict[str, Callable[[Tolerance], Integrator]] = {
    "tsit5": lambda tolerance: EmbeddedRungeKutta("tsit5", tolerance),
    "dopri5": lambda tolerance: EmbeddedRungeKutta("dopri5", tolerance),
    "dopri8": lambda tolerance: EmbeddedRungeKutta("dopri8", tolerance),
    "bosh3": lambda tolerance: EmbeddedRungeKutta("bosh3", tolerance),
    "adams": AdaptiveAdamsPair,
}
