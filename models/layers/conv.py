"""Convolution over images laid out [b, h, w, c], or over any other number of spatial axes.

The 3x3 convolutions of stride 1, nearly all the work of a network here, are two bilinear maps:

    y  = x * k    `correlate`        (x [b, h, w, c], k [3, 3, c, o]) -> y  [b, p, q, o]
    dk = x . dy   `kernel_gradient`  (x [b, h, w, c], dy [b, p, q, o]) -> dk [3, 3, c, o]

Every derivative of either, of any order and in either mode, is again one of the two:
dx = dy * flip(k), padded by 2 minus the padding of x; `adjoint` says that k stands for flip(k),
reversed and with its channels exchanged, so that nobody has to move it. They are primitives
because that is the only way to say so: `jax.custom_vjp` has no forward mode, `linear_call` does
not differentiate its coefficients, and differentiating a hand-written algorithm keeps its
intermediates, several times the size of x, from the forward pass to the backward.

Being primitives they are also lowered by platform. On accelerators they are XLA's convolutions.
On a CPU they use whichever form is faster for the shape, see `winograd.fastest`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from models.layers.borders import wrapped
from models.layers.cpu import winograd
from models.layers.cpu.outline import called
from models.layers.cpu.winograd import Padding
from models.layers.dense import shifted
from models.layers.norm import of_channels
from models.layers.style import default_init


class Conv(nn.Module):
    """Convolution with parameters `kernel` [k, k, in, out] and `bias` [out], kept in float32.

    The kernel has as many axes of length k as x has spatial axes. What is not two-dimensional, and
    of one dilation both ways, has stride 1 and the padding "SAME".

    Attributes:
      features: number of output channels.
      kernel_size: width and height of the kernel.
      stride: step between outputs, both ways.
      padding: see `conv2d`.
      dilation: distance between the pixels that the kernel sees, both ways or along each axis.
      periodic: spatial axes along which the padding is the other end of x, not zeros.
      use_bias: whether a bias is added.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      dtype: of the computation and of the result.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: Literal["SAME"] | Padding = "SAME"
    dilation: int | tuple[int, ...] = 1
    periodic: tuple[int, ...] = ()
    use_bias: bool = True
    kernel_init: Callable[..., Array] = default_init(1.0)
    bias_init: Callable[..., Array] = nn.initializers.zeros
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *p o"]:
        shape = (*[self.kernel_size] * (x.ndim - 2), x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        y = self._convolved(x.astype(self.dtype), kernel.astype(self.dtype))
        if not self.use_bias:
            return y
        bias = self.param("bias", self.bias_init, (self.features,))
        return shifted(y, of_channels(bias, y.ndim))

    def _convolved(self, x: Array, kernel: Array) -> Array:
        if x.ndim != 4 or not isinstance(self.dilation, int):
            return convolve(x, kernel, self.dilation, self.periodic)
        if not self.periodic:
            return conv2d(x, kernel, self.stride, self.padding, self.dilation)
        reach = [self.dilation * (self.kernel_size - 1) + 1] * 2
        pads = _pads(x.shape[1:3], reach, self.stride, self.padding)
        rest = tuple((0, 0) if axis in self.periodic else pad for axis, pad in enumerate(pads))
        x = wrapped(x, pads, self.periodic)
        return conv2d(x, kernel, self.stride, (rest[0], rest[1]), self.dilation)


def convolve(
    x: Float[Array, "b *s c"],
    kernel: Float[Array, "*k c o"],
    dilation: int | tuple[int, ...] = 1,
    periodic: tuple[int, ...] = (),
) -> Float[Array, "b *s o"]:
    """Cross-correlation as in `conv2d`, of stride 1, over any number of spatial axes."""
    axes = x.ndim - 2
    steps = (dilation,) * axes if isinstance(dilation, int) else dilation
    total = [step * (n - 1) for step, n in zip(steps, kernel.shape, strict=False)]
    pads = [(n // 2, n - n // 2) for n in total]
    rest = [(0, 0) if axis in periodic else pad for axis, pad in enumerate(pads)]
    letters = "XYZ"[:axes]
    numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    return lax.conv_general_dilated(
        wrapped(x, pads, periodic),
        kernel,
        (1,) * axes,
        rest,
        rhs_dilation=steps,
        dimension_numbers=numbers,
    )


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


# Only Winograd's forms: in a function that is not inlined XLA lays a kernel's gradient out badly,
# which then takes twenty times as long (8 images of 4x4, 256 channels, jax 0.10.2).
_winograd_correlate = called(
    winograd.correlate, static_argnums=0, static_argnames=("padding", "adjoint")
)
_winograd_kernel_gradient = called(
    winograd.kernel_gradient, static_argnums=0, static_argnames="padding"
)


def _cpu_correlate(x: Array, kernel: Array, *, padding: Padding, adjoint: bool) -> Array:
    form = winograd.fastest(x, kernel.shape[2 if adjoint else 3], padding)
    correlate = partial(_winograd_correlate, form) if form else _xla_correlate
    return correlate(x, kernel, padding=padding, adjoint=adjoint)


def _cpu_kernel_gradient(x: Array, dy: Array, *, padding: Padding) -> Array:
    form = winograd.fastest(x, dy.shape[3], padding)
    gradient = partial(_winograd_kernel_gradient, form) if form else _xla_kernel_gradient
    return gradient(x, dy, padding=padding)


@cache
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
    """Padding of the transposed map."""
    (above, below), (left, right) = padding
    return (2 - above, 2 - below), (2 - left, 2 - right)


def _kernel_gradient(x: Array, dy: Array, padding: Padding, adjoint: bool) -> Array:
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
