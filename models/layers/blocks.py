"""Residual blocks and resampling layers of the U-Net, which map features to features.

All are called as `layer(h, embedding, train)`, so that they are interchangeable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.borders import bordered
from models.layers.conv import Conv
from models.layers.dense import shifted
from models.layers.dropout import Dropout
from models.layers.style import Style, default_init

Image = Float[Array, "b *s c"]
Embedding = Float[Array, "b d"] | None
UNPADDED = ((0, 0), (0, 0))


class ResBlock(nn.Module):
    """GroupNorm, activation, (resizing), convolution, embedding told, the same again; plus x.

    Attributes:
      style: shared choices.
      features: channels of the result.
      shortcut_scale: variance scale of the linear map of x, where its shape changes.
      resize: doubles or halves both branches; None keeps the size.
      dilation: of the convolutions.
      resized_shortcut: whether x passes the linear map wherever it is resized; if not, where its
        number of channels changes.
    """

    style: Style
    features: int
    shortcut_scale: float
    resize: Callable[[Array], Array] | None = None
    dilation: int | tuple[int, ...] = 1
    resized_shortcut: bool = True

    @nn.compact
    def __call__(self, x: Image, embedding: Embedding = None, train: bool = False) -> Image:
        style, resize = self.style, self.resize or (lambda y: y)
        h = resize(style.activation(self._norm(x, "norm_0")))
        h = self._conv(h, 1.0, "conv_0")
        h = style.activation(self._told(h, embedding))
        h = Dropout(style.dropout)(h, train=train)
        h = self._conv(h, style.init_scale, "conv_1")
        x, mapped = resize(x), x.shape[-1] != self.features
        if mapped or (self.resize and self.resized_shortcut):
            x = style.dense(self.features, scale=self.shortcut_scale, name="shortcut")(x)
        return style.residual(x, h)

    def _told(self, h: Image, embedding: Embedding) -> Image:
        """h normalized, and told of the embedding before or after that."""
        style = self.style
        if embedding is None:
            return self._norm(h, "norm_1")
        # In float32, since the gradients of scale and shift are sums over all pixels.
        parts = 2 if style.scale_shift else 1
        told = style.exact.dense(parts * self.features, name="embed")(embedding)
        told = jnp.expand_dims(told, tuple(range(1, h.ndim - 1)))
        if not style.scale_shift:
            return self._norm(shifted(h, told), "norm_1")
        scale, shift = jnp.split(told, 2, axis=-1)
        h = style.exact.norm(h.shape[-1], "norm_1")(h) * (scale + 1) + shift
        return h.astype(style.dtype)

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
    """Double the image, with a 3x3 convolution to `features` channels if `conv`.

    size: height and width of the result of a convolution, one less than double where the image was
    halved from an odd number; None: double.
    """

    style: Style
    features: int
    conv: bool
    size: tuple[int, int] | None = None

    @nn.compact
    def __call__(self, x: Image, embedding: Embedding = None, train: bool = False) -> Image:
        resample = self.style.resample
        if not self.conv:
            return resample.up(x)
        conv = Conv(
            self.features,
            padding=UNPADDED,
            kernel_init=default_init(),
            dtype=self.style.dtype,
            name="conv",
        )
        if self.size is None:
            return conv(resample.up_for_conv(x))
        height, width = self.size
        return conv(bordered(resample.up(x)[:, :height, :width], [(1, 1)] * 2))


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
