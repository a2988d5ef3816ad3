"""The shape of one example, by which data, network and sampler of a config agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def shape_of(config: Any) -> tuple[int, ...]:
    """`data.shape`, or that of a square picture, (image_size, image_size, num_channels).

    One axis: a vector of features. More: spatial axes, then the channels.
    """
    data = config.data
    return tuple(getattr(data, "shape", ())) or (
        data.image_size,
        data.image_size,
        data.num_channels,
    )


def diffused_shape(config: Any) -> tuple[int, ...]:
    """The shape of what is diffused of one example: `shape_of`, or that of its latents."""
    data = config.data
    if getattr(data, "codec", "levels") == "autoencoder":
        return tuple(data.latent_shape)
    return shape_of(config)


def in_words(shape: tuple[int, ...]) -> str:
    """A shape as words of a message: '32x32x3', or '40 features'."""
    return "x".join(map(str, shape)) if len(shape) > 1 else f"{shape[0]} features"


def area_mean(x: Any, lengths: Sequence[int]) -> Any:
    """Means over equal blocks of x [b, *s, c], as many along each spatial axis as `lengths` says.

    They divide the lengths of x, an array of NumPy or JAX.
    """
    batch, *spatial, channels = x.shape
    cut = [n for fine, n in zip(spatial, lengths, strict=True) for n in (n, fine // n)]
    blocks = x.reshape(batch, *cut, channels)
    return blocks.mean(axis=tuple(range(2, 2 * len(spatial) + 1, 2)))
