"""The ways down, across and up of ADM's U-Net, for its networks and for its classifiers.

Dhariwal & Nichol, 2021, arXiv:2105.05233. All parts are called within a module, whose they become.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.adaptive import (
    RESAMPLE,
    AdaptiveBlock,
    BlockForm,
    DoublingLayer,
    HalvingLayer,
    conv,
)
from models.layers.remat import joining

Image = Float[Array, "b h w c"]
Embedding = Float[Array, "b d"]
Tokens = Float[Array, "b m w"] | None
"""Features that attention sees beside pixels; None: there are none."""


@dataclass(frozen=True)
class Tower:
    """Residual blocks at every resolution, with attention after each block of some of them.

    Attributes:
      form: shared choices of the blocks.
      widths, blocks, attention: as in `models.unet.UNet`; the middle has attention in any case.
    """

    form: BlockForm
    widths: tuple[int, ...]
    blocks: int
    attention: tuple[bool, ...]

    def multiples(self) -> tuple[int, int]:
        """Height and width must be multiples of these."""
        return (2 ** (len(self.widths) - 1),) * 2

    def down(
        self, image: Image, embedding: Embedding, train: bool, tokens: Tokens = None
    ) -> list[Image]:
        """The first convolution's and every later layer's result."""
        form = self.form
        # In bfloat16 the input would be rounded by more than the least noise in it.
        stem = conv(image, self.widths[0], jnp.float32, "stem", form.periodic)
        skips = [stem.astype(form.dtype)]
        for level, (width, attention) in enumerate(self._levels()):
            if level:
                halve = self._resize(skips[-1], RESAMPLE.down, HalvingLayer, f"down_{level}_halve")
                skips.append(form.remat(halve)(skips[-1], embedding, train=train))
            heads = form.heads(width) if attention else 0
            for i in range(self.blocks):
                down = AdaptiveBlock(form, width, heads, name=f"down_{level}_block_{i}")
                skips.append(form.remat(down)(skips[-1], embedding, tokens, train=train))
        return skips

    def across(self, h: Image, embedding: Embedding, train: bool, tokens: Tokens = None) -> Image:
        """The two blocks at the lowest resolution, attention between them."""
        for i, heads in enumerate((self.form.heads(h.shape[-1]), 0)):
            middle = AdaptiveBlock(self.form, h.shape[-1], heads, name=f"middle_block_{i}")
            h = self.form.remat(middle)(h, embedding, tokens, train=train)
        return h

    def up(
        self,
        h: Image,
        skips: list[Image],
        embedding: Embedding,
        train: bool,
        tokens: Tokens = None,
    ) -> Image:
        """Blocks that see the results of the way down, the last one first."""
        form, left = self.form, list(skips)
        for level, (width, attention) in reversed(list(enumerate(self._levels()))):
            heads = form.heads_up(width) if attention else 0
            for i in range(self.blocks + 1):
                up = AdaptiveBlock(form, width, heads, name=f"up_{level}_block_{i}")
                h = form.remat(up, joining)(h, left.pop(), embedding, tokens, train=train)
            if level:
                double = self._resize(h, RESAMPLE.up, DoublingLayer, f"up_{level}_double")
                h = form.remat(double)(h, embedding, train=train)
        return h

    def _levels(self) -> list[tuple[int, bool]]:
        return list(zip(self.widths, self.attention, strict=True))

    def _resize(
        self, h: Image, resize: Callable[[Array], Array], layer: Any, name: str
    ) -> nn.Module:
        if self.form.resize_blocks:
            return AdaptiveBlock(self.form, h.shape[-1], resize=resize, name=name)
        made: nn.Module = layer(self.form, name=name)
        return made
