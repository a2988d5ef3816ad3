"""The U-Net of NCSN++, DDPM++ and DDPM: down, across, up, with a stack of skips.

Ronneberger et al., 2015, arXiv:1505.04597; Ho et al., 2020, arXiv:2006.11239; Song et al.,
2021, arXiv:2011.13456, appendix H. The functions that build it choose its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.attention import Attention
from models.layers.blocks import Layers
from models.layers.conditions import Condition
from models.layers.conv import Conv
from models.layers.pyramids import Output
from models.layers.remat import joining
from models.layers.style import Style, default_init

Image = Float[Array, "b h w c"]
Embedding = Float[Array, "b d"] | None


class UNet(nn.Module):
    """A score network; the parts are in the order of their calls.

    Attributes:
      style: shared choices of all layers.
      stem: channels of the first convolution.
      widths: channels at each resolution, finest first.
      blocks: residual blocks per resolution on the way down; one more on the way up.
      attention: whether there is attention at each resolution: after every block on the way
        down and, on the way up, after the last block or (`attention_each_up`) every block.
      channels: channels of the output.
      centered: True if images are in [-1, 1]; if not, they are in [0, 1] and mapped to [-1, 1].
      layers: constructors of blocks and resampling layers.
      input_step: constructor of the input pyramid's step.
      combine: the function with which that step joins the image branch to h.
      output: constructors of the output pyramid's step and head.
      conditioning: makes the embedding of label and class, an input of all blocks; or None.
      attention_each_up: whether attention follows every block on the way up (Ho et al.), not
        only the last of a resolution (Song et al.).
      middle_attention: whether there is attention between the two blocks at the bottom.
      middle_rescale: whether residual sums at the bottom are divided by sqrt(2); None: as
        `style` says for all other blocks.
    """

    style: Style
    stem: int
    widths: tuple[int, ...]
    blocks: int
    attention: tuple[bool, ...]
    channels: int
    centered: bool
    layers: Layers
    input_step: Callable[..., nn.Module]
    combine: Callable[[Image, Image], Image]
    output: Output
    conditioning: nn.Module
    attention_each_up: bool = False
    middle_attention: bool = True
    middle_rescale: bool | None = None

    @nn.nowrap
    def multiples(self) -> tuple[int, int]:
        """Height and width must be multiples of these."""
        return (2 ** (len(self.widths) - 1),) * 2

    @nn.compact
    def __call__(
        self,
        x: Image,
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w o"]:
        """Raw output of the network, whose meaning the parametrization defines.

        Args:
          x: noisy images.
          label: the noise level in the form that suits the embedding: log sigma for Fourier
            features, a time or index of up to about 1000 for positional ones.
          condition: class and augmentation labels, as `models.layers.conditions` has them.
          train: drop activations and labels, which needs a key named "dropout".
        """
        embedding = self.conditioning(label, condition, train)
        image = x if self.centered else 2 * x - 1
        skips = self._down(image, embedding, train)
        h = self._across(skips[-1], embedding, train)
        return self._up(h, skips, embedding, train).astype(x.dtype)

    def _down(self, image: Image, embedding: Embedding, train: bool) -> list[Image]:
        remat = self.style.remat
        # In bfloat16 the input would be rounded by more than the least noise in it.
        periodic = self.style.periodic
        stem = Conv(self.stem, periodic=periodic, kernel_init=default_init(), name="stem")
        skips = [stem(image).astype(self.style.dtype)]
        for level, width in enumerate(self.widths):
            if level:
                halve = self.layers.down(self.style, skips[-1].shape[-1], f"down_{level}_halve")
                step = self.input_step(self.style, self.combine, name=f"down_{level}_input")
                image, h = step(image, remat(halve)(skips[-1], embedding, train=train))
                skips.append(h)
            for i in range(self.blocks):
                block = self.layers.block(self.style, width, f"down_{level}_block_{i}")
                h = remat(block)(skips[-1], embedding, train=train)
                if self.attention[level]:
                    attention = Attention(self.style, name=f"down_{level}_attention_{i}")
                    h = remat(attention)(h, train=train)
                skips.append(h)
        return skips

    def _across(self, h: Image, embedding: Embedding, train: bool) -> Image:
        width, style = h.shape[-1], self.style
        if self.middle_rescale is not None:
            style = replace(style, rescale=self.middle_rescale)
        first, last = (self.layers.block(style, width, f"middle_block_{i}") for i in range(2))
        h = style.remat(first)(h, embedding, train=train)
        if self.middle_attention:
            h = style.remat(Attention(style, name="middle_attention"))(h, train=train)
        return style.remat(last)(h, embedding, train=train)

    def _up(self, h: Image, skips: list[Image], embedding: Embedding, train: bool) -> Image:
        pyramid, remat = None, self.style.remat
        for level in reversed(range(len(self.widths))):
            for i in range(self.blocks + 1):
                block = self.layers.block(self.style, self.widths[level], f"up_{level}_block_{i}")
                h = remat(block, joining)(h, skips.pop(), embedding, train=train)
                if self.attention[level] and self.attention_each_up:
                    attention = Attention(self.style, name=f"up_{level}_attention_{i}")
                    h = remat(attention)(h, train=train)
            if self.attention[level] and not self.attention_each_up:
                attention = Attention(self.style, name=f"up_{level}_attention")
                h = remat(attention)(h, train=train)
            step = self.output.step(self.style, self.channels, name=f"up_{level}_output")
            pyramid, h = step(pyramid, h)
            if level:
                double = self.layers.up(self.style, h.shape[-1], f"up_{level}_double")
                h = remat(double)(h, embedding, train=train)
        return self.output.head(self.style, self.channels, name="output")(pyramid, h)


def normalized_widths(
    stem: int, widths: tuple[int, ...], blocks: int, doubled: bool
) -> Iterator[int]:
    """Numbers of channels in the U-Net's GroupNorms, each at least once.

    `doubled`: the input pyramid doubles the channels after every halving.
    """
    h, skips = stem, [stem]
    for level, width in enumerate(widths):
        if level:
            yield h
            h *= 2 if doubled else 1
            skips.append(h)
        for _ in range(blocks):
            yield from (h, width)
            h = width
            skips.append(h)
    for width in reversed(widths):
        for _ in range(blocks + 1):
            yield from (h + skips.pop(), width)
            h = width
