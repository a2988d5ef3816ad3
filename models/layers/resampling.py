"""Doubling and halving of images, by pixel or by a finite impulse response (FIR) filter.

The FIR filters are those of StyleGAN2 (Karras et al., 2020, arXiv:1912.04958, after Zhang,
2019, arXiv:1904.11486): low-pass filtering, separable, with everything outside of the image
taken as zero, or along periodic axes as its other end. They are written as sums of shifted slices,
one axis at a time, which XLA fuses into a loop at memory speed; its depthwise convolutions are far
slower on a CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add
from typing import Protocol

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from models.layers.borders import bordered


class Resampling(Protocol):
    """A method of doubling and halving the two image axes.

    `up_for_conv` and `down_for_conv` prepare for a 3x3 convolution without padding, of stride 1
    and 2: their result includes the border that the convolution removes.
    """

    def up(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]: ...

    def down(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]: ...

    def up_for_conv(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h+2 2*w+2 c"]: ...

    def down_for_conv(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h+1 w+1 c"]: ...


@dataclass(frozen=True)
class Plain:
    """Nearest neighbour upward; downward the mean of 2x2 pixels, or a strided convolution.

    The convolution's border is below and to the right, as TensorFlow pads; or with
    `border_first` above and to the left, which amounts to PyTorch's symmetric padding. It is the
    other end of the `periodic` axes.
    """

    border_first: bool = False
    periodic: tuple[int, ...] = ()

    def up(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
        """Repeats every pixel in a 2x2 square."""
        return x.repeat(2, axis=1).repeat(2, axis=2)

    def down(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
        """Averages every 2x2 square."""
        batch, height, width, channels = x.shape
        return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))

    def up_for_conv(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h+2 2*w+2 c"]:
        """`up` with a border."""
        return bordered(self.up(x), [(1, 1)] * 2, self.periodic)

    def down_for_conv(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h+1 w+1 c"]:
        """x with a border along two of its sides, or with `border_first` all of odd lengths."""
        pads = [(1, n % 2) if self.border_first else (0, 1) for n in x.shape[1:3]]
        return bordered(x, pads, self.periodic)


@dataclass(frozen=True)
class Halve:
    """Means of neighbouring pairs along some spatial axes, whose lengths are even."""

    axes: tuple[int, ...]

    def __call__(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *t c"]:
        """x with these axes halved."""
        for axis in (a + 1 for a in self.axes):
            pairs = (*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
            x = x.reshape(pairs).mean(axis + 1)
        return x


@dataclass(frozen=True)
class Double:
    """Every element twice along some spatial axes."""

    axes: tuple[int, ...]

    def __call__(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *t c"]:
        """x with these axes doubled."""
        for axis in self.axes:
            x = x.repeat(2, axis=axis + 1)
        return x


def fir_along(
    x: Float[Array, "..."],
    taps: Sequence[float],
    axis: int,
    *,
    offset: int,
    length: int,
    up: int = 1,
    down: int = 1,
    periodic: bool = False,
) -> Float[Array, "..."]:
    """Upsamples, filters and downsamples one axis.

        y[j] = sum_k taps[k] u[down * j + k - offset],   j < length,

    where u[up * i] = x[i] and u is zero elsewhere; beyond its ends, too, unless it is `periodic`.
    `length` must be a multiple of `up`; one of `up` and `down` must be 1, and there must be at
    least `up` taps. Each of the `up` phases of y sees its own subset of the taps, so the zeros in u
    are never touched.
    """
    steps = length // up
    reach = [(k - offset) // up for k in range(len(taps) + up - 1)]
    low = max(0, -min(reach))
    high = max(0, max(reach) + down * (steps - 1) + 1 - x.shape[axis])
    mode = "wrap" if periodic else "constant"
    padded = jnp.pad(x, [(low, high) if i == axis else (0, 0) for i in range(x.ndim)], mode=mode)

    def shifted(shift: int) -> Array:
        start = low + shift
        return lax.slice_in_dim(padded, start, start + down * (steps - 1) + 1, down, axis)

    def phase(r: int) -> Array:
        seen = [k for k in range(len(taps)) if (r + k - offset) % up == 0]
        return functools.reduce(add, [taps[k] * shifted((r + k - offset) // up) for k in seen])

    if up == 1:
        return phase(0)
    shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
    return jnp.stack([phase(r) for r in range(up)], axis + 1).reshape(shape)


@dataclass(frozen=True)
class Fir:
    """Low-pass filtering with the outer product of `kernel` with itself, normalized to sum 1.

    With n taps, upsampling starts (n + 1) // 2 before the image and multiplies by 4 to make up
    for the inserted zeros; downsampling starts (n - 1) // 2 before. So a constant image stays
    constant, except along the border, which fades towards the zeros outside; `periodic` axes have
    no border.
    """

    kernel: tuple[float, ...]
    periodic: tuple[int, ...] = ()

    def up(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
        """Inserts zeros between pixels, then filters."""
        return self._filter(x, gain=2.0, offset=(len(self.kernel) + 1) // 2, up=2)

    def down(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
        """Filters, then keeps every second pixel."""
        return self._filter(x, offset=(len(self.kernel) - 1) // 2, down=2)

    def up_for_conv(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h+2 2*w+2 c"]:
        """`up`, one pixel wider all around."""
        return self._filter(x, gain=2.0, offset=(len(self.kernel) + 3) // 2, up=2, wider=2)

    def down_for_conv(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h+1 w+1 c"]:
        """Filters, one pixel wider below and to the right; the convolution halves."""
        return self._filter(x, offset=(len(self.kernel) + 1) // 2, wider=1)

    def _filter(
        self,
        x: Float[Array, "b h w c"],
        *,
        offset: int,
        gain: float = 1.0,
        up: int = 1,
        down: int = 1,
        wider: int = 0,
    ) -> Float[Array, "b p q c"]:
        # Reversed, since `fir_along` correlates and a filter is applied by convolution.
        taps = [gain * tap / sum(self.kernel) for tap in reversed(self.kernel)]
        for axis in (1, 2):
            length = x.shape[axis] * up // down + wider
            ends = axis - 1 in self.periodic
            x = fir_along(
                x, taps, axis, offset=offset, length=length, up=up, down=down, periodic=ends
            )
        return x
