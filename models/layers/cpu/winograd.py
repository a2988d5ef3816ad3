"""Winograd's minimal filtering F(m x m, 3x3), for 3x3 convolutions of stride 1 on a CPU.

Lavin and Gray, 2016, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308,
section 4. With n = m + 2, an output tile of m x m takes n x n products of an n x n input tile d
with the transformed kernel instead of 9 m x m, 16 instead of 36 for m = 2, 36 instead of 144 for
m = 4:

    Y = A^T [(G k G^T) . (B^T d B)] A

and transposing in k, its gradient is G^T [(A dY A^T) . (B^T d B)] G summed over tiles.

The rows of the matrices belong to the points of interpolation 0, 1, -1 and infinity for m = 2 and
0, 2/3, -2/3, 3/2, -3/2 and infinity for m = 4. These keep rounding small: relative to the root
mean square of the result, XLA's direct sum has an error of 4e-7 (64 channels), m = 2 of 3e-7, m = 4
of 8e-7; the usual 0, +-1, +-2 have twice the error of m = 4 here (points are compared in Barabasz
et al., 2018, arXiv:1803.10986). They are reciprocals of each other, too, so that a reversed kernel
has the same transform with its rows exchanged, and B^T and A^T can have integers, which are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from models.layers.cpu.switch import TUNED

Padding = tuple[tuple[int, int], tuple[int, int]]
Line = Callable[..., tuple[Array, ...]]


@dataclass(frozen=True)
class MinimalFiltering:
    """F(m x m, 3x3). Each line is one of the matrices, applied to a column; `reverse` says which
    row of a kernel's transform is which of the reversed kernel's."""

    m: int
    inputs: Line
    """B^T"""
    kernel: Line
    """G"""
    kernel_transposed: Line
    outputs: Line
    """A^T"""
    outputs_transposed: Line
    reverse: tuple[int, ...]

    @property
    def n(self) -> int:
        """Rows and columns of an input tile."""
        return self.m + 2

    def tiles(self, size: int) -> int:
        """Along an axis of so many outputs; the last may be in vain in part."""
        return -(-size // self.m)


TWO = MinimalFiltering(
    m=2,
    inputs=lambda a, b, c, d: (a - c, b + c, c - b, b - d),
    kernel=lambda a, b, c: (a, (a + b + c) * 0.5, (a - b + c) * 0.5, c),
    kernel_transposed=lambda a, b, c, d: (a + (b + c) * 0.5, (b - c) * 0.5, (b + c) * 0.5 + d),
    outputs=lambda a, b, c, d: (a + b + c, b - c - d),
    outputs_transposed=lambda a, b: (a, a + b, a - b, -b),
    reverse=(3, 1, 2, 0),
)


def _both(even: Array, odd: Array) -> tuple[Array, Array]:
    """Values at a point and at its negative."""
    return even + odd, even - odd


def _inputs(a: Array, b: Array, c: Array, d: Array, e: Array, f: Array) -> tuple[Array, ...]:
    return (
        36 * (a + e) - 97 * c,
        *_both(27 * c - 12 * e, 18 * b - 8 * d),
        *_both(18 * e - 8 * c, 27 * d - 12 * b),
        36 * (b + f) - 97 * d,
    )


def _kernel(a: Array, b: Array, c: Array) -> tuple[Array, ...]:
    middle = b * (1 / 780)
    return (
        a * (1 / 36),
        *_both(a * (1 / 520) + c * (1 / 1170), middle),
        *_both(a * (1 / 1170) + c * (1 / 520), middle),
        c * (1 / 36),
    )


def _kernel_transposed(
    a: Array, b: Array, c: Array, d: Array, e: Array, f: Array
) -> tuple[Array, ...]:
    low, high = b + c, d + e
    return (
        a * (1 / 36) + low * (1 / 520) + high * (1 / 1170),
        (b - c + d - e) * (1 / 780),
        low * (1 / 1170) + high * (1 / 520) + f * (1 / 36),
    )


def _outputs(a: Array, b: Array, c: Array, d: Array, e: Array, f: Array) -> tuple[Array, ...]:
    low, low_odd, high, high_odd = b + c, b - c, d + e, d - e
    return (
        a + 27 * low + 8 * high,
        18 * low_odd + 12 * high_odd,
        12 * low + 18 * high,
        8 * low_odd + 27 * high_odd + f,
    )


def _outputs_transposed(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, ...]:
    return (
        a,
        *_both(27 * a + 12 * c, 18 * b + 8 * d),
        *_both(8 * a + 18 * c, 12 * b + 27 * d),
        d,
    )


FOUR = MinimalFiltering(
    4, _inputs, _kernel, _kernel_transposed, _outputs, _outputs_transposed, (5, 3, 4, 1, 2, 0)
)


# Axes are sliced and joined without being dropped: XLA copies what is unstacked and stacked again.


def _along(axis: int, line: Line, parts: Iterable[Array]) -> Array:
    """L applied to the parts of an array, joined along an axis."""
    return lax.concatenate(line(*parts), axis)


def _sandwich(line: Line, x: Array) -> Array:
    """L x L^T over the first two axes of x.

    The barrier keeps XLA from fusing the two products, which would repeat the first for each entry
    of the second.
    """
    rows = lax.optimization_barrier(_along(0, line, jnp.split(x, x.shape[0], 0)))
    return _along(1, line, jnp.split(rows, x.shape[1], 1))


def _padded(x: Array, padding: Padding) -> Array:
    (above, below), (left, right) = padding
    zero = jnp.zeros((), x.dtype)
    return lax.pad(x, zero, ((0, 0, 0), (above, below, 0), (left, right, 0), (0, 0, 0)))


def _overlapping(form: MinimalFiltering, x: Array, axis: int) -> list[Array]:
    """Entries 0 to n - 1 of the windows of n, every m, along an axis."""
    stop = x.shape[axis] - form.n + 1
    return [lax.slice_in_dim(x, i, i + stop, form.m, axis) for i in range(form.n)]


def _input_tiles(
    form: MinimalFiltering, x: Array, padding: Padding, adjoint: bool = False
) -> Float[Array, "nn tiles c"]:
    """B^T d B of the overlapping n x n tiles d of the padded image."""
    line = _exchanged_rows(form) if adjoint else form.inputs
    x = _padded(x, padding)[None, None]
    rows = lax.optimization_barrier(_along(0, line, _overlapping(form, x, 3)))
    return _along(1, line, _overlapping(form, rows, 4)).reshape(form.n**2, -1, x.shape[5])


# Rather than the kernel, which is reversed and transposed slowly, what it meets is exchanged.


def _exchanged_rows(form: MinimalFiltering) -> Line:
    def line(*column: Array) -> tuple[Array, ...]:
        rows = form.inputs(*column)
        return tuple(rows[i] for i in form.reverse)

    return line


def _exchanged_columns(form: MinimalFiltering) -> Line:
    return lambda *column: form.outputs(*(column[i] for i in form.reverse))


def correlate(
    form: MinimalFiltering, x: Array, kernel: Array, *, padding: Padding, adjoint: bool
) -> Array:
    """x * kernel; `adjoint`: with the kernel reversed and its channels exchanged."""
    batch, height, width = _output_shape(x, padding)
    rows, columns = form.tiles(height), form.tiles(width)
    whole = _filled(padding, form.m * rows - height, form.m * columns - width)
    tiles = _input_tiles(form, x, whole, adjoint)
    taps = _sandwich(form.kernel, kernel).reshape(form.n**2, *kernel.shape[2:])
    products = _products(tiles, taps, 2 if adjoint else 1)
    lines = _exchanged_columns(form) if adjoint else form.outputs
    tiles = _sandwich(lines, products.reshape(form.n, form.n, batch, rows, columns, -1))
    image = tiles.transpose(2, 3, 0, 4, 1, 5).reshape(batch, form.m * rows, form.m * columns, -1)
    return image[:, :height, :width]


def kernel_gradient(form: MinimalFiltering, x: Array, dy: Array, *, padding: Padding) -> Array:
    """The gradient of x * kernel . dy by the kernel."""
    batch, height, width, features = dy.shape
    rows, columns = form.tiles(height), form.tiles(width)
    below, right = form.m * rows - height, form.m * columns - width
    dy = _padded(dy, ((0, below), (0, right)))
    tiles = dy.reshape(batch, rows, form.m, columns, form.m, features).transpose(2, 4, 0, 1, 3, 5)
    tiles = _sandwich(form.outputs_transposed, tiles).reshape(form.n**2, -1, features)
    products = _contract_tiles(_input_tiles(form, x, _filled(padding, below, right)), tiles)
    return _sandwich(form.kernel_transposed, products.reshape(form.n, form.n, -1, features))


def _filled(padding: Padding, below: int, right: int) -> Padding:
    """Padding by more rows and columns of zeros, whose outputs are thrown away."""
    (top, bottom), (left, end) = padding
    return (top, bottom + below), (left, end + right)


def _products(
    tiles: Float[Array, "nn tiles c"], taps: Array, summed: int
) -> Float[Array, "nn tiles o"]:
    """tiles x taps, matrix by matrix."""
    return lax.dot_general(tiles, taps, (((2,), (summed,)), ((0,), (0,))))


def _contract_tiles(
    x: Float[Array, "nn tiles c"], y: Float[Array, "nn tiles o"]
) -> Float[Array, "nn c o"]:
    """Sum over tiles of the outer products of x and y.

    The library to which XLA hands products wants what is summed to run along the rows of x; left to
    itself, XLA calls a slower one. For few channels the transposition is cheap beside the product
    (the gradient by a kernel of 64 to 32 channels, 128 x 8x8: 1.45 -> 0.77 ms with jax 0.12,
    1.54 -> 1.01 ms with jax 0.10 under the options of `barriers`).
    """
    if x.shape[2] * y.shape[2] > MOST_TRANSPOSED:
        return lax.dot_general(x, y, (((1,), (1,)), ((0,), (0,))))
    rows = lax.optimization_barrier(x.transpose(0, 2, 1))
    return lax.dot_general(rows, y, (((2,), (1,)), ((0,), (0,))))


def _output_shape(x: Array, padding: Padding) -> tuple[int, int, int]:
    (above, below), (left, right) = padding
    batch, height, width, _ = x.shape
    return batch, height + above + below - 2, width + left + right - 2


FEWEST, FEWEST_PAIRS = 16, 1024
"""Channels in and out, and pairs of them."""
MOST_TRANSPOSED = 128 * 64
"""Most pairs of channels for which the gradient by the kernel transposes tiles: of 256 by 256 it
takes 1.4 to 1.5 times as long with jax 0.10, and 0.83 to 0.88 with jax 0.12."""
VAIN = 1.4
"""Largest part of what the tiles cover, in units of the image, for which a form is used."""


def fastest(x: Array, features: int, padding: Padding) -> MinimalFiltering | None:
    """The form that is faster than XLA's convolution on a CPU; None: there is none.

    Wall time of the three maps (forward and both gradients) relative to XLA's convolution, of two
    threads, float32, jax 0.10.2, AMD EPYC with AVX2; with * what is chosen:

        batch x pixels,  channels       m = 2    m = 4
          8 x 32x32,     128            0.90     0.43*
          8 x 32x32,     256 to 128     0.70     0.47*
          8 x 16x16,     256            0.45     0.30*
          1 x 16x16,     128            0.82     0.80*
         16 x 8x8,       256            0.55     0.61*   (CPU time 0.55 and 0.45)
          8 x 8x8,       256            0.57*    0.70
          8 x 8x8,       512 to 256     0.46*    0.50
          8 x 4x4,       256            0.92*    1.22
          8 x 4x4,       512 to 256     0.67*    0.96
          4 x 4x4,       256            1.08*    1.68
        128 x 8x8,       64             0.51     0.37*
        128 x 8x8,       32             0.95     0.65*
        128 x 8x8,       16 to 64       0.99     0.78*
         32 x 16x16,     16             1.11     1.11    left to XLA
          8 x 32x32,     3 to 128       2.25     1.75    left to XLA
         16 x 35x35,     64             0.94     0.36*
         16 x 17x17,     128            0.58     0.53*
          8 x 6x6,       256            0.56*    0.82

    Transforming tiles costs as much for few channels as for many, transforming the kernel as much
    for few tiles as for many, and more for m = 4: hence the thresholds.
    """
    batch, height, width = _output_shape(x, padding)
    channels = x.shape[3]
    if (
        not TUNED.value
        or x.dtype != jnp.float32
        or min(channels, features) < FEWEST
        or channels * features < FEWEST_PAIRS
    ):
        return None

    def pays(form: MinimalFiltering) -> bool:
        tiles = form.tiles(height) * form.tiles(width)
        vain = tiles * form.m**2 / (height * width)
        enough = 32 * batch * tiles >= form.m**2 * channels * features / (channels + features)
        return enough and vain <= VAIN

    return next(filter(pays, (FOUR, TWO)), None)
