"""Predictor-corrector sampling (Song et al. 2021, arXiv:2011.13456, alg. 1 to 3)."""

from __future__ import annotations

from samplers.base import Sampler, State
from sde_lib import Score
from sde_lib.base import Time
from sde_lib.pytree import pytree, static


@pytree
class PredictorCorrector:
    """One step of each, in either order.

    Algorithm 1 predicts x_s and then corrects at s; the published code corrects at t and then
    predicts x_s (`corrector_first`), so that its last sample is never corrected.
    """

    predictor: Sampler
    corrector: Sampler
    corrector_first: bool = static(default=True)

    @property
    def order(self) -> int:
        return self.predictor.order

    @property
    def evaluations(self) -> int:
        return self.predictor.evaluations + self.corrector.evaluations

    @property
    def stochastic(self) -> bool:
        return self.predictor.stochastic or self.corrector.stochastic

    def init(self, state: State) -> State:
        return self.corrector.init(self.predictor.init(state))

    def step(self, score: Score, state: State, t: Time, s: Time) -> State:
        if self.corrector_first:
            state = self.corrector.step(score, state, t, s)
            return self.predictor.step(score, state, t, s)
        state = self.predictor.step(score, state, t, s)
        return self.corrector.step(score, state, s, t)
