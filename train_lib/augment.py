"""Non-leaking augmentation by geometric transformations whose parameters are network inputs.

Karras et al. 2022, arXiv:2206.00364, appendix F.2 and table 6, after Karras et al. 2020,
arXiv:2006.06676. Training images are transformed at random, and the network is given nine labels
that describe the transformation; zeros stand for an unchanged image, so that sampling with zeros
shows no trace of the transformations.

    flip x      w_0 in {0, 1}                     always drawn
    flip y      w_1 in {0, 1}                     with probability p, as all that follow
    scale       2^(0.2 w_2)                       w ~ N(0, 1)
    rotate      theta ~ U(-pi, pi)                labels cos theta - 1, sin theta
    stretch     2^(+-0.2 w) along and across phi  labels w cos phi, w sin phi; phi = 0 half the time
    translate   (w_7, w_8) / 8 of the image       w ~ N(0, 1)

Flips are exact. The rest are one affine map, applied to the image at twice its resolution between
the two halves of a wavelet filter pair, so that it does not blur or alias.
"""

from __future__ import annotations

from functools import cache, partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sde_lib.base import Number
from sde_lib.pytree import pytree

LABELS = 9
SCALE_STD, STRETCH_STD, TRANSLATE_STD = 0.2, 0.2, 0.125
"""Deviations: log2 of scaling and of stretching, and translation as a fraction of the side."""

SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
"""Low-pass filter of the symlet with six vanishing moments (Daubechies 1992, table 6.3)."""
BORDER = len(SYM6) // 4
"""Pixels beyond the image that the filter reads when it halves the resolution again."""


@pytree
class Transformations:
    """The transformation of each image: two flips, then an affine map.

    flips: [b, 2], left to right and top to bottom. inverse: [b, 2, 3], from a position in the
    result to the position that is read; in pixels, (x, y, 1), the image's middle at 0.
    """

    flips: Bool[Array, "b 2"]
    inverse: Float[Array, "b 2 3"]


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
    """Positions outside of 0..size-1 mirrored at the first and the last pixel."""
    return np.abs((index + size - 1) % (2 * size - 2) - (size - 1)) if size > 1 else index * 0


@cache
def _upsample(size: int) -> Float[np.ndarray, "m n"]:
    """The linear map [2 (3 size - 2), size]: mirror once on either side, then double and filter."""
    mirrored = np.eye(size)[_reflected(np.arange(1 - size, 2 * size - 1), size)]
    doubled = np.zeros((2 * len(mirrored), size))
    doubled[::2] = mirrored
    half = len(SYM6) // 2
    padded = np.pad(doubled, ((half, half), (0, 0)))
    rows = sum(c * padded[k : k + len(doubled)] for k, c in enumerate(SYM6[::-1]))
    return np.asarray(rows, np.float32)


@cache
def _downsample(size: int) -> Float[np.ndarray, "n m"]:
    """The linear map [size, 2 (size + 2 BORDER)]: filter, halve and cut the border off."""
    columns = np.arange(2 * (size + 2 * BORDER))
    first = 2 * (np.arange(size) + BORDER) - len(SYM6) // 2 + 1
    taps = columns - first[:, None]
    inside = (taps >= 0) & (taps < len(SYM6))
    kernel = np.asarray(SYM6)[np.clip(taps, 0, len(SYM6) - 1)]
    return np.where(inside, kernel, 0).astype(np.float32)


_separably = partial(jnp.einsum, precision="highest")
"""einsum in full precision; an accelerator's default would add noise to the images."""


def _bilinear(
    image: Float[Array, "h w c"], y: Float[Array, "m n"], x: Float[Array, "m n"]
) -> Float[Array, "m n c"]:
    """The image interpolated at fractional positions; 0 outside."""
    at = partial(jax.scipy.ndimage.map_coordinates, order=1, mode="constant")
    return jax.vmap(lambda channel: at(channel, [y, x]), -1, -1)(image)


def _warp(image: Float[Array, "h w c"], inverse: Float[Array, "2 3"]) -> Float[Array, "h w c"]:
    height, width, _ = image.shape
    down_y, down_x = _downsample(height), _downsample(width)
    large = _separably("yh,xw,hwc->yxc", _upsample(height), _upsample(width), image)
    # At twice the resolution a pixel's middle lies half a pixel before the original pixel's.
    y = jnp.arange(down_y.shape[1]) / 2 + 0.5 - down_y.shape[1] / 4
    x = jnp.arange(down_x.shape[1]) / 2 + 0.5 - down_x.shape[1] / 4
    ys, xs = jnp.meshgrid(y, x, indexing="ij")
    from_x, from_y = (row[0] * xs + row[1] * ys + row[2] for row in inverse)
    rows = 2 * from_y + large.shape[0] / 2 - 1
    columns = 2 * from_x + large.shape[1] / 2 - 1
    return _separably("hy,wx,yxc->hwc", down_y, down_x, _bilinear(large, rows, columns))


