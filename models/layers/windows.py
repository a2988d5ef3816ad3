"""Pooling over 5x5 windows at every pixel, and enlargement of images.

Pooling is written as shifted slices, one axis at a time, which XLA fuses and differentiates in
every mode; its windowed maximum has no second derivative.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Image = Float[Array, "b h w c"]
Combine = Callable[[Array, Array], Array]
REACH = 2
"""Pixels of a window on each side of its middle."""


def _pool(x: Image, outside: float, combine: Combine) -> Image:
    for axis in (1, 2):
        border = [(REACH, REACH) if i == axis else (0, 0) for i in range(4)]
        padded = jnp.pad(x, border, constant_values=outside)
        shifts = range(2 * REACH + 1)
        slices = [lax.slice_in_dim(padded, i, i + x.shape[axis], axis=axis) for i in shifts]
        x = functools.reduce(combine, slices)
    return x


def max_pool_5x5(x: Image) -> Image:
    """Largest value of the 5x5 pixels around each."""
    return _pool(x, -jnp.inf, jnp.maximum)


def mean_pool(x: Image) -> Image:
    """Mean of the 5x5 pixels around each; those outside of the image count as zeros."""
    return _pool(x, 0.0, jnp.add) / (2 * REACH + 1) ** 2


def bilinear(x: Image, height: int, width: int) -> Float[Array, "b height width c"]:
    """Linear interpolation between the middles of pixels; constant beyond the outermost."""
    return jax.image.resize(x, (x.shape[0], height, width, x.shape[3]), "bilinear")


def nearest(x: Image, height: int, width: int) -> Float[Array, "b height width c"]:
    """The value of the pixel in which the middle of the new pixel lies."""
    return jax.image.resize(x, (x.shape[0], height, width, x.shape[3]), "nearest")


def bilinear_corners(x: Image, height: int, width: int) -> Float[Array, "b height width c"]:
    """Linear interpolation that maps the corner pixels' middles to those of the new corners."""
    rows = _corner_weights(x.shape[1], height).astype(x.dtype)
    columns = _corner_weights(x.shape[2], width).astype(x.dtype)
    return jnp.einsum("bhwc,ph,qw->bpqc", x, rows, columns, precision=lax.Precision.HIGHEST)


def _corner_weights(old: int, new: int) -> Float[Array, "new old"]:
    place = jnp.linspace(0.0, old - 1.0, new) if new > 1 else jnp.zeros(1)
    distance = jnp.abs(place[:, None] - jnp.arange(old, dtype=place.dtype)[None])
    return jnp.maximum(1 - distance, 0.0)
