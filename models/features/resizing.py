"""Linear interpolation of images along their axes, with two conventions of pixel positions.

Output pixel i of m lies at x_i among the n input pixels a and is (1 - f) a[k] + f a[k + 1] with
k = floor x_i and f = x_i - k, the last input pixel being repeated. Nothing is smoothed when images
shrink.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Positions = Callable[[int, int], np.ndarray]


def corner_positions(n: int, m: int) -> np.ndarray:
    """x_i = i n / m: TensorFlow 1's ResizeBilinear, align_corners=False."""
    return np.arange(m, dtype=np.float32) * np.float32(n / m)


def centre_positions(n: int, m: int) -> np.ndarray:
    """x_i = (i + 1/2) n / m - 1/2, at least 0: PyTorch's interpolate, align_corners=False."""
    half = np.float32(0.5)
    return np.maximum((np.arange(m, dtype=np.float32) + half) * np.float32(n / m) - half, 0)


def resize_bilinear(
    images: Float[Array, "b h w c"], height: int, width: int, positions: Positions
) -> Float[Array, "b p q c"]:
    """Images of another size."""
    # Columns before rows, as TensorFlow does it: the order decides the last bit.
    return _along(_along(images, 2, width, positions), 1, height, positions)


def _along(images: Array, axis: int, size: int, positions: Positions) -> Array:
    n = images.shape[axis]
    x = positions(n, size)
    low = x.astype(np.int32)
    shape = [1] * images.ndim
    shape[axis] = size
    fraction = (x - low.astype(np.float32)).reshape(shape)
    start = jnp.take(images, low, axis)
    end = jnp.take(images, np.minimum(low + 1, n - 1), axis)
    return start + (end - start) * fraction
