"""Linear maps along single axes: fewer pixels, Gaussian blur, mixes of channels.

The matrices are made, and decomposed, on the host in float64. They say what the borders are:

  blocks: means of blocks of `factor` numbers;
  bicubic: Keys' cubic (a = -1/2) widened by `factor`, at the middle of each new pixel. Weights
    within the picture are divided by their sum, so that nothing is invented outside of it (as
    Pillow's BICUBIC; MATLAB's imresize mirrors the border instead);
  gaussian: exp(-d^2 / 2 std^2) up to 4 std away, mirrored at the border, whose pixel is doubled
    (as scipy.ndimage.gaussian_filter).
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from sde_lib.measurements.base import Decomposed
from sde_lib.pytree import pytree, static

Matrix = Float64[np.ndarray, "_ _"]
WIDEST = 4.0
"""Standard deviations of a Gaussian blur after which its kernel is cut off."""


@pytree
class Factor:
    """A matrix u s v^T, with a first axis of 1 or of examples; u has columns of 0 where s is 0."""

    matrix: Float[Array, "b m n"]
    u: Float[Array, "b m n"]
    s: Float[Array, "b n"]
    v: Float[Array, "b n n"]

    @classmethod
    def of(cls, matrices: Sequence[Matrix]) -> Factor:
        """The factor of one matrix, or of one for each example."""
        parts = [(matrix, *decomposed(matrix)) for matrix in matrices]
        return cls(*(jnp.asarray(np.stack(part)) for part in zip(*parts, strict=True)))


def decomposed(
    matrix: Matrix,
) -> tuple[Matrix, Float64[np.ndarray, " n"], Float64[np.ndarray, "n n"]]:
    """(u [m, n], s [n], v [n, n]) of a matrix [m, n]; u and s have zeros after the min(m, n)-th."""
    m, n = matrix.shape
    u, s, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=m < n)
    missing = max(0, n - m)
    return np.pad(u, ((0, 0), (0, missing))), np.pad(s, (0, missing)), vt.T


def turned(matrix: Float[Array, "b m n"]) -> Float[Array, "b n m"]:
    """The transpose of each matrix."""
    return jnp.swapaxes(matrix, 1, 2)


def along(matrix: Float[Array, "_ m n"], x: Float[Array, "b *d"], axis: int) -> Array:
    """The product of a matrix, one for all examples or one for each, along an axis."""
    moved = jnp.moveaxis(x, axis, -1)
    flat = moved.reshape(len(x), -1, moved.shape[-1])
    found = jnp.matmul(flat, turned(matrix), precision="highest")
    return jnp.moveaxis(found.reshape(*moved.shape[:-1], -1), -1, axis)


@pytree
class Separable(Decomposed):
    """A matrix along each of some axes of an example, such as its rows and its columns.

    axes: those of `factors`, where 0 is that of examples, which is counted in `rank` too.
    """

    factors: tuple[Factor, ...]
    axes: tuple[int, ...] = static()
    rank: int = static()

    @property
    def channelwise(self) -> bool:
        """True unless channels, the last axis, are mixed."""
        return self.rank - 1 not in self.axes

    def _product(self, x: Array, matrices: Sequence[Array]) -> Array:
        for matrix, axis in zip(matrices, self.axes, strict=True):
            x = along(matrix, x, axis)
        return x

    def __call__(self, x: Float[Array, "b *d"]) -> Float[Array, "b *m"]:
        """A x."""
        return self._product(x, [factor.matrix for factor in self.factors])

    def transpose(self, u: Float[Array, "b *m"], x: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """A^T u."""
        return self._product(u, [turned(factor.matrix) for factor in self.factors])

    def singular_values(self) -> Float[Array, "b *k"]:
        """Products of the factors' singular values."""
        found = jnp.ones((1,) * self.rank, self.factors[0].s.dtype)
        for factor, axis in zip(self.factors, self.axes, strict=True):
            found = found * factor.s.reshape(len(factor.s), *(1,) * (axis - 1), -1,
                                             *(1,) * (self.rank - axis - 1))  # fmt: skip
        return found

    def analyse(self, x: Float[Array, "b *d"]) -> Float[Array, "b *k"]:
        """V^T x."""
        return self._product(x, [turned(factor.v) for factor in self.factors])

    def synthesise(self, c: Float[Array, "b *k"]) -> Float[Array, "b *d"]:
        """V c."""
        return self._product(c, [factor.v for factor in self.factors])

    def analyse_measurement(self, y: Float[Array, "b *m"]) -> Float[Array, "b *k"]:
        """U^T y."""
        found = self._product(y, [turned(factor.u) for factor in self.factors])
        return self._divided(found, jnp.ones_like(found))

    def synthesise_measurement(self, c: Float[Array, "b *k"]) -> Float[Array, "b *m"]:
        """U c."""
        return self._product(c, [factor.u for factor in self.factors])


def separable(matrices: Sequence[Matrix], axes: Sequence[int], shape: tuple[int, ...]) -> Separable:
    """The operator of matrices along axes of examples of a shape."""
    factors = tuple(Factor.of([matrix]) for matrix in matrices)
    return Separable(factors, tuple(axes), len(shape) + 1)


# Matrices -----------------------------------------------------------------------------------------


def blocks(n: int, factor: int) -> Matrix:
    """Means of blocks of `factor` of n numbers, which it divides."""
    return np.kron(np.eye(n // factor), np.full((1, factor), 1 / factor))


def keys_cubic(x: Float64[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """The interpolating cubic of Keys 1981 with a = -1/2.

    1 - 5/2 x^2 + 3/2 |x|^3 up to 1, 2 - 4 |x| + 5/2 x^2 - |x|^3 / 2 up to 2, and 0 beyond.
    """
    x = np.abs(x)
    near, far = 1 - 2.5 * x**2 + 1.5 * x**3, 2 - 4 * x + 2.5 * x**2 - 0.5 * x**3
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def bicubic(n: int, factor: int) -> Matrix:
    """n / factor values of a cubic widened by `factor`, which divides n."""
    middles = (np.arange(n // factor) + 0.5) * factor
    weights = keys_cubic((np.arange(n) + 0.5 - middles[:, None]) / factor)
    return weights / weights.sum(axis=1, keepdims=True)


def gaussian(n: int, std: float) -> Matrix:
    """A Gaussian blur of n numbers that are mirrored at both ends."""
    reach = int(WIDEST * std + 0.5)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / std) ** 2)
    places = (np.arange(n)[:, None] + offsets) % (2 * n)
    found = np.zeros((n, n))
    rows = np.broadcast_to(np.arange(n)[:, None], places.shape)
    np.add.at(found, (rows, np.minimum(places, 2 * n - 1 - places)), kernel / kernel.sum())
    return found
