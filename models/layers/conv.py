"""Two-dimensional convolution over images laid out [b, h, w, c].

The 3x3 convolutions of stride 1, nearly all the work of a network here, are two bilinear maps:

    y  = x * k    `correlate`        (x [b, h, w, c], k [3, 3, c, o]) -> y  [b, p, q, o]
    dk = x . dy   `kernel_gradient`  (x [b, h, w, c], dy [b, p, q, o]) -> dk [3, 3, c, o]

Every derivative of either, of any order and in either mode, is again one of the two:
dx = dy * flip(k), padded by 2 minus the padding of x. They are primitives because that is the
only way to say so: `jax.custom_vjp` has no forward mode, `linear_call` does not differentiate its
coefficients, and differentiating a hand-written algorithm keeps its intermediates, several times
the size of x, from the forward pass to the backward.

Being primitives they are also lowered by platform. On accelerators they are XLA's convolutions.
On a CPU they use whichever exact form is faster for the shape, see `_winograd_pays`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from models.layers.outline import outlined
from models.layers.style import default_init

Padding = tuple[tuple[int, int], tuple[int, int]]


class Conv(nn.Module):
    """Convolution with parameters `kernel` [k, k, in, out] and `bias` [out], kept in float32.

    Attributes:
      features: number of output channels.
      kernel_size: width and height of the kernel.
      stride: step between outputs, both ways.
      padding: see `conv2d`.
      dilation: distance between the pixels that the kernel sees, both ways.
      use_bias: whether a bias is added.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      dtype: of the computation and of the result.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: Literal["SAME"] | Padding = "SAME"
    dilation: int = 1
    use_bias: bool = True
    kernel_init: Callable[..., Array] = default_init(1.0)
    bias_init: Callable[..., Array] = nn.initializers.zeros
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b p q o"]:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        x, low = x.astype(self.dtype), kernel.astype(self.dtype)
        y = conv2d(x, low, self.stride, self.padding, self.dilation)
        if not self.use_bias:
            return y
        bias = self.param("bias", self.bias_init, (self.features,))
        return y + bias.astype(self.dtype)[None, None, None]


def conv2d(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k l c o"],
    stride: int = 1,
    padding: Literal["SAME"] | Padding = "SAME",
    dilation: int = 1,
) -> Float[Array, "b p q o"]:
    """Cross-correlation y[n, i, j] = sum_uv x[n, s i + d u, s j + d v] kernel[u, v].

    s is the stride, d the dilation. Indices are those of x after padding: by zeros above, below,
    left and right as given, ((above, below), (left, right)), or for "SAME" so that
    p = ceil(h / stride), q likewise, the odd pixel going below and to the right. Derivatives of
    every order exist in both modes.
    """
    reach = [dilation * (n - 1) + 1 for n in kernel.shape[:2]]
    pads = _pads(x.shape[1:3], reach, stride, padding)
    if dilation != 1:
        return _xla_conv(x, kernel, stride=stride, padding=pads, dilation=dilation)
    if kernel.shape[:2] == (1, 1) and stride == 1 and pads == ((0, 0), (0, 0)):
        return jnp.einsum("bhwc,co->bhwo", x, kernel[0, 0])
    if kernel.shape[:2] == (3, 3) and stride == 1 and all(0 <= n <= 2 for n in sum(pads, ())):
        return _correlate_p.bind(x, kernel, padding=pads, adjoint=False)
    return _xla_conv(x, kernel, stride=stride, padding=pads)


