"""ADM's residual block: scale and shift by the embedding, attention within the block.

Dhariwal & Nichol, 2021, arXiv:2105.05233, section 3, and in EDM's form of it. The two differ in
what `BlockForm` says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.attend import Attend, auto
from models.layers.attention import attend_with_heads
from models.layers.conv import Conv
from models.layers.dense import shifted
from models.layers.dropout import Dropout
from models.layers.norm import GroupNorm, quarter_groups
from models.layers.remat import Remat, kept
from models.layers.resampling import Plain
from models.layers.style import fan_in_init, linear

Image = Float[Array, "b h w c"]
RESAMPLE = Plain()
ABOVE_LEFT = ((1, 0), (1, 0))
"""PyTorch's symmetric padding of a convolution of stride 2: no window reaches below or right."""
EPSILON = 1e-5
"""Constant added to the variance in ADM's group normalizations."""
CHANNELS_PER_HEAD = 64


def wide_heads(channels: int) -> int:
    """EDM's rule: one head per 64 channels, none below 64 channels."""
    return channels // CHANNELS_PER_HEAD


@dataclass(frozen=True)
class BlockForm:
    """Choices shared by all blocks of a network; the defaults are EDM's.

    Attributes:
      dropout: probability of dropping an activation while training.
      dtype: of the computation; parameters, statistics and softmax are float32 in any case.
      attend, remat, periodic: as in `models.layers.style.Style`.
      groups: number of groups of a normalization over the given number of channels.
      heads: number of heads of attention over the given number of channels, 0 for no attention.
      heads_up: the same on the way up.
      scale_shift: whether the embedding scales and shifts normalized features; if not, it is added
        before the normalization.
      resize_blocks: whether images are halved and doubled within a residual block; if not, by
        a layer of its own: a strided convolution, and repeated pixels before a convolution.
      resize_conv: whether that layer has a convolution; if not, the mean of 2x2 pixels halves.
    """

    dropout: float
    dtype: Any = jnp.float32
    attend: Attend = auto
    remat: Remat = kept
    periodic: tuple[int, ...] = ()
    groups: Callable[[int], int] = quarter_groups
    heads: Callable[[int], int] = wide_heads
    heads_up: Callable[[int], int] = wide_heads
    scale_shift: bool = True
    resize_blocks: bool = True
    resize_conv: bool = True

    def norm(self, h: Float[Array, "b *s c"], dtype: Any, name: str) -> Float[Array, "b *s c"]:
        """Group normalization, within a module."""
        return GroupNorm(self.groups(h.shape[-1]), dtype, EPSILON, name=name)(h)


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
    """x + attention over pixels, and over tokens if there are any, by `heads` heads; x itself if
    there are none."""

    form: BlockForm
    heads: int

    @nn.compact
    def __call__(self, x: Image, tokens: Float[Array, "b m w"] | None, train: bool) -> Image:
        batch, height, width, channels = x.shape
        if not self.heads:
            return x
        dtype = self.form.dtype
        pixels = self.form.norm(x, dtype, "norm").reshape(batch, height * width, channels)
        query, key, value = (
            linear(pixels, channels, dtype, name) for name in ("query", "key", "value")
        )
        if tokens is not None:
            key, value = (
                jnp.concatenate([linear(tokens, channels, dtype, f"token_{name}"), pixel], axis=1)
                for name, pixel in (("key", key), ("value", value))
            )
        seen = attend_with_heads(self.form.attend, query, key, value, self.heads, train)
        return x + linear(seen, channels, dtype, "project", silent=True).reshape(x.shape)


class AdaptiveBlock(nn.Module):
    """x + conv(SiLU(norm(conv(SiLU(norm(x)))) (1 + scale) + shift)), then attention.

    Attributes:
      form: shared choices.
      features: channels of the result, a multiple of their number of groups and of heads.
      heads: of the attention with which the block ends; 0 for no attention.
      resize: doubles or halves both branches; None keeps the size.
    """

    form: BlockForm
    features: int
    heads: int = 0
    resize: Callable[[Array], Array] | None = None

    @nn.compact
    def __call__(
        self,
        x: Image,
        embedding: Float[Array, "b d"],
        tokens: Float[Array, "b m w"] | None = None,
        train: bool = False,
    ) -> Image:
        form, dtype, resize = self.form, self.form.dtype, self.resize or (lambda y: y)
        h = resize(jax.nn.silu(form.norm(x, dtype, "norm_0")))
        h = conv(h, self.features, dtype, "conv_0", form.periodic)
        h = jax.nn.silu(self._told(h, embedding))
        h = Dropout(form.dropout)(h, train=train)
        h = conv(h, self.features, dtype, "conv_1", form.periodic, silent=True)
        x = resize(x)
        if x.shape[-1] != self.features:
            x = linear(x, self.features, dtype, "shortcut")
        h = x + h
        if not self.heads:
            return h
        return MultiHeadAttention(form, self.heads, name="attention")(h, tokens, train)

    def _told(self, h: Image, embedding: Float[Array, "b d"]) -> Image:
        """h normalized and modulated by the embedding, which is linear in either way."""
        form, parts = self.form, 2 if self.form.scale_shift else 1
        # In float32, since the gradients of scale and shift are sums over all pixels.
        linear_map = linear(embedding, parts * self.features, jnp.float32, "embed")
        modulation = linear_map[:, None, None]
        if not form.scale_shift:
            return form.norm(shifted(h, modulation), form.dtype, "norm_1")
        scale, shift = jnp.split(modulation, 2, axis=-1)
        h = form.norm(h, jnp.float32, "norm_1") * (scale + 1) + shift
        return h.astype(form.dtype)


class HalvingLayer(nn.Module):
    """A strided convolution, or the mean of every 2x2 square."""

    form: BlockForm

    @nn.compact
    def __call__(self, x: Image, embedding: Float[Array, "b d"], train: bool) -> Image:
        if not self.form.resize_conv:
            return RESAMPLE.down(x)
        init = fan_in_init(9 * x.shape[-1])
        settings: dict[str, Any] = {"periodic": self.form.periodic, "dtype": self.form.dtype}
        halved = Conv(
            x.shape[-1],
            stride=2,
            padding=ABOVE_LEFT,
            kernel_init=init,
            bias_init=init,
            name="conv",
            **settings,
        )
        return halved(x)


class DoublingLayer(nn.Module):
    """Every pixel repeated in a 2x2 square, and a convolution."""

    form: BlockForm

    @nn.compact
    def __call__(self, x: Image, embedding: Float[Array, "b d"], train: bool) -> Image:
        doubled, form = RESAMPLE.up(x), self.form
        if not form.resize_conv:
            return doubled
        return conv(doubled, x.shape[-1], form.dtype, "conv", form.periodic)
