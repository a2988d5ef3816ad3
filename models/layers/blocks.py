"""Residual blocks and resampling layers of the U-Net, which map features to features.

All are called as `layer(h, embedding, train)`, so that they are interchangeable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.conv import Conv
from models.layers.dense import shifted
from models.layers.dropout import Dropout
from models.layers.style import Style, default_init

Image = Float[Array, "b *s c"]
Embedding = Float[Array, "b d"] | None
UNPADDED = ((0, 0), (0, 0))


class ResBlock(nn.Module):
    """GroupNorm, activation, (resizing), convolution, embedding added, the same again; plus x.

    Attributes:
      style: shared choices.
      features: channels of the result.
      shortcut_scale: variance scale of the linear map of x, where its shape changes.
      resize: doubles or halves both branches; None keeps the size.
      dilation: of the convolutions.
    """

    style: Style
    features: int
    shortcut_scale: float
    resize: Callable[[Array], Array] | None = None
    dilation: int | tuple[int, ...] = 1

    @nn.compact
    def __call__(self, x: Image, embedding: Embedding = None, train: bool = False) -> Image:
        style, resize = self.style, self.resize or (lambda y: y)
        h = resize(style.activation(self._norm(x, "norm_0")))
        h = self._conv(h, 1.0, "conv_0")
        if embedding is not None:
            shift = style.exact.dense(self.features, name="embed")(embedding)
            h = shifted(h, jnp.expand_dims(shift, tuple(range(1, h.ndim - 1))))
        h = style.activation(self._norm(h, "norm_1"))
        h = Dropout(style.dropout)(h, train=train)
        h = self._conv(h, style.init_scale, "conv_1")
        if self.resize or x.shape[-1] != self.features:
            shortcut = style.dense(self.features, scale=self.shortcut_scale, name="shortcut")
            x = shortcut(resize(x))
        return style.residual(x, h)

    def _norm(self, h: Image, name: str) -> Image:
        return self.style.norm(h.shape[-1], name)(h)

    def _conv(self, h: Image, scale: float, name: str) -> Image:
        conv = Conv(
            self.features,
            dilation=self.dilation,
            periodic=self.style.periodic,
            kernel_init=default_init(scale),
            dtype=self.style.dtype,
            name=name,
        )
        return conv(h)


class Upsample(nn.Module):
    """Double the image, with a 3x3 convolution to `features` channels if `conv`."""

    style: Style
    features: int
    conv: bool

    @nn.compact
    def __call__(self, x: Image, embedding: Embedding = None, train: bool = False) -> Image:
        if not self.conv:
            return self.style.resample.up(x)
        conv = Conv(
            self.features,
            padding=UNPADDED,
            kernel_init=default_init(),
            dtype=self.style.dtype,
            name="conv",
        )
        return conv(self.style.resample.up_for_conv(x))


class Downsample(nn.Module):
    """Halve the image, with a 3x3 convolution to `features` channels if `conv`."""

    style: Style
    features: int
    conv: bool

    @nn.compact
    def __call__(self, x: Image, embedding: Embedding = None, train: bool = False) -> Image:
        if not self.conv:
            return self.style.resample.down(x)
        conv = Conv(
            self.features,
            stride=2,
            padding=UNPADDED,
            kernel_init=default_init(),
            dtype=self.style.dtype,
            name="conv",
        )
        return conv(self.style.resample.down_for_conv(x))


class Layers(NamedTuple):
    """Constructors (style, features, name) of a U-Net's block, halving and doubling layer."""

    block: Callable[..., nn.Module]
    down: Callable[..., nn.Module]
    up: Callable[..., nn.Module]


def ddpm_block(style: Style, features: int, name: str) -> nn.Module:
    """The residual block of Ho et al., 2020, arXiv:2006.11239."""
    return ResBlock(style, features, shortcut_scale=0.1, name=name)


def ddpm_down(style: Style, features: int, name: str) -> nn.Module:
    """Halving outside of a residual block."""
    return Downsample(style, features, style.resample_with_conv, name=name)


def ddpm_up(style: Style, features: int, name: str) -> nn.Module:
    """Doubling outside of a residual block."""
    return Upsample(style, features, style.resample_with_conv, name=name)


def biggan_block(style: Style, features: int, name: str) -> nn.Module:
    """The residual block of Brock et al., 2019, arXiv:1809.11096, appendix B."""
    return ResBlock(style, features, shortcut_scale=1.0, name=name)


def biggan_down(style: Style, features: int, name: str) -> nn.Module:
    """A residual block that halves both of its branches."""
    return ResBlock(style, features, 1.0, style.resample.down, name=name)


def biggan_up(style: Style, features: int, name: str) -> nn.Module:
    """A residual block that doubles both of its branches."""
    return ResBlock(style, features, 1.0, style.resample.up, name=name)


RESBLOCKS = {
    "ddpm": Layers(ddpm_block, ddpm_down, ddpm_up),
    "biggan": Layers(biggan_block, biggan_down, biggan_up),
}
