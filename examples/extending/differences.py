"""Measurement of the differences of neighbours along the first axis."""

from jaxtyping import Array, Float

from sde_lib.measurements.base import Operator
from sde_lib.pytree import pytree


@pytree
class Differences(Operator):
    """A x = x[i + 1] - x[i]."""

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        return x[:, 1:] - x[:, :-1]
