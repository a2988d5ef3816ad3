"""Guidance that fades in: none at the first, noisiest time, all of it at the last."""

from jaxtyping import Array, Float

from sde_lib.base import Number, Time, expand
from sde_lib.condition import null_of
from sde_lib.parametrization import Predicted
from sde_lib.pytree import pytree
from sde_lib.score import Condition, Score, Wrapped


@pytree
class Fading(Wrapped):
    """Classifier-free guidance of weight 1 + (weight - 1) (1 - t / T)."""

    score: Score
    condition: Condition
    weight: Number

    @property
    def evaluations(self) -> int:
        return 2 * self.score.evaluations

    def predict(self, x: Float[Array, "b *d"], t: Time, condition: Condition = None) -> Predicted:
        more = expand((self.weight - 1) * (1 - t / self.sde.T), x)
        told = self.score.predict(x, t, self.condition)
        untold = self.score.predict(x, t, null_of(self.condition))
        x0, noise = (a + more * (a - b) for a, b in zip(told[:2], untold[:2], strict=True))
        return Predicted(x0, noise, told.fraction)
