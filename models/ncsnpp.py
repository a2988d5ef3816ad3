"""NCSN++ and DDPM++: the networks of Song et al., 2021, arXiv:2011.13456, appendix H.

Every option of the published architecture is a row in one of the tables below or in those of
`models/layers`, looked up once, when the network is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flax import linen as nn
from ml_collections import ConfigDict

from models import settings
from models.checks import choice, flag, integer, number, numbers
from models.layers.blocks import RESBLOCKS
from models.layers.embeddings import Fourier, Positional
from models.layers.norm import quarter_groups
from models.layers.pyramids import COMBINE, INPUTS, OUTPUTS, InputSkip, concatenate
from models.layers.resampling import Fir, Plain, Resampling
from models.unet import UNet


def fourier(model: ConfigDict) -> nn.Module:
    """Fourier features of log sigma."""
    scale = number(model, "model.fourier_scale", "positive", lambda s: 0 < s < math.inf)
    return Fourier(model.nf, scale)


def positional(model: ConfigDict) -> nn.Module:
    """Sines and cosines of a time or an index."""
    return Positional(integer(model, "model.nf", least=4))


def unfiltered(model: ConfigDict, periodic: tuple[int, ...] = ()) -> Resampling:
    """Nearest neighbour and 2x2 means."""
    return Plain(periodic=periodic)


def fir(model: ConfigDict, periodic: tuple[int, ...] = ()) -> Resampling:
    """Low-pass filters with the kernel of the config."""
    rule = "a list of two or more numbers whose sum is not zero"
    taps = numbers(model, "model.fir_kernel", rule, int | float, math.isfinite)
    if len(taps) < 2 or sum(taps) == 0:
        raise ValueError(f"model.fir_kernel must be {rule}, got {model.fir_kernel!r}")
    return Fir(tuple(float(tap) for tap in taps), periodic)


EMBEDDINGS: dict[str, Callable[[ConfigDict], nn.Module]] = {
    "fourier": fourier,
    "positional": positional,
}
RESAMPLINGS: dict[bool, Callable[..., Resampling]] = {False: unfiltered, True: fir}


def build(config: ConfigDict) -> UNet:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing, unknown or does not fit the others.
    """
    model, common = config.model, settings.read(config)
    style = common.style(
        groups=quarter_groups,
        resample=RESAMPLINGS[flag(model, "model.fir")](model, common.inputs.periodic),
        rescale=flag(model, "model.skip_rescale"),
        init_scale=number(model, "model.init_scale", "at least 0", lambda s: 0 <= s < math.inf),
    )
    input_step = choice(model, "model.progressive_input", INPUTS)
    combine = choice(model, "model.progressive_combine", COMBINE)
    doubled = input_step is InputSkip and combine is concatenate
    common.check_norms(quarter_groups, doubled, stem=common.nf)
    embedding = choice(model, "model.embedding_type", EMBEDDINGS)(model)
    return UNet(
        style=style,
        stem=common.nf,
        widths=common.widths,
        blocks=common.blocks,
        attention=common.attention,
        channels=common.channels,
        centered=common.centered,
        layers=choice(model, "model.resblock_type", RESBLOCKS),
        input_step=input_step,
        combine=combine,
        output=choice(model, "model.progressive", OUTPUTS),
        conditioning=common.conditioning(style, embedding),
    )