def transform(
    images: Float[Array, "b h w c"], transformations: Transformations
) -> Float[Array, "b h w c"]:
    """The images, flipped and mapped; positions beyond one mirror image of them are 0."""

    def flip(images: Array, chosen: Array, axis: int) -> Array:
        return jnp.where(chosen[:, None, None, None], jnp.flip(images, axis), images)

    flips = transformations.flips
    images = flip(flip(images, flips[:, 0], 2), flips[:, 1], 1)
    return jax.vmap(_warp)(images, transformations.inverse)


def _matrices(*entries: Number | Float[Array, " b"]) -> Float[Array, "b 3 3"]:
    """The affine maps [[a, b, c], [d, e, f], [0, 0, 1]] of entries a to f."""
    return jnp.stack(jnp.broadcast_arrays(*entries, 0.0, 0.0, 1.0), -1).reshape(-1, 3, 3)


def _rotation(angle: Float[Array, " b"]) -> Float[Array, "b 3 3"]:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _matrices(cos, -sin, 0.0, sin, cos, 0.0)


def _scaling(x: Float[Array, " b"], y: Float[Array, " b"]) -> Float[Array, "b 3 3"]:
    return _matrices(x, 0.0, 0.0, 0.0, y, 0.0)


def _translation(x: Float[Array, " b"], y: Float[Array, " b"]) -> Float[Array, "b 3 3"]:
    return _matrices(1.0, 0.0, x, 0.0, 1.0, y)


def from_labels(
    labels: Float[Array, "b 9"], axis: Float[Array, " b"], width: int, height: int
) -> Transformations:
    """The transformations described by labels; `axis` is the angle phi of stretching, in radians.

    (Labels alone do not distinguish phi from phi + pi with the opposite stretch.)
    """
    scale = jnp.exp2(-SCALE_STD * labels[:, 2])
    turn = jnp.arctan2(labels[:, 4], labels[:, 3] + 1)
    stretch = labels[:, 5] * jnp.cos(axis) + labels[:, 6] * jnp.sin(axis)
    along = jnp.exp2(-STRETCH_STD * stretch)
    move_x, move_y = -TRANSLATE_STD * width * labels[:, 7], -TRANSLATE_STD * height * labels[:, 8]
    maps = (
        _scaling(scale, scale),
        _rotation(turn),
        _rotation(-axis), _scaling(along, 1 / along), _rotation(axis),
        _translation(move_x, move_y),
    )  # fmt: skip
    inverse = reduce(partial(jnp.matmul, precision="highest"), maps)
    return Transformations(labels[:, :2] > 0.5, inverse[:, :2])


@pytree
class Augmentation:
    """All transformations, each but flip x with probability `p`; EDM's is 0.12, at 64x64 0.15."""

    p: Number

    def draw(self, key: PRNGKeyArray, n: int) -> tuple[Float[Array, "n 9"], Float[Array, " n"]]:
        """Labels [n, 9] of n images, and the axes phi [n] of stretching."""
        keys = iter(jax.random.split(key, 14))

        def sometimes(value: Float[Array, " n"], p: Number | None = None) -> Float[Array, " n"]:
            chosen = jax.random.uniform(next(keys), (n,)) < (self.p if p is None else p)
            return jnp.where(chosen, value, 0.0)

        def coin() -> Float[Array, " n"]:
            return jax.random.bernoulli(next(keys), shape=(n,)).astype(jnp.float32)

        def angle() -> Float[Array, " n"]:
            return jax.random.uniform(next(keys), (n,), minval=-jnp.pi, maxval=jnp.pi)

        def normal() -> Float[Array, " n"]:
            return jax.random.normal(next(keys), (n,))

        flip_x, flip_y = coin(), sometimes(coin())
        scale, turn = sometimes(normal()), sometimes(angle())
        stretch, axis = sometimes(normal()), sometimes(angle(), 0.5)
        moved = sometimes(jnp.ones(n))
        labels = (
            flip_x, flip_y, scale, jnp.cos(turn) - 1, jnp.sin(turn), stretch * jnp.cos(axis),
            stretch * jnp.sin(axis), moved * normal(), moved * normal(),
        )  # fmt: skip
        return jnp.stack(labels, -1), axis

    def __call__(
        self, key: PRNGKeyArray, images: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b 9"]]:
        """(transformed images, their labels)."""
        n, height, width, _ = images.shape
        labels, axis = self.draw(key, n)
        return transform(images, from_labels(labels, axis, width, height)), labels


def build(config: Any) -> Augmentation | None:
    """The augmentation of a config: None with training.augment = 0.

    Raises:
      ValueError: the network has no augmentation labels, so that it would leak into the samples.
    """
    p, told = config.training.augment, config.model.augment_dim
    if p and told != LABELS:
        raise ValueError(
            f"training.augment={p:g} needs model.augment_dim={LABELS}, labels that tell the "
            f"network how an image was transformed, got {told}: without them samples would be "
            "transformed, too"
        )
    return Augmentation(p) if p else None
