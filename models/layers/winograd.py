"""Winograd's minimal filtering F(2x2, 3x3), for 3x3 convolutions of stride 1 on a CPU.

Lavin and Gray, 2016, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308,
section 4.1. An output tile of 2x2 takes 16 products of a 4x4 input tile with the transformed
kernel instead of 36:

    Y = A^T [(G k G^T) . (B^T d B)] A

and transposing in k, its gradient is G^T [(A dY A^T) . (B^T d B)] G summed over tiles. The
coefficients are 0, +-1 and 1/2, so that rounding errors stay those of the direct sum; larger
tiles lose a decimal digit. Each `line` below is one of the matrices, applied to a column.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int]]
Line = Callable[..., tuple[Array, ...]]


def _input_line(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, ...]:
    return a - c, b + c, c - b, b - d  # B^T


def _kernel_line(a: Array, b: Array, c: Array) -> tuple[Array, ...]:
    return a, (a + b + c) * 0.5, (a - b + c) * 0.5, c  # G


def _kernel_line_transposed(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, ...]:
    return a + (b + c) * 0.5, (b - c) * 0.5, (b + c) * 0.5 + d  # G^T


def _output_line(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, ...]:
    return a + b + c, b - c - d  # A^T


def _output_line_transposed(a: Array, b: Array) -> tuple[Array, ...]:
    return a, a + b, a - b, -b  # A


# A reversed kernel has the first and the last of its four transformed entries exchanged. Rather
# than the kernel, which is reversed and transposed slowly, its partners are exchanged.


def _input_line_exchanged(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, ...]:
    return b - d, b + c, c - b, a - c


def _output_line_exchanged(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, ...]:
    return _output_line(d, b, c, a)


def _sandwich(line: Line, x: Array) -> Array:
    """L x L^T over the first two axes of x.

    The barrier keeps XLA from fusing the two products, which would repeat the first for each entry
    of the second.
    """
    rows = lax.optimization_barrier(jnp.stack(line(*x)))
    return jnp.stack(line(*jnp.moveaxis(rows, 1, 0)), 1)


def _overlapping(x: Array, axis: int) -> list[Array]:
    """Entries 0 to 3 of the windows of four, every two, along an axis."""
    stop = x.shape[axis] - 3
    return [lax.slice_in_dim(x, i, i + stop, 2, axis) for i in range(4)]


def _input_tiles(
    x: Array, padding: Padding, line: Line = _input_line
) -> Float[Array, "16 tiles c"]:
    """B^T d B of the overlapping 4x4 tiles d of the padded image."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows = lax.optimization_barrier(jnp.stack(line(*_overlapping(x, 1))))
    return jnp.stack(line(*_overlapping(rows, 3)), 1).reshape(16, -1, x.shape[3])


def correlate(x: Array, kernel: Array, *, padding: Padding, adjoint: bool) -> Array:
    """x * kernel; `adjoint`: with the kernel reversed and its channels exchanged."""
    batch, height, width = _output_shape(x, padding)
    (above, below), (left, right) = padding
    # An odd image gets a last row or column that is thrown away.
    rows, columns = -(-height // 2), -(-width // 2)
    even = (above, below + height % 2), (left, right + width % 2)
    taps = _sandwich(_kernel_line, kernel).reshape(16, *kernel.shape[2:])
    inputs, outputs, summed = _input_line, _output_line, 1
    if adjoint:
        inputs, outputs, summed = _input_line_exchanged, _output_line_exchanged, 2
    tiles = _input_tiles(x, even, inputs)
    products = lax.dot_general(tiles, taps, (((2,), (summed,)), ((0,), (0,))))
    tiles = _sandwich(outputs, products.reshape(4, 4, batch, rows, columns, -1))
    image = tiles.transpose(2, 3, 0, 4, 1, 5).reshape(batch, 2 * rows, 2 * columns, -1)
    return image[:, :height, :width]


def kernel_gradient(x: Array, dy: Array, *, padding: Padding) -> Array:
    """The gradient of x * kernel . dy by the kernel, for even heights and widths of dy."""
    batch, height, width, features = dy.shape
    tiles = dy.reshape(batch, height // 2, 2, width // 2, 2, features).transpose(2, 4, 0, 1, 3, 5)
    tiles = _sandwich(_output_line_transposed, tiles).reshape(16, -1, features)
    products = _contract_tiles(_input_tiles(x, padding), tiles)
    return _sandwich(_kernel_line_transposed, products.reshape(4, 4, -1, features))


def _contract_tiles(
    x: Float[Array, "16 tiles c"], y: Float[Array, "16 tiles o"]
) -> Float[Array, "16 c o"]:
    """Sum over tiles of the outer products of x and y.

    XLA splits long sums into small matrices between threads, which costs more than it gains; runs
    of 256 tiles it leaves whole (0.47 instead of 0.63 of the time of its convolution, 64 channels).
    """
    tiles, small = x.shape[1], x.shape[2] * y.shape[2] <= 64 * 64
    runs = tiles // 256 if small and tiles % 256 == 0 else 1
    x, y = (t.reshape(16, runs, tiles // runs, -1) for t in (x, y))
    return lax.dot_general(x, y, (((2,), (2,)), ((0, 1), (0, 1)))).sum(1)


def _output_shape(x: Array, padding: Padding) -> tuple[int, int, int]:
    (above, below), (left, right) = padding
    batch, height, width, _ = x.shape
    return batch, height + above + below - 2, width + left + right - 2


FROM_ODD = 31
"""Smallest odd height or width for which F(2x2, 3x3) is used."""


def pays(x: Array, features: int, padding: Padding) -> bool:
    """Whether F(2x2, 3x3) applies and is faster than XLA's convolution on a CPU.

    CPU seconds of three to five convolutions and nonlinearities relative to XLA's convolution,
    float32, jax 0.10.2, two busy cores with AVX2. They say nothing of threads: for 64 channels at
    8x8 one thread does 0.85 to 0.95 of XLA's work, and half of this form's.

        batch x pixels, channels     forward   forward and backward
        128 x 8x8,       64           0.62          0.88
        128 x 8x8,      128           0.72          0.58
        128 x 4x4,       64           0.76          0.74
        128 x 4x4,      128           0.57          0.80
          8 x 32x32,    128           0.74          0.52
          8 x 16x16,    256           0.65          0.59
          8 x 8x8,      256           0.62          0.82
         16 x 4x4,      256           0.68          1.01
          8 x 4x4,      256           0.95          1.72   left to XLA
        128 x 8x8,       32           1.15                 left to XLA
         16 images, Inception-v3  0.69   (the whole network, odd sizes from 35 to 147)

    Transforming tiles costs as much for few channels as for many, transforming the kernel as much
    for few tiles: hence the two thresholds. In an odd image a row and a column of tiles are half
    in vain, which is little from `FROM_ODD` pixels on.
    """
    batch, height, width = _output_shape(x, padding)
    if x.dtype != jnp.float32 or any(n % 2 and n < FROM_ODD for n in (height, width)):
        return False
    channels, tiles = x.shape[3], batch * height * width // 4
    return min(channels, features) >= 32 and channels * features >= 2048 and tiles >= 64
