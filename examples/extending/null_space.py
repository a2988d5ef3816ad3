"""The network's prediction, of what a measurement leaves open alone."""

from jaxtyping import Array, Float

from sde_lib.base import Time
from sde_lib.measurements.base import Measurement
from sde_lib.parametrization import Predicted
from sde_lib.posteriors.base import MeasuredScore
from sde_lib.pytree import pytree
from sde_lib.score import Condition, Score


@pytree
class NullSpace(MeasuredScore):
    """x_0 + A^+ (y - A x_0) (DDNM: Wang et al. 2022, arXiv:2212.00490, eq. 13)."""

    score: Score
    measurement: Measurement

    def unguided(
        self, x: Float[Array, "b *d"], t: Time, condition: Condition = None
    ) -> tuple[Predicted, Float[Array, "b *d"]]:
        found = self.score.predict(x, t, condition)
        known = self.measurement.operator.replaced(found.x0, self.measurement.y)
        return found, known - found.x0
