"""A discriminator of patches, which judges the reconstructions of an autoencoder while it trains.

Isola et al., 2017, "Image-to-Image Translation with Conditional Adversarial Networks",
arXiv:1611.07004, section 3.2.2.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from models.layers.conv import Conv

Image = Float[Array, "b h w c"]
PADDING = ((1, 1), (1, 1))
SLOPE = 0.2
"""Slope of the leaky rectifier below zero."""
EPSILON = 1e-5
DOUBLINGS = 3
"""Most times that the number of channels is doubled."""


def _around(mean: float) -> Any:
    return lambda key, shape: mean + 0.02 * jax.random.normal(key, shape)


class BatchNorm(nn.Module):
    """Normalization over batch and pixels, by the statistics of the batch, in float32.

    No running average is kept: a discriminator is of use in training alone.
    """

    @nn.compact
    def __call__(self, x: Image) -> Image:
        scale = self.param("scale", _around(1.0), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        centred = x - x.mean((0, 1, 2), keepdims=True)
        variance = jnp.square(centred).mean((0, 1, 2), keepdims=True)
        n = centred * lax.rsqrt(variance + EPSILON)
        return n * scale[None, None, None] + bias[None, None, None]


class PatchJudge(nn.Module):
    """Logits [b, p, q, 1] of overlapping patches of pictures in [-1, 1].

    Attributes:
      width: channels of the first layer, doubled by the next ones up to eightfold.
      layers: convolutions that halve; one of stride 1 and the logits follow.
    """

    width: int
    layers: int = 3

    @nn.compact
    def __call__(self, x: Image) -> Float[Array, "b p q 1"]:
        for k in range(self.layers + 1):
            features = self.width * 2 ** min(k, DOUBLINGS)
            stride = 2 if k < self.layers else 1
            x = _conv(features, stride, k == 0, f"conv_{k}")(x)
            x = BatchNorm(name=f"norm_{k}")(x) if k else x
            x = jax.nn.leaky_relu(x, SLOPE)
        return _conv(1, 1, True, "output")(x)


def _conv(features: int, stride: int, use_bias: bool, name: str) -> Conv:
    return Conv(
        features, 4, stride, PADDING, use_bias=use_bias, kernel_init=_around(0.0), name=name
    )


def least_side(layers: int) -> int:
    """The smallest side of pictures of which a patch is left."""
    side = 1
    for k in range(layers + 2):
        side = (side - 1) * (2 if k > 1 else 1) + 2
    return side
