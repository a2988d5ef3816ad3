"""ADM's residual block: scale and shift by the embedding, attention within the block.

Dhariwal & Nichol, 2021, arXiv:2105.05233, section 3, in EDM's form of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.attend import Attend, auto
from models.layers.attention import attend_with_heads
from models.layers.conv import Conv
from models.layers.dropout import Dropout
from models.layers.norm import GroupNorm, quarter_groups
from models.layers.style import fan_in_init, linear

Image = Float[Array, "b h w c"]
EPSILON = 1e-5
"""Constant added to the variance in ADM's group normalizations."""
CHANNELS_PER_HEAD = 64


def norm(h: Image, dtype: Any, name: str) -> Image:
    """Group normalization, within a module."""
    return GroupNorm(quarter_groups(h.shape[-1]), dtype, EPSILON, name=name)(h)


def conv(
    h: Image,
    features: int,
    dtype: Any,
    name: str,
    periodic: tuple[int, ...] = (),
    *,
    silent: bool = False,
) -> Image:
    """3x3 convolution, within a module: `fan_in_init`, or `silent` zeros."""
    init = nn.initializers.zeros if silent else fan_in_init(9 * h.shape[-1])
    return Conv(
        features, periodic=periodic, kernel_init=init, bias_init=init, dtype=dtype, name=name
    )(h)


class MultiHeadAttention(nn.Module):
    """x + attention over pixels, one head per 64 channels; x itself below 64 channels."""

    dtype: Any
    attend: Attend = auto

    @nn.compact
    def __call__(self, x: Image, train: bool) -> Image:
        batch, height, width, channels = x.shape
        heads = channels // CHANNELS_PER_HEAD
        if not heads:
            return x
        pixels = norm(x, self.dtype, "norm").reshape(batch, height * width, channels)
        query, key, value = (
            linear(pixels, channels, self.dtype, name) for name in ("query", "key", "value")
        )
        seen = attend_with_heads(self.attend, query, key, value, heads, train)
        return x + linear(seen, channels, self.dtype, "project", silent=True).reshape(x.shape)


class AdaptiveBlock(nn.Module):
    """x + conv(SiLU(norm(conv(SiLU(norm(x)))) (1 + scale) + shift)), then attention.

    Attributes:
      features: channels of the result, a multiple of their number of groups and of heads.
      attention: whether the block ends with attention.
      dropout: probability of dropping an activation while training.
      dtype: type of the computation.
      resize: doubles or halves both branches; None keeps the size.
      attend: the implementation of attention.
      periodic: spatial axes along which convolutions see the other end.
    """

    features: int
    attention: bool
    dropout: float
    dtype: Any
    resize: Callable[[Array], Array] | None = None
    attend: Attend = auto
    periodic: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: Image, embedding: Float[Array, "b d"], train: bool) -> Image:
        resize = self.resize or (lambda y: y)
        h = resize(jax.nn.silu(norm(x, self.dtype, "norm_0")))
        h = conv(h, self.features, self.dtype, "conv_0", self.periodic)
        # In float32, since the gradients of scale and shift are sums over all pixels.
        modulation = linear(embedding, 2 * self.features, jnp.float32, "embed")[:, None, None]
        scale, shift = jnp.split(modulation, 2, axis=-1)
        h = norm(h, jnp.float32, "norm_1") * (scale + 1) + shift
        h = jax.nn.silu(h.astype(self.dtype))
        h = Dropout(self.dropout)(h, train=train)
        h = conv(h, self.features, self.dtype, "conv_1", self.periodic, silent=True)
        x = resize(x)
        if x.shape[-1] != self.features:
            x = linear(x, self.features, self.dtype, "shortcut")
        h = x + h
        if not self.attention:
            return h
        return MultiHeadAttention(self.dtype, self.attend, name="attention")(h, train)
