"""The U-Net of Ho et al., 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239.

It differs from `ddpm` by attention after every block of its resolutions, on the way up as on the
way down, and by the groups of its normalizations. The settings beyond those of the paper have
diffusers' names, so that any model trained with diffusers' U-Net of plain blocks is a
configuration of this one. The defaults are the paper's: 35.7 M parameters for CIFAR-10.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ml_collections import ConfigDict

from models import settings
from models.checks import flag, integer, number
from models.layers.blocks import RESBLOCKS
from models.layers.embeddings import Positional
from models.layers.norm import FixedGroups
from models.layers.pyramids import COMBINE, INPUTS, OUTPUTS
from models.layers.resampling import Plain
from models.layers.style import HeadsOf, one_head
from models.unet import UNet


def build(config: ConfigDict) -> UNet:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    model, common = config.model, settings.read(config)
    groups = FixedGroups(integer(model, "model.norm_num_groups", least=1))
    common.check_norms(groups)
    style = common.style(
        groups=groups,
        resample=Plain(
            border_first=bool(integer(model, "model.downsample_padding", least=0)),
            periodic=common.inputs.periodic,
        ),
        rescale=False,
        init_scale=0.0,
        epsilon=number(model, "model.norm_eps", "positive", lambda e: 0 < e < math.inf),
        heads=_heads(model, common),
    )
    embedding = Positional(
        integer(model, "model.nf", least=4),
        endpoint=bool(integer(model, "model.freq_shift", least=0)),
        cosines_first=flag(model, "model.flip_sin_to_cos"),
    )
    return UNet(
        style=style,
        stem=common.widths[0],
        widths=common.widths,
        blocks=common.blocks,
        attention=common.attention,
        channels=common.channels,
        centered=common.centered,
        layers=RESBLOCKS["ddpm"],
        input_step=INPUTS["none"],
        combine=COMBINE["sum"],
        output=OUTPUTS["none"],
        conditioning=common.conditioning(style, embedding),
        attention_each_up=True,
        middle_attention=flag(model, "model.add_attention"),
        middle_rescale=flag(model, "model.mid_block_rescale"),
    )


def _heads(model: ConfigDict, common: settings.Settings) -> Callable[[int], int]:
    size = integer(model, "model.attention_head_dim", least=0)
    if not size:
        return one_head
    attended = [w for w, there in zip(common.widths, common.attention, strict=True) if there]
    if model.add_attention:
        attended.append(common.widths[-1])
    if uneven := sorted({width for width in attended if width % size}):
        raise ValueError(
            f"model.attention_head_dim must divide the channels of all layers with attention, "
            f"got {size}: {', '.join(map(str, uneven))} channels do not split into such heads"
        )
    return HeadsOf(size)
