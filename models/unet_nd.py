"""A U-Net for series, pictures and volumes: one to three spatial axes, any of them periodic.

It has NCSN++'s residual blocks. From one floor to the next an axis is treated as befits it:

- a periodic axis keeps its length, and the convolutions along it are dilated by 2^floor (Yu and
  Koltun, 2016, arXiv:1511.07122). Whatever halves a periodic axis distinguishes its even from its
  odd places; so the output moves with the input by any number of places, to round-off;
- another axis is halved as long as SHORTEST places remain: a short axis is left whole.

There is attention at the floors of model.attn_resolutions, which count as if the longest axis were
halved at every floor, and between the two blocks at the bottom if model.add_attention and there are
no more than MOST places. Tokens are attended to wherever there is attention, and at the bottom in
any case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from models import any_rank, settings
from models.checks import flag
from models.inputs import Inputs
from models.layers.attention import Attention, CrossAttention
from models.layers.blocks import ResBlock
from models.layers.conditions import Condition, as_parts
from models.layers.conv import Conv
from models.layers.embeddings import ConditionEmbedding
from models.layers.norm import quarter_groups
from models.layers.pyramids import Head
from models.layers.remat import joining
from models.layers.resampling import Double, Halve
from models.layers.style import Style, default_init
from models.shapes import check_rank, resolutions

SHORTEST = 4
"""Fewest places that an axis is left with by halving."""
MOST = 2048
"""Most places at the bottom among which there is attention without being asked for."""
Lattice = Float[Array, "b *s c"]
Embedding = Float[Array, "b d"] | None
Tokens = tuple[Array, ...]
"""Tokens and which are shown; () if there are none."""


class UNetND(nn.Module):
    """The network; `style`, `stem`, `widths`, `blocks`, `channels` as in `models.unet.UNet`.

    Attributes:
      attention: whether there is attention at each floor, after every block on the way down and
        after the last on the way up.
      halved: axes that are halved on the way to each floor; () for the first.
      dilations: of the convolutions along each axis, at each floor.
      middle_attention: whether there is attention between the two blocks at the bottom.
      tokens: whether there are tokens to attend to.
      conditioning: makes the embedding that all blocks see.
    """

    style: Style
    stem: int
    widths: tuple[int, ...]
    blocks: int
    channels: int
    attention: tuple[bool, ...]
    halved: tuple[tuple[int, ...], ...]
    dilations: tuple[tuple[int, ...], ...]
    middle_attention: bool
    tokens: bool
    conditioning: ConditionEmbedding

    @nn.nowrap
    def multiples(self) -> tuple[int, ...]:
        """The length of each axis must be a multiple of these."""
        axes = range(len(self.dilations[0]))
        return tuple(2 ** sum(axis in halved for halved in self.halved) for axis in axes)

    @nn.compact
    def __call__(
        self,
        x: Lattice,
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b *s o"]:
        """Raw output of the network; the arguments are those of `models.unet.UNet`."""
        parts = as_parts(condition)
        tokens = (parts["tokens"], parts["mask"]) if self.tokens else ()
        told = self.conditioning(label, self.conditioning.takes(parts), train)
        skips = self._down(x, told, tokens, train)
        first, last = (self._block(-1, f"middle_block_{i}", self.widths[-1]) for i in range(2))
        h = self.style.remat(first)(skips[-1], told, train=train)
        h = self._attend(h, tokens, train, self.middle_attention, "middle")
        h = self.style.remat(last)(h, told, train=train)
        h = self._up(h, skips, told, tokens, train)
        style = self.style
        return Head(style, self.channels, style.init_scale, name="output")(h).astype(x.dtype)

    def _down(self, x: Lattice, told: Embedding, tokens: Tokens, train: bool) -> list[Lattice]:
        periodic, remat = self.style.periodic, self.style.remat
        # In bfloat16 the input would be rounded by more than the least noise in it.
        stem = Conv(self.stem, periodic=periodic, kernel_init=default_init(), name="stem")
        skips = [stem(x).astype(self.style.dtype)]
        for level, width in enumerate(self.widths):
            floor = f"down_{level}"
            if level:
                same, resize = skips[-1].shape[-1], Halve(self.halved[level])
                halve = self._block(level, f"{floor}_halve", same, resize)
                skips.append(remat(halve)(skips[-1], told, train=train))
            for i in range(self.blocks):
                block = self._block(level, f"{floor}_block_{i}", width)
                h = remat(block)(skips[-1], told, train=train)
                h = self._attend(h, tokens, train, self.attention[level], f"{floor}_{i}")
                skips.append(h)
        return skips

    def _up(
        self, h: Lattice, skips: list[Lattice], told: Embedding, tokens: Tokens, train: bool
    ) -> Lattice:
        remat = self.style.remat
        for level, width in reversed(list(enumerate(self.widths))):
            floor = f"up_{level}"
            for i in range(self.blocks + 1):
                block = self._block(level, f"{floor}_block_{i}", width)
                h = remat(block, joining)(h, skips.pop(), told, train=train)
            h = self._attend(h, tokens, train, self.attention[level], floor)
            if level:
                resize = Double(self.halved[level])
                double = self._block(level - 1, f"{floor}_double", width, resize)
                h = remat(double)(h, told, train=train)
        return h

    def _block(
        self, level: int, name: str, width: int, resize: Callable[[Array], Array] | None = None
    ) -> ResBlock:
        steps = self.dilations[level]
        dilation = steps[0] if len(set(steps)) == 1 else steps
        return ResBlock(self.style, width, 1.0, resize, dilation, name=name)

    def _attend(self, h: Lattice, tokens: Tokens, train: bool, among: bool, name: str) -> Lattice:
        remat = self.style.remat
        if among:
            h = remat(Attention(self.style, name=f"{name}_attention"))(h, train=train)
        if tokens and (among or name == "middle"):
            cross = CrossAttention(self.style, name=f"{name}_tokens")
            h = remat(cross)(h, *tokens, train=train)
        return h


def _halved(given: Inputs, levels: int) -> tuple[tuple[int, ...], ...]:
    """The axes that are halved on the way to each floor."""
    lengths = list(given.shape[:-1])
    floors: list[tuple[int, ...]] = [()]
    for _ in range(levels - 1):
        long = (a for a, n in enumerate(lengths) if a not in given.periodic)
        axes = tuple(a for a in long if -(-lengths[a] // 2) >= SHORTEST)
        lengths = [-(-n // 2) if a in axes else n for a, n in enumerate(lengths)]
        floors.append(axes)
    return tuple(floors)


def _places(given: Inputs, halved: Sequence[Sequence[int]]) -> int:
    """The number of places at the bottom."""
    times = [sum(a in axes for axes in halved) for a in range(len(given.shape) - 1)]
    return math.prod(-(-n // 2**k) for n, k in zip(given.shape, times, strict=False))


def build(config: ConfigDict) -> UNetND:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others, or examples are vectors or have more
        than three spatial axes.
    """
    check_rank(config, (2, 3, 4))
    model, common = config.model, any_rank.read(config)
    given, widths = common.inputs, settings.widths_of(model)
    levels, nf = len(widths), common.nf
    settings.check_norms(quarter_groups, nf, widths, common.blocks, doubled=False, nf=nf)
    halved, axes = _halved(given, levels), range(len(given.shape) - 1)
    style = common.style(
        heads=any_rank.heads(model, widths),
        rescale=flag(model, "model.skip_rescale"),
        init_scale=any_rank.init_scale(model),
    )
    return UNetND(
        style=style,
        stem=nf,
        widths=widths,
        blocks=common.blocks,
        channels=given.channels,
        attention=settings.attention(model, resolutions(given.shape, levels)),
        halved=halved,
        dilations=tuple(
            tuple(2**level if axis in given.periodic else 1 for axis in axes)
            for level in range(levels)
        ),
        middle_attention=flag(model, "model.add_attention") and _places(given, halved) <= MOST,
        tokens=given.tokens,
        conditioning=common.conditioning(style, 4 * nf),
    )
