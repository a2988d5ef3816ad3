"""DDPM++ and NCSN++ in the form that EDM trains: Karras et al., 2022, arXiv:2206.00364, app. F.2.

It is the U-Net of Song et al. with three differences: the first convolution has model.nf channels
whatever model.ch_mult is, class and augmentation labels are added to the noise embedding, and
resampling always uses model.fir_kernel, where (1, 1) is plain averaging and doubling. The keys
have EDM's names for its options, except for

    encoder_type standard, skip, residual    model.progressive_input none, input_skip, residual
    decoder_type standard, skip              model.progressive none, output_skip
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flax import linen as nn
from ml_collections import ConfigDict

from models import settings
from models.checks import choice, integer, number
from models.layers.blocks import RESBLOCKS
from models.layers.embeddings import Fourier, Positional
from models.layers.mappings import SongMapping
from models.layers.norm import quarter_groups
from models.layers.pyramids import COMBINE, INPUTS, OUTPUTS
from models.ncsnpp import fir
from models.unet import UNet


def fourier(model: ConfigDict, features: int) -> nn.Module:
    """Fourier features, as NCSN++ has them."""
    scale = number(model, "model.fourier_scale", "positive", lambda s: 0 < s < math.inf)
    return Fourier(features // 2, scale)


def positional(model: ConfigDict, features: int) -> nn.Module:
    """Sines and cosines, as DDPM++ has them."""
    return Positional(features)


EMBEDDINGS: dict[str, Callable[[ConfigDict, int], nn.Module]] = {
    "fourier": fourier,
    "positional": positional,
}
DECODERS = {name: OUTPUTS[name] for name in ("none", "output_skip")}


def build(config: ConfigDict) -> UNet:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing, unknown or does not fit the others.
    """
    model, common = config.model, settings.read(config)
    common.check_norms(quarter_groups, stem=common.nf)
    waves = common.waves(integer(model, "model.ch_mult_noise", least=1))
    style = common.style(
        groups=quarter_groups,
        resample=fir(model, common.inputs.periodic),
        resample_with_conv=True,
        rescale=True,
        init_scale=0.0,
    )
    return UNet(
        style=style,
        stem=common.nf,
        widths=common.widths,
        blocks=common.blocks,
        attention=common.attention,
        channels=common.channels,
        centered=common.centered,
        layers=RESBLOCKS["biggan"],
        input_step=choice(model, "model.progressive_input", INPUTS),
        combine=COMBINE["sum"],
        output=choice(model, "model.progressive", DECODERS),
        conditioning=SongMapping(
            style,
            features=common.nf * integer(model, "model.ch_mult_emb", least=1),
            embedding=choice(model, "model.embedding_type", EMBEDDINGS)(model, waves),
            classes=common.classes,
            augments=integer(model, "model.augment_dim", least=0),
            label_dropout=common.label_dropout,
            beside=common.inputs.beside,
        ),
    )
