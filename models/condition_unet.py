"""The U-Net of text-to-picture models, whose pixels attend to tokens, as a network.

Rombach et al., 2022, arXiv:2112.10752 (Stable Diffusion); Podell et al., 2023, arXiv:2307.01952
(SDXL); Saharia et al., 2022, arXiv:2205.11487 (Imagen). `models.unet_condition` builds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.fitted import check_shape, resize
from models.inputs import Inputs
from models.layers.attend import Bias, unseen
from models.layers.blocks import Downsample, ResBlock, Upsample
from models.layers.conditions import Condition, as_parts
from models.layers.conv import Conv
from models.layers.pyramids import Head
from models.layers.remat import joining
from models.layers.style import Style, default_init
from models.layers.told import ToldEmbedding, ToldTerms
from models.layers.transformers import Tokens

Image = Float[Array, "b h w c"]
Vector = Float[Array, "b d"]


@dataclass(frozen=True)
class Floor:
    """One resolution.

    Attributes:
      width: channels.
      down, up: of each residual block on the way down and up, the number of transformer blocks
        after it; 0 for no attention.
      heads: of attention.
      cross_only: whether attention that would see pixels alone, or pixels too, sees tokens alone.
    """

    width: int
    down: tuple[int, ...]
    up: tuple[int, ...]
    heads: int
    cross_only: bool = False


@dataclass(frozen=True)
class Bottom:
    """Layers between the ways down and up.

    Attributes:
      blocks: residual blocks: 0, 1 or 2, with attention between two.
      depth, heads, cross_only: as in `Floor`; of attention.
      divisor: of the sums of the residual blocks.
    """

    blocks: int
    depth: int
    heads: int
    cross_only: bool = False
    divisor: float = 1.0


class ConditionUNet(nn.Module):
    """The network.

    Attributes:
      style: shared choices of all layers.
      floors: resolutions, the full one first.
      middle: what lies below them.
      attention: constructor (style, heads, depth, cross_only, name) of a layer with attention.
      told: what the embedding is made of.
      inputs: what the network is given.
      token_features: length to which tokens are mapped; 0: they are as they are.
      resize_blocks: whether images are halved and doubled in residual blocks; if not, by
        convolutions.
      kernels: sizes of the first and the last convolution's.
      centered: True if images are in [-1, 1]; if not, they are in [0, 1] and mapped to [-1, 1].
    """

    style: Style
    floors: tuple[Floor, ...]
    middle: Bottom
    attention: Callable[..., nn.Module]
    told: ToldTerms
    inputs: Inputs
    token_features: int = 0
    resize_blocks: bool = False
    kernels: tuple[int, int] = (3, 3)
    centered: bool = True

    @nn.compact
    def __call__(
        self,
        x: Image,
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w o"]:
        """Raw output of the network.

        Args:
          x: noisy images.
          label: the noise level, an index of up to about 1000 that need not be whole.
          condition: tokens with mask, vector, image, level and class; parts that are absent, and
            numbers that are NaN, are taken to be zero.
          train: drop activations and labels, which needs a key named "dropout".

        Raises:
          ValueError: the condition has a part of a wrong shape.
        """
        parts = as_parts(condition)
        told, bias = self._tokens(parts, len(x))
        embedding = ToldEmbedding(self.style, self.told, name="conditioning")
        e = embedding(label, self._checked(parts, len(x)), told, train)
        if self.token_features and told is not None:
            told = self.style.dense(self.token_features, name="tokens")(told)
        image = self._joined(x, parts)
        seen = (e, None if told is None else told.astype(self.style.dtype), bias, train)
        skips = self._down(image if self.centered else 2 * image - 1, *seen)
        h = self._up(self._across(skips[-1], *seen), skips, *seen)
        scale, size = self.style.init_scale, self.kernels[1]
        head = Head(self.style, self.inputs.channels, scale, kernel_size=size, name="output")
        return head(h).astype(x.dtype)

    @nn.nowrap
    def beside(self) -> tuple[str, ...]:
        """The parts of a condition that it takes beside those of model.condition."""
        return ("guidance",) if self.told.guidance else ()

    def _tokens(self, parts: dict[str, Array], batch: int) -> tuple[Tokens, Bias]:
        """The tokens, zeros where they are unknown, and the bias of those that are not there."""
        shape = self.inputs.kinds.shape("tokens")
        if not shape:
            return None, None
        tokens, mask = parts.get("tokens"), parts.get("mask")
        check_shape("tokens", tokens, (batch, *shape), free=range(1, 2))
        if tokens is None:
            return jnp.zeros((batch, *shape)), None
        check_shape("mask", mask, tokens.shape[:2])
        return known(tokens), unseen(None if mask is None else mask.astype(bool))

    def _checked(self, parts: dict[str, Array], batch: int) -> dict[str, Array]:
        for name in ("level", "guidance"):
            check_shape(name, parts.get(name), (batch,))
        # Of sizes the embedding checks how many there are: SDXL has six, its refiner five.
        free = range(1, 2) if self.told.vector == "sizes" else range(0)
        shape = (batch, *self.inputs.kinds.shape("vector"))
        check_shape("vector", parts.get("vector"), shape, free)
        return parts

    def _joined(self, x: Image, parts: dict[str, Array]) -> Image:
        """x and, after its channels, the image of its resolution."""
        shape = self.inputs.kinds.shape("image")
        if not shape:
            return x
        image = parts.get("image", jnp.zeros((len(x), *shape), x.dtype))
        check_shape("image", image, (len(x), *shape), free=range(1, len(shape)))
        same = resize(known(image), x.shape[1:-1], ())
        return jnp.concatenate([x, same.astype(x.dtype)], axis=-1)

    def _down(self, image: Image, e: Vector, told: Tokens, bias: Bias, train: bool) -> list[Image]:
        style, remat = self.style, self.style.remat
        # In bfloat16 the input would be rounded by more than the least noise in it.
        init = default_init()
        stem = Conv(self.floors[0].width, self.kernels[0], kernel_init=init, name="stem")
        skips = [stem(image).astype(style.dtype)]
        for level, floor in enumerate(self.floors):
            if level:
                width, name = skips[-1].shape[-1], f"down_{level}_halve"
                halve = (
                    self._block(style, width, name, style.resample.down)
                    if self.resize_blocks
                    else Downsample(style, width, True, name=name)
                )
                skips.append(remat(halve)(skips[-1], e, train=train))
            for i, depth in enumerate(floor.down):
                block = self._block(style, floor.width, f"down_{level}_block_{i}")
                h = remat(block)(skips[-1], e, train=train)
                name = f"down_{level}_attention_{i}"
                skips.append(self._attended(h, floor, depth, name, told, bias, train))
        return skips

    def _across(self, h: Image, e: Vector, told: Tokens, bias: Bias, train: bool) -> Image:
        style = replace(self.style, divisor=self.middle.divisor)
        for i in range(self.middle.blocks):
            if i:
                depth = self.middle.depth
                h = self._attended(h, self.middle, depth, "middle_attention", told, bias, train)
            block = self._block(style, h.shape[-1], f"middle_block_{i}")
            h = style.remat(block)(h, e, train=train)
        return h

    def _up(
        self, h: Image, skips: list[Image], e: Vector, told: Tokens, bias: Bias, train: bool
    ) -> Image:
        style, remat = self.style, self.style.remat
        for level, floor in reversed(list(enumerate(self.floors))):
            for i, depth in enumerate(floor.up):
                block = self._block(style, floor.width, f"up_{level}_block_{i}")
                h = remat(block, joining)(h, skips.pop(), e, train=train)
                name = f"up_{level}_attention_{i}"
                h = self._attended(h, floor, depth, name, told, bias, train)
            if level:
                h = remat(self._doubling(h, skips[-1], f"up_{level}_double"))(h, e, train=train)
        return h

    def _doubling(self, h: Image, skip: Image, name: str) -> nn.Module:
        style, width = self.style, h.shape[-1]
        if self.resize_blocks:
            return self._block(style, width, name, style.resample.up)
        height, columns = skip.shape[1:3]
        exact = (height, columns) == (2 * h.shape[1], 2 * h.shape[2])
        return Upsample(style, width, True, None if exact else (height, columns), name=name)

    def _attended(
        self,
        h: Image,
        of: Floor | Bottom,
        depth: int,
        name: str,
        told: Tokens,
        bias: Bias,
        train: bool,
    ) -> Image:
        if not depth:
            return h
        layer = self.attention(self.style, of.heads, depth, of.cross_only, name=name)
        return self.style.remat(layer)(h, told, bias, train=train)

    def _block(self, style: Style, width: int, name: str, resize: Any = None) -> ResBlock:
        return ResBlock(style, width, 1.0, resize, resized_shortcut=False, name=name)


def known(part: Float[Array, "b *s"]) -> Float[Array, "b *s"]:
    """A part with zeros in place of what is NaN."""
    return jnp.where(jnp.isnan(part), jnp.zeros((), part.dtype), part)
