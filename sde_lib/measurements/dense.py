"""Any linear operator of few numbers as matrices, so that it has a decomposition."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from sde_lib.measurements.base import Decomposed, Operator
from sde_lib.measurements.separable import Factor, along, turned
from sde_lib.pytree import pytree, static

LARGEST = 1024
"""Most numbers of an example, and of its measurement, of which matrices are made."""


@pytree
class MatrixOperator(Decomposed):
    """A matrix, or one for each example, of examples and measurements in a row."""

    factor: Factor
    example: tuple[int, ...] = static()
    measurement: tuple[int, ...] = static()

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        """A x."""
        found = along(self.factor.matrix, x.reshape(len(x), -1), 1)
        return found.reshape(len(x), *self.measurement)

    def transpose(self, u: Float[Array, "b *m"], x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """A^T u."""
        found = along(turned(self.factor.matrix), u.reshape(len(u), -1), 1)
        return found.reshape(len(u), *self.example)

    def singular_values(self) -> Float[Array, "b k"]:
        """S."""
        return self.factor.s

    def analyse(self, x: Float[Array, "b *d"]) -> Float[Array, "b k"]:
        """V^T x."""
        return along(turned(self.factor.v), x.reshape(len(x), -1), 1)

    def synthesise(self, c: Float[Array, "b k"]) -> Float[Array, "b *d"]:
        """V c."""
        return along(self.factor.v, c, 1).reshape(len(c), *self.example)

    def analyse_measurement(self, y: Float[Array, "b *m"]) -> Float[Array, "b k"]:
        """U^T y."""
        found = along(turned(self.factor.u), y.reshape(len(y), -1), 1)
        return self._divided(found, jnp.ones_like(found))

    def synthesise_measurement(self, c: Float[Array, "b k"]) -> Float[Array, "b *m"]:
        """U c."""
        return along(self.factor.u, c, 1).reshape(len(c), *self.measurement)


def dense(operator: Operator, shape: tuple[int, ...]) -> Decomposed:
    """An operator with a decomposition: itself if it has one, else matrices made of it.

    shape: that of an example. Raises ValueError for an operator that is not linear, and for more
    than `LARGEST` numbers.
    """
    if isinstance(operator, Decomposed):
        return operator
    if not operator.linear:
        raise ValueError("an operator that is not linear has no singular value decomposition: "
                         "choose a method for any function, such as dps")  # fmt: skip
    like = jax.ShapeDtypeStruct((1, *shape), jnp.zeros(()).dtype)
    alone = [_alone(operator, i) for i in range(_examples(operator))]
    measured = jax.eval_shape(lambda x: alone[0](x), like).shape[1:]
    most = max(math.prod(shape), math.prod(measured))
    if most > LARGEST:
        raise ValueError(
            f"the singular value decomposition of this operator needs a matrix of {most:,} numbers "
            f"a side, which may have at most {LARGEST:,}: choose a method without it, such as mmps"
        )
    return MatrixOperator(Factor.of([_matrix(one, shape) for one in alone]), shape, measured)


def _examples(operator: Operator) -> int:
    return max((len(leaf) for leaf in jax.tree.leaves(operator)), default=1)


def _alone(operator: Operator, i: int) -> Operator:
    """The operator of example i."""
    found: Operator = jax.tree.map(
        lambda leaf: leaf[i : i + 1] if len(leaf) > 1 else leaf, operator
    )
    return found


def _matrix(operator: Operator, shape: tuple[int, ...]) -> Float64[np.ndarray, "m n"]:
    """The matrix of an operator of one example."""
    one = jnp.eye(math.prod(shape)).reshape(-1, *shape)
    return np.asarray(jax.jit(lambda x: operator(x))(one), np.float64).reshape(len(one), -1).T