def _pads(
    image: Sequence[int], kernel: Sequence[int], stride: int, padding: Literal["SAME"] | Padding
) -> Padding:
    if padding != "SAME":
        (above, below), (left, right) = padding
        return (above, below), (left, right)
    total = [max(k - stride + -n % stride, 0) for n, k in zip(image, kernel, strict=True)]
    rows, columns = ((n // 2, n - n // 2) for n in total)
    return rows, columns


def _xla_conv(
    x: Array, kernel: Array, *, stride: int = 1, padding: Padding, dilation: int = 1
) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _xla_correlate(x: Array, kernel: Array, *, padding: Padding, adjoint: bool) -> Array:
    if adjoint:
        kernel = kernel[::-1, ::-1].swapaxes(2, 3)
    return _xla_conv(x, kernel, padding=padding)


def _xla_kernel_gradient(x: Array, dy: Array, *, padding: Padding) -> Array:
    kernel = jax.ShapeDtypeStruct((3, 3, x.shape[3], dy.shape[3]), x.dtype)
    (dk,) = jax.linear_transpose(lambda k: _xla_conv(x, k, padding=padding), kernel)(dy)
    return dk


# Winograd's minimal filtering F(2x2, 3x3): Lavin and Gray, 2016, "Fast Algorithms for
# Convolutional Neural Networks", arXiv:1509.09308, section 4.1. An output tile of 2x2 takes 16
# products of a 4x4 input tile with the transformed kernel instead of 36:
#
#     Y = A^T [(G k G^T) . (B^T d B)] A
#
# and transposing in k, its gradient is G^T [(A dY A^T) . (B^T d B)] G summed over tiles. The
# coefficients are 0, +-1 and 1/2, so that rounding errors stay those of the direct sum; larger
# tiles lose a decimal digit. Each line below is one of the matrices, applied to a column.


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


def _swapped(line: Line) -> Line:
    """The first and the last entry of a column of four trade places: G of a reversed kernel."""
    return lambda a, b, c, d: line(d, b, c, a)


def _swapped_input_line(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, ...]:
    return b - d, b + c, c - b, a - c


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


def _winograd_correlate(x: Array, kernel: Array, *, padding: Padding, adjoint: bool) -> Array:
    batch, height, width = _output_shape(x, padding)
    (above, below), (left, right) = padding
    # An odd image gets a last row or column that is thrown away.
    rows, columns = -(-height // 2), -(-width // 2)
    even = (above, below + height % 2), (left, right + width % 2)
    taps = _sandwich(_kernel_line, kernel).reshape(16, *kernel.shape[2:])
    inputs, outputs = _input_line, _output_line
    if adjoint:
        inputs, outputs = _swapped_input_line, _swapped(_output_line)
    tiles = _input_tiles(x, even, inputs)
    products = _batch_dot(tiles, taps, 2, 2 if adjoint else 1)
    tiles = _sandwich(outputs, products.reshape(4, 4, batch, rows, columns, -1))
    image = tiles.transpose(2, 3, 0, 4, 1, 5).reshape(batch, 2 * rows, 2 * columns, -1)
    return image[:, :height, :width]


def _winograd_kernel_gradient(x: Array, dy: Array, *, padding: Padding) -> Array:
    batch, height, width, features = dy.shape
    tiles = dy.reshape(batch, height // 2, 2, width // 2, 2, features).transpose(2, 4, 0, 1, 3, 5)
    tiles = _sandwich(_output_line_transposed, tiles).reshape(16, -1, features)
    products = _contract_tiles(_input_tiles(x, padding), tiles)
    return _sandwich(_kernel_line_transposed, products.reshape(4, 4, -1, features))


def _batch_dot(x: Array, y: Array, i: int, j: int) -> Array:
    return lax.dot_general(x, y, (((i,), (j,)), ((0,), (0,))))


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


def _winograd_pays(x: Array, features: int, padding: Padding) -> bool:
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


@partial(outlined, static_argnames=("padding", "adjoint"))
def _cpu_correlate(x: Array, kernel: Array, *, padding: Padding, adjoint: bool) -> Array:
    fast = _winograd_pays(x, kernel.shape[2 if adjoint else 3], padding)
    correlate = _winograd_correlate if fast else _xla_correlate
    return correlate(x, kernel, padding=padding, adjoint=adjoint)


@partial(outlined, static_argnames="padding")
def _cpu_kernel_gradient(x: Array, dy: Array, *, padding: Padding) -> Array:
    even = dy.shape[1] % 2 == dy.shape[2] % 2 == 0
    fast = even and _winograd_pays(x, dy.shape[3], padding)
    return (_winograd_kernel_gradient if fast else _xla_kernel_gradient)(x, dy, padding=padding)


def _abstract(portable: Callable[..., Array], x: Any, y: Any, **static: Any) -> Any:
    out = jax.eval_shape(partial(portable, **static), x, y)
    return jax.core.ShapedArray(out.shape, out.dtype)


def _batched(
    portable: Callable[..., Array], args: Any, axes: Any, **static: Any
) -> tuple[Array, int]:
    return jax.vmap(partial(portable, **static), in_axes=tuple(axes))(*args), 0


def _bilinear(
    name: str, portable: Callable[..., Array], cpu: Callable[..., Array], *static: str
) -> Primitive:
    """A primitive computed by `cpu` on a CPU and `portable` elsewhere, batched by `portable`."""
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(primitive.bind, static_argnames=static))
    primitive.def_abstract_eval(partial(_abstract, portable))
    batching.primitive_batchers[primitive] = partial(_batched, portable)
    mlir.register_lowering(primitive, mlir.lower_fun(portable, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(cpu, multiple_results=False), platform="cpu")
    return primitive


_correlate_p = _bilinear("correlate_3x3", _xla_correlate, _cpu_correlate, "padding", "adjoint")
_kernel_gradient_p = _bilinear(
    "kernel_gradient_3x3", _xla_kernel_gradient, _cpu_kernel_gradient, "padding"
)


def _transposed(y: Array, kernel: Array, padding: Padding, adjoint: bool) -> Array:
    """The transpose of x -> correlate(x, kernel), applied to y."""
    return _correlate_p.bind(y, kernel, padding=_full(padding), adjoint=not adjoint)


def _full(padding: Padding) -> Padding:
    """Of the transposed map."""
    (above, below), (left, right) = padding
    return (2 - above, 2 - below), (2 - left, 2 - right)


def _kernel_gradient(
    x: Array, dy: Array, padding: Padding, adjoint: bool
) -> Array:
    """The transpose of kernel -> correlate(x, kernel), applied to dy."""
    if adjoint:
        return _kernel_gradient_p.bind(dy, x, padding=_full(padding))
    return _kernel_gradient_p.bind(x, dy, padding=padding)


ad.defbilinear(
    _correlate_p,
    lambda dy, x, kernel, *, padding, adjoint: _transposed(dy, kernel, padding, adjoint),
    lambda dy, x, kernel, *, padding, adjoint: _kernel_gradient(x, dy, padding, adjoint),
)
ad.defbilinear(
    _kernel_gradient_p,
    lambda dk, x, dy, *, padding: _transposed(dy, dk, padding, False),
    lambda dk, x, dy, *, padding: _correlate_p.bind(x, dk, padding=padding, adjoint=False),
)


def _batched_correlate(args: Any, axes: Any, **static: Any) -> tuple[Array, int]:
    """Images under one kernel are one larger batch."""
    x, kernel = args
    if axes[1] is not None:
        return _batched(_xla_correlate, args, axes, **static)
    x = jnp.moveaxis(x, axes[0], 0)
    y = _correlate_p.bind(x.reshape(-1, *x.shape[2:]), kernel, **static)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 0


batching.primitive_batchers[_correlate_p] = _batched_correlate
