"""Posterior scores without a gradient of the network."""

from __future__ import annotations

from jaxtyping import Array, Float

from sde_lib.base import Number, Time, expand
from sde_lib.condition import Condition
from sde_lib.measurements.base import Measurement
from sde_lib.parametrization import Predicted
from sde_lib.posteriors.base import MeasuredScore
from sde_lib.pytree import pytree
from sde_lib.score import Score


@pytree
class Proximal(MeasuredScore):
    """argmin_x |y - A x|^2 / deviation^2 + weight |x - x_0|^2 / r^2, r = sigma / alpha.

    DiffPIR (Zhu et al. 2023, arXiv:2305.08995, eq. 12a and 13), whose sampler is DDIM. Without
    noise the values that y fixes are replaced, x_0 + A^+ (y - A x_0), and `weight` does nothing
    (DDNM: Wang et al. 2022, arXiv:2212.00490, eq. 13).
    """

    score: Score
    measurement: Measurement
    weight: Number = 10.0

    def unguided(
        self, x: Float[Array, "b *d"], t: Time, condition: Condition = None
    ) -> tuple[Predicted, Float[Array, "b *d"]]:
        """(the wrapped score's predictions, the change of x_0)."""
        measured, found = self.measurement, self.score.predict(x, t, condition)
        alpha, sigma = (expand(c, x) for c in self.marginal(t))
        r2 = (sigma / alpha) ** 2 / self.weight
        u = measured.operator.solve(r2, measured.variance, measured.residual(found.x0), x)
        return found, r2 * measured.operator.transpose(u, x)
