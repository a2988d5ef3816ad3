"""Pure functions between integer levels and the unit interval.

v is an integer level in 0..L-1, u a uniform draw in [0, 1), x a value in [0, 1].
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Shaped, UInt8


def to_unit(
    pixels: Shaped[np.ndarray, "*shape"], levels: int | None
) -> Float32[np.ndarray, "*shape"]:
    """v / (L - 1); continuous pixels (levels None) are in [0, 1] already."""
    if levels is None:
        return pixels.astype(np.float32, copy=False)
    return np.divide(pixels, levels - 1, dtype=np.float32)


def dequantize(
    pixels: Shaped[np.ndarray, "*shape"], levels: int, u: Float32[np.ndarray, "*shape"]
) -> Float32[np.ndarray, "*shape"]:
    """(v + u) / L: uniform dequantization (Theis et al. 2016, arXiv:1511.01844, section 3.1)."""
    values = np.add(pixels, u, dtype=np.float32)
    values /= levels
    return values


def flip(
    pixels: Shaped[np.ndarray, "n h w c"], mask: Bool[np.ndarray, " n"]
) -> Shaped[np.ndarray, "n h w c"]:
    """A copy with the images where `mask` is true mirrored left to right."""
    flipped = pixels.copy()
    flipped[mask] = pixels[mask].take(np.arange(pixels.shape[2])[::-1], axis=2)
    return flipped


def exchange(
    conditions: Shaped[np.ndarray, "n *c"], u: Float32[np.ndarray, "n k"]
) -> Shaped[np.ndarray, "n *c"]:
    """A copy with the k equal pieces of each condition in the order of its row of u."""
    pieces = conditions.reshape(*u.shape, -1)
    order = np.argsort(u, axis=1)[:, :, None]
    return np.take_along_axis(pieces, order, axis=1).reshape(conditions.shape)


def to_uint8(x: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Nearest of the levels 0..255 to 255 x, ties to even, after clipping x to [0, 1]; 0 for NaN.

    The inverse of `to_unit` for 256 levels. (score_sde truncates instead, which darkens every
    picture by half a level on average.)
    """
    return np.rint(np.clip(np.nan_to_num(x), 0.0, 1.0) * 255.0).astype(np.uint8)
