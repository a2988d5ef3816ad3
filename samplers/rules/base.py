"""A rule around the steps of any sampler.

A rule is one class with a method `step`: it is given the state at t, the step it is in, and
`advance(score, state)`, the sampler's own step from t to s. What it does to the result without
noise is `finish`. The methods that use rules are in the table of `samplers.rules.named`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from samplers.base import Corrector, Method, Plan, Program, Sampler, State
from samplers.pc import PredictorCorrector
from sde_lib import Score
from sde_lib.base import Time
from sde_lib.condition import Condition
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree
from sde_lib.score import Wrapped

Advance = Callable[[Score, State], State]
"""The step of a sampler."""
ASIDE = 2**32 - 1
"""Number folded into a sample's key for the draws of rules, unlike any count of draws."""
LAST = 2**31 - 1
"""Number of the turn after the last step."""


class Turn(NamedTuple):
    """The step from t to s that a rule is in. number: unlike that of any other step of the run;
    first: whether it is the first."""

    t: Time
    s: Time
    number: Int[Array, ""]
    first: Bool[Array, ""]


def aside(
    state: State, turn: Int[Array, ""] | int, shape: tuple[int, ...] | None = None
) -> Float[Array, "b *_"]:
    """Standard normal noise of a turn, which no draw of the sampler knows or depends on.

    shape: of one sample's, that of x if None.
    """
    shape = state.x.shape[1:] if shape is None else shape

    def draw(key: Array) -> Array:
        own = jax.random.fold_in(jax.random.fold_in(key, ASIDE), turn)
        return jax.random.normal(own, shape, state.x.dtype)

    return jax.vmap(draw)(state.keys)


class StepRule(abc.ABC):
    """A change of every step from t to s. Holds no state.

    single: whether each step of the sampler must be one evaluation at x_t. evaluations: those of a
    step of a sampler with one evaluation, backward passes included.
    """

    single = False
    evaluations = 1

    @abc.abstractmethod
    def step(self, score: Score, state: State, turn: Turn, advance: Advance) -> State:
        """The state at s."""

    def finish(self, score: Score, state: State, t: Time) -> Float[Array, "b *d"]:
        """The sample without noise, of the state at the last time t."""
        return score.denoise(state.x, t)


@pytree
class Known(Wrapped):
    """A score at x_t whose prediction there was evaluated before."""

    score: Score
    found: Predicted

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        """The prediction that is known."""
        return self.found


@pytree
class Ruled(Method):
    """A method, whose rows [k] make one step together, and a rule around the steps."""

    method: Method
    rule: StepRule

    def init(self, state: State) -> State:
        return self.method.init(state)

    def step(self, score: Score, state: State, row: Any) -> State:
        def advance(score: Score, state: State) -> State:
            one = lambda state, row: (self.method.step(score, state, row), None)
            state = jax.lax.scan(one, state, row["method"])[0]
            # Compiled into one with the rule, the step would be rounded in another way than alone.
            return replace(state, x=jax.lax.optimization_barrier(state.x))

        turn = Turn(row["t"], row["s"], row["number"], row["first"])
        return self.rule.step(score, state, turn, advance)

    def finish(self, score: Score, state: State, t: Time) -> Float[Array, "b *d"]:
        return self.rule.finish(score, state, t)


def _by_step(plan: Plan) -> Any:
    """The rows of a plan as [steps, k, ...]; ValueError if steps have different numbers of them."""
    counts = np.bincount(plan.interval, minlength=plan.steps)
    if counts.min() != counts.max():
        raise ValueError(
            "inverse.method changes every step in the same way, and those of this sampler have "
            "different numbers of evaluations: choose another sampling.predictor, such as ddim, "
            "heun or ancestral"
        )
    shape = (plan.steps, int(counts[0]))
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(*shape, *leaf.shape[1:]),
                        plan.program.rows)  # fmt: skip


def _around(plan: Plan, rule: StepRule, t: Any, s: Any, parity: int) -> Plan:
    """A plan with a rule around each of its steps; numbers of turns are even or odd."""
    if rule.single and plan.nfe != plan.steps:
        raise ValueError(
            "inverse.method uses the one evaluation of each step, and the steps of this sampler "
            "have none or several: choose sampling.predictor=ddim or ancestral, without a corrector"
        )
    n = plan.steps
    rows = {
        "method": _by_step(plan), "t": t, "s": s,
        "number": 2 * np.arange(n, dtype=np.int32) + parity, "first": np.arange(n) == 0,
    }  # fmt: skip
    cost = plan.nfe + n * (rule.evaluations - 1)
    program = Program(Ruled(plan.program.method, rule), rows)
    return Plan(program, np.arange(n), plan.times, cost, rule.evaluations)


@pytree
class WithRule:
    """A sampler whose every step follows a rule."""

    sampler: Sampler
    rule: StepRule

    @property
    def order(self) -> int:
        return self.sampler.order

    @property
    def stochastic(self) -> bool:
        return self.sampler.stochastic

    @property
    def adaptive(self) -> bool:
        return self.sampler.adaptive

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        """The sampler's plan with the rule around each step.

        Raises ValueError for a sampler whose steps the rule cannot change.
        """
        if self.sampler.adaptive:
            raise ValueError(
                "inverse.method changes every step, and this sampler chooses its own steps: choose "
                "another sampling.predictor, such as ddim, heun or ancestral"
            )
        plan = self.sampler.plan(score, times)
        at = np.asarray(plan.times, times.dtype)
        return _around(plan, self.rule, at[:-1], at[1:], 0)


@pytree
class CorrectorWithRule:
    """A corrector whose every move at a time follows a rule."""

    corrector: Corrector
    rule: StepRule
    order, stochastic, adaptive = 0, True, False

    def at(self, score: Score, t: Float[Array, " n"], neighbour: Float[Array, " n"]) -> Plan:
        """The corrector's plan with the rule around each time."""
        plan, at = self.corrector.at(score, t, neighbour), np.asarray(t)
        return _around(plan, self.rule, at, at, 1)

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        """The corrector at the start of each step."""
        return self.at(score, times[:-1], times[1:])


def with_rule(sampler: Sampler, rule: StepRule) -> Sampler:
    """The sampler with a rule around each step, and around each correction if there are any."""
    if isinstance(sampler, PredictorCorrector):
        return replace(
            sampler,
            predictor=WithRule(sampler.predictor, rule),
            corrector=CorrectorWithRule(sampler.corrector, rule),
        )
    return WithRule(sampler, rule)
