"""The noise-conditional wide residual network whose gradient guides class-conditional sampling.

Zagoruyko and Komodakis, 2016, "Wide Residual Networks", arXiv:1605.07146; conditioned on the noise
level by Song et al., 2021, arXiv:2011.13456, appendix I.1. The published one, WideResNet-28-10 for
CIFAR-10, is model.nf=16, model.ch_mult=(10, 20, 40), model.num_res_blocks=4, model.num_classes=10,
model.fourier_scale=16.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from models import settings
from models.checks import flag, integer, number, numbers
from models.layers.conditions import Condition
from models.layers.conv import Conv
from models.layers.embeddings import Fourier
from models.layers.norm import GroupNorm, quarter_groups
from models.layers.resampling import Plain
from models.layers.style import uniform_init
from models.shapes import picture

Image = Float[Array, "b h w c"]
FREQUENCIES, FEATURES = 128, 512
"""Frequencies of the Fourier features of log sigma, and width of the layers after them."""
EPSILON = 1e-5
COLOURS = {
    3: ((0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784)),
}
"""Mean and deviation of CIFAR-10's channels, by number of channels; other images stay as is."""

conv_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def whiten(x: Image) -> Image:
    """Each image with mean 0 and variance 1; the deviation is at least 1 / sqrt(h w c)."""
    centred = x - x.mean((1, 2, 3), keepdims=True)
    floor = 1 / math.sqrt(math.prod(x.shape[1:]))
    # The maximum is taken under the root, so that a constant image has a gradient.
    power = jnp.square(centred).mean((1, 2, 3), keepdims=True)
    return centred * lax.rsqrt(jnp.maximum(power, floor**2))


class ResidualBlock(nn.Module):
    """Two rounds of GroupNorm, relu, convolution, with the noise level added between; plus x.

    Attributes:
      features: channels of the result; if x has fewer, zeros stand for the rest.
      halve: the first convolution halves the image, and x is halved by means of 2x2 pixels.
      first: x has already passed the first GroupNorm and relu.
      dtype: type of the computation.
    """

    features: int
    halve: bool
    first: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Image, embedding: Float[Array, "b d"]) -> Image:
        h = activate(x, self.dtype, "norm_0")
        x = h if self.first else x
        h = self._conv(h, 2 if self.halve else 1, "conv_0")
        dense = nn.Dense(self.features, dtype=self.dtype, name="embed")
        h = h + dense(embedding)[:, None, None]
        h = self._conv(activate(h, self.dtype, "norm_1"), 1, "conv_1")
        x = Plain().down(x) if self.halve else x
        zeros = (0, self.features - x.shape[-1])
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), zeros)) + h

    def _conv(self, h: Image, stride: int, name: str) -> Image:
        conv = Conv(
            self.features,
            stride=stride,
            use_bias=False,
            kernel_init=conv_init,
            dtype=self.dtype,
            name=name,
        )
        return conv(h)


def activate(x: Image, dtype: Any, name: str) -> Image:
    """relu of a GroupNorm of at most 32 groups."""
    return jax.nn.relu(GroupNorm(quarter_groups(x.shape[-1]), dtype, EPSILON, name=name)(x))


class WideResNet(nn.Module):
    """A classifier of noisy images.

    Attributes:
      stem: channels before the first block.
      widths: channels of each group of blocks; all but the first halve the image.
      blocks: number of blocks in each group.
      classes: number of logits.
      scale: deviation of the Fourier frequencies.
      centered: True if images are in [-1, 1]; if not, they are in [0, 1].
      dtype: type of the computation; parameters, statistics and logits are always float32.
    """

    stem: int
    widths: tuple[int, ...]
    blocks: int
    classes: int
    scale: float
    centered: bool
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: Image,
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b k"]:
        """Logits of the classes.

        Args:
          x: noisy images, in the form given to the score network.
          label: log sigma.
          condition: None.
          train: ignored, since there is neither dropout nor batch normalization.
        """
        embedding = self._embed(label)
        h = whiten(self._colours(x)).astype(self.dtype)
        stem = Conv(self.stem, use_bias=False, kernel_init=conv_init, dtype=self.dtype, name="stem")
        h = stem(h)
        for i, width in enumerate(self.widths):
            for j in range(self.blocks):
                halve, first = i > 0 and j == 0, i == j == 0
                name = f"group_{i}_block_{j}"
                h = ResidualBlock(width, halve, first, self.dtype, name=name)(h, embedding)
        h = activate(h, jnp.float32, "norm").mean((1, 2))
        init = uniform_init(1 / math.sqrt(self.classes))
        return nn.Dense(self.classes, kernel_init=init, name="output")(h)

    def _embed(self, label: Float[Array, "b"]) -> Float[Array, "b d"]:
        h = Fourier(FREQUENCIES, self.scale, name="noise")(label)
        h = nn.Dense(FEATURES, dtype=self.dtype, name="embed_0")(h)
        return jax.nn.silu(nn.Dense(FEATURES, dtype=self.dtype, name="embed_1")(jax.nn.silu(h)))

    def _colours(self, x: Image) -> Image:
        x = (x + 1) / 2 if self.centered else x
        if x.shape[-1] not in COLOURS:
            return x
        mean, deviation = (np.array(v, x.dtype)[None, None, None] for v in COLOURS[x.shape[-1]])
        return (x - mean) / deviation


def build(config: ConfigDict) -> WideResNet:
    """The classifier that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    model, data = config.model, config.data
    rule = "a list of positive integers, one for each group of blocks, that do not fall"
    multiples = numbers(model, "model.ch_mult", rule, int, lambda n: n > 0)
    if not multiples or list(multiples) != sorted(multiples):
        raise ValueError(f"model.ch_mult must be {rule}, got {model.ch_mult!r}")
    network = WideResNet(
        stem=integer(model, "model.nf", least=1),
        widths=tuple(model.nf * multiple for multiple in multiples),
        blocks=integer(model, "model.num_res_blocks", least=1),
        classes=integer(model, "model.num_classes", least=2),
        scale=number(model, "model.fourier_scale", "positive", lambda s: 0 < s < math.inf),
        centered=flag(data, "data.centered"),
        dtype=settings.dtype(model),
    )
    _check(config, network)
    return network


def _check(config: ConfigDict, network: WideResNet) -> None:
    levels = len(network.widths)
    why = f"model.ch_mult has {levels} entries and the network halves images {levels - 1} times"
    picture(config, levels - 1, why, padded=False)
    for channels in (network.stem, *network.widths):
        if channels < 4 or channels % quarter_groups(channels):
            raise ValueError(
                f"model.nf must let group normalization split all layers evenly, got "
                f"{network.stem}: {channels} channels do not fall into "
                f"{quarter_groups(channels)} groups; a multiple of 16 with model.ch_mult even fits"
            )
