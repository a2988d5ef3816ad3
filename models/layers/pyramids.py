"""Progressive growing: image pyramids beside the U-Net, at its input and at its output.

Karras et al., 2020, arXiv:1912.04958, section 4.1; Song et al., 2021, arXiv:2011.13456,
appendix H. An input step is called after every halving as `step(image, h) -> (image, h)`, an
output step at every resolution of the way up as `step(pyramid, h) -> (pyramid, h)`, with the
pyramid None at first. A head turns the last `(pyramid, h)` into the output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.blocks import Downsample, Upsample
from models.layers.conv import Conv
from models.layers.style import Style, default_init

Image = Float[Array, "b h w c"]


class Head(nn.Module):
    """GroupNorm, activation, 3x3 convolution to `features` channels, computed in `dtype`.

    The kernel may be of another size.
    """

    style: Style
    features: int
    scale: float
    dtype: Any = jnp.float32
    kernel_size: int = 3

    @nn.compact
    def __call__(self, h: Image) -> Image:
        style = self.style
        norm = style.norm(h.shape[-1], "norm")
        init = default_init(self.scale)
        conv = Conv(
            self.features,
            self.kernel_size,
            periodic=style.periodic,
            kernel_init=init,
            dtype=self.dtype,
            name="conv",
        )
        return conv(style.activation(norm(h)))


def add(image: Image, h: Image) -> Image:
    """Sum of the two branches."""
    return image + h


def concatenate(image: Image, h: Image) -> Image:
    """Channels of the image branch, then those of h."""
    return jnp.concatenate([image, h], axis=-1)


COMBINE: dict[str, Callable[[Image, Image], Image]] = {"sum": add, "cat": concatenate}


class NoInput(nn.Module):
    """No pyramid: the image is an input of the first layer only."""

    style: Style
    combine: Callable[[Image, Image], Image]

    def __call__(self, image: Image, h: Image) -> tuple[Image, Image]:
        return image, h


class InputSkip(nn.Module):
    """Map the halved image to h's channels and combine it with h."""

    style: Style
    combine: Callable[[Image, Image], Image]

    @nn.compact
    def __call__(self, image: Image, h: Image) -> tuple[Image, Image]:
        image = self.style.resample.down(image)
        project = self.style.exact.dense(h.shape[-1], name="project")
        return image, self.combine(project(image).astype(h.dtype), h)


class InputResidual(nn.Module):
    """Replace h by a strided convolution of the image branch, plus h."""

    style: Style
    combine: Callable[[Image, Image], Image]

    @nn.compact
    def __call__(self, image: Image, h: Image) -> tuple[Image, Image]:
        down = Downsample(self.style, h.shape[-1], conv=True, name="down")
        image = self.style.residual(down(image), h)
        return image, image


INPUTS = {"none": NoInput, "input_skip": InputSkip, "residual": InputResidual}


class NoOutput(nn.Module):
    """No pyramid: the output is computed at full resolution only."""

    style: Style
    channels: int

    def __call__(self, pyramid: Image | None, h: Image) -> tuple[Image | None, Image]:
        return pyramid, h


class OutputSkip(nn.Module):
    """Add this resolution's image to the doubled image of the lower resolutions."""

    style: Style
    channels: int

    @nn.compact
    def __call__(self, pyramid: Image | None, h: Image) -> tuple[Image, Image]:
        image = Head(self.style, self.channels, self.style.init_scale, name="head")(h)
        return image if pyramid is None else self.style.resample.up(pyramid) + image, h


class OutputResidual(nn.Module):
    """Replace h by the doubled features of the lower resolutions, plus h."""

    style: Style
    channels: int

    @nn.compact
    def __call__(self, pyramid: Image | None, h: Image) -> tuple[Image, Image]:
        width = h.shape[-1]
        if pyramid is None:
            return Head(self.style, width, 1.0, self.style.dtype, name="head")(h), h
        up = Upsample(self.style, width, conv=True, name="up")
        pyramid = self.style.residual(up(pyramid), h)
        return pyramid, pyramid


class FeatureHead(nn.Module):
    """The output is a last convolution of h."""

    style: Style
    channels: int

    @nn.compact
    def __call__(self, pyramid: Image | None, h: Image) -> Image:
        return Head(self.style, self.channels, self.style.init_scale, name="head")(h)


class PyramidHead(nn.Module):
    """The output is the pyramid itself."""

    style: Style
    channels: int

    def __call__(self, pyramid: Image, h: Image) -> Image:
        return pyramid


class Output(NamedTuple):
    """Constructors (style, channels, name) of each resolution's output step and of the head."""

    step: Callable[..., nn.Module]
    head: Callable[..., nn.Module]


OUTPUTS = {
    "none": Output(NoOutput, FeatureHead),
    "output_skip": Output(OutputSkip, PyramidHead),
    "residual": Output(OutputResidual, FeatureHead),
}
