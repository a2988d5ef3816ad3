"""Predictor-corrector sampling (Song et al. 2021, arXiv:2011.13456, alg. 1 to 3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from samplers.base import Corrector, Method, Plan, Program, Sampler, State
from sde_lib import Score
from sde_lib.pytree import pytree, static


@pytree
class Paired(Method):
    """A predictor and a corrector, each with its own history; the corrector acts once per step.

    aligned: every row of the predictor is a whole step.
    """

    predictor: Method
    corrector: Method
    corrector_first: bool = static()
    aligned: bool = static()

    def init(self, state: State) -> State:
        first = self.predictor.init(state)
        second = self.corrector.init(replace(first, history=None))
        return replace(second, history=(first.history, second.history))

    def _predict(self, score: Score, state: State, row: Any) -> State:
        mine, other = state.history
        state = self.predictor.step(score, replace(state, history=mine), row["predictor"])
        return replace(state, history=(state.history, other))

    def _correct(self, score: Score, state: State, row: Any) -> State:
        def correct(state: State) -> State:
            other, mine = state.history
            state = self.corrector.step(score, replace(state, history=mine), row["corrector"])
            return replace(state, history=(other, state.history))

        if self.aligned:
            return correct(state)
        return jax.lax.cond(row["turn"], correct, lambda state: state, state)

    def step(self, score: Score, state: State, row: Any) -> State:
        if self.corrector_first:
            return self._predict(score, self._correct(score, state, row), row)
        return self._correct(score, self._predict(score, state, row), row)

    def finish(self, score: Score, state: State, t: Float[Array, ""]) -> Float[Array, "b *d"]:
        return self.predictor.finish(score, replace(state, history=state.history[0]), t)


@pytree
class PredictorCorrector:
    """One step of each, in either order; any sampler may be the predictor.

    Algorithm 1 predicts x_s and then corrects at s; the published code corrects at t and then
    predicts x_s (`corrector_first`), so that its last sample is never corrected.
    """

    predictor: Sampler
    corrector: Corrector
    corrector_first: bool = static(default=True)

    @property
    def order(self) -> int:
        return self.predictor.order

    @property
    def stochastic(self) -> bool:
        return self.predictor.stochastic or self.corrector.stochastic

    @property
    def adaptive(self) -> bool:
        return self.predictor.adaptive

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        predictor = self.predictor.plan(score, times)
        t, s = predictor.times[:-1], predictor.times[1:]
        at = (t, s) if self.corrector_first else (s, t)
        corrector = self.corrector.at(score, *map(jax.numpy.asarray, at))
        interval = predictor.interval
        border = np.diff(interval) != 0
        turn = np.append(True, border) if self.corrector_first else np.append(border, True)
        rows = {
            "predictor": predictor.program.rows,
            "corrector": jax.tree.map(lambda leaf: leaf[interval], corrector.program.rows),
            "turn": turn,
        }
        methods = predictor.program.method, corrector.program.method
        program = Program(Paired(*methods, self.corrector_first, bool(turn.all())), rows)
        return Plan(
            program, interval, predictor.times, predictor.nfe + corrector.nfe, predictor.at_end
        )
