"""The U-Net of Ho et al., 2020, arXiv:2006.11239, as Song et al. (2021) trained it.

It has the plain variant of each of NCSN++'s options, and 32 groups in each GroupNorm. It has
attention once per resolution on the way up, where Ho et al. have it after every block.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from models import settings
from models.checks import integer
from models.layers.blocks import RESBLOCKS
from models.layers.embeddings import Positional
from models.layers.norm import thirty_two_groups
from models.layers.pyramids import COMBINE, INPUTS, OUTPUTS
from models.layers.resampling import Plain
from models.unet import UNet


def build(config: ConfigDict) -> UNet:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    common = settings.read(config)
    common.check_norms(thirty_two_groups, stem=common.nf)
    style = common.style(
        groups=thirty_two_groups,
        resample=Plain(periodic=common.inputs.periodic),
        rescale=False,
        init_scale=0.0,
    )
    embedding = Positional(integer(config.model, "model.nf", least=4))
    return UNet(
        style=style,
        stem=common.nf,
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
    )
