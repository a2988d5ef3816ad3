"""Settings common to all U-Nets, and to transformers, read and checked once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array
from ml_collections import ConfigDict

from models import inputs
from models.checks import centered, choice, flag, integer, number, numbers
from models.inputs import Inputs
from models.layers.attend import ATTENTIONS, Attend, auto, check_fused, fused
from models.layers.embeddings import ConditionEmbedding
from models.layers.remat import REMATS, Remat, kept
from models.layers.style import Activation, Style, gelu
from models.shapes import picture, resolutions
from models.unet import normalized_widths


def leaky_relu(x: Array) -> Array:
    """max(x, 0.2 x)."""
    return jax.nn.leaky_relu(x, 0.2)


ACTIVATIONS: dict[str, Activation] = {
    "swish": jax.nn.silu,
    "elu": jax.nn.elu,
    "relu": jax.nn.relu,
    "lrelu": leaky_relu,
    "gelu": gelu,
    "mish": jax.nn.mish,
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
NORMALIZATIONS = {"GroupNorm": None}


@dataclass(frozen=True)
class Settings:
    """Settings of every U-Net; the names of the keys are score_sde's.

    Attributes:
      nf: base number of channels.
      widths: channels at each resolution, finest first: nf times model.ch_mult.
      blocks: model.num_res_blocks.
      attention: whether each resolution is among model.attn_resolutions.
      channels: of the raw output.
      centered: data.centered.
      activation: model.nonlinearity.
      dropout: model.dropout.
      resamp_with_conv: model.resamp_with_conv.
      conditional: model.conditional, whether the network is given the noise label.
      classes: model.num_classes, 0 for no classes; 0 if the key is absent.
      label_dropout: model.label_dropout; 0 if the key is absent.
      dtype: model.dtype, of the computation; float32 if the key is absent.
      attend: model.attention; auto if the key is absent.
      remat: model.remat; none if the key is absent.
      inputs: the network's inputs beside the noise level, periodic axes among them.
    """

    nf: int
    widths: tuple[int, ...]
    blocks: int
    attention: tuple[bool, ...]
    channels: int
    centered: bool
    activation: Activation
    dropout: float
    resamp_with_conv: bool
    conditional: bool
    classes: int
    label_dropout: float
    dtype: Any
    attend: Attend
    remat: Remat
    inputs: Inputs

    def style(self, **own: Any) -> Style:
        """The choices of all layers: those of these settings and, beside or instead, `own`."""
        shared: dict[str, Any] = {
            "activation": self.activation,
            "resample_with_conv": self.resamp_with_conv,
            "dropout": self.dropout,
            "dtype": self.dtype,
            "attend": self.attend,
            "remat": self.remat,
            "periodic": self.inputs.periodic,
        }
        return Style(**shared | own)

    def conditioning(self, style: Style, embedding: nn.Module) -> ConditionEmbedding:
        """The embedding of label and class, without the label in an unconditional network."""
        shown = embedding if self.conditional else None
        features, told = 4 * self.nf, (self.classes, self.label_dropout, self.inputs.beside)
        return ConditionEmbedding(style, features, shown, *told)

    def waves(self, multiple: int = 1) -> int:
        """Length of EDM's embedding of the noise level: `multiple` (model.ch_mult_noise) times nf.

        Raises ValueError unless it is even, one half for the sines and one for the cosines.
        """
        if self.nf * multiple % 2 or self.nf * multiple < 4:
            raise ValueError(f"model.nf must be even and at least 4, got {self.nf}")
        return self.nf * multiple

    def check_norms(
        self, groups: Callable[[int], int], doubled: bool = False, stem: int | None = None
    ) -> None:
        """Raise ValueError if a GroupNorm would not divide its channels evenly.

        `doubled` and `stem` as in `normalized_widths`; `stem` is by default the finest width.
        """
        check_norms(groups, stem or self.widths[0], self.widths, self.blocks, doubled, self.nf)


def check_norms(
    groups: Callable[[int], int],
    stem: int,
    widths: tuple[int, ...],
    blocks: int,
    doubled: bool,
    nf: int,
) -> None:
    """Raise ValueError if a GroupNorm of a U-Net would not divide its channels evenly."""
    for channels in normalized_widths(stem, widths, blocks, doubled):
        if groups(channels) < 1 or channels % groups(channels):
            raise ValueError(
                f"model.nf must let group normalization split all layers evenly, got {nf}: "
                f"{channels} channels do not fall into {groups(channels)} groups; a multiple of 32 "
                f"always fits"
            )


def read(config: ConfigDict) -> Settings:
    """Read `config.model` and `config.data`.

    Raises:
      ValueError: a key is missing or has a value that no U-Net can have.
    """
    model = config.model
    if "normalization" in model:
        choice(model, "model.normalization", NORMALIZATIONS)
    widths = widths_of(model)
    given = inputs.read(config)
    return Settings(
        nf=model.nf,
        widths=widths,
        blocks=integer(model, "model.num_res_blocks", least=1),
        attention=attention(model, _sizes(config, len(widths))),
        channels=given.channels,
        centered=centered(config),
        activation=choice(model, "model.nonlinearity", ACTIVATIONS),
        dropout=rate(model, "model.dropout"),
        resamp_with_conv=flag(model, "model.resamp_with_conv"),
        conditional=flag(model, "model.conditional"),
        classes=integer(model, "model.num_classes", least=0) if "num_classes" in model else 0,
        label_dropout=rate(model, "model.label_dropout") if "label_dropout" in model else 0.0,
        dtype=dtype(model),
        attend=attend(model),
        remat=remat(model),
        inputs=given,
    )


def widths_of(model: ConfigDict) -> tuple[int, ...]:
    """Channels at each resolution, finest first: model.nf times model.ch_mult."""
    nf = integer(model, "model.nf", least=1)
    rule = "a list of positive numbers, one for each resolution"
    multiples = numbers(model, "model.ch_mult", rule, int | float, lambda n: n > 0)
    if not multiples:
        raise ValueError(f"model.ch_mult must be {rule}, got {model.ch_mult!r}")
    widths = tuple(round(nf * multiple, 6) for multiple in multiples)
    if broken := [m for m, width in zip(multiples, widths, strict=True) if width % 1]:
        raise ValueError(
            f"model.nf x model.ch_mult must be whole numbers of channels, got {nf} x {broken[0]}"
        )
    return tuple(map(int, widths))


def split_features(model: ConfigDict, multiple: int) -> tuple[int, int]:
    """(features of every token, heads that split them) of a transformer: model.nf, num_heads.

    multiple: divides the features, as sines and cosines of what the network is told need it.
    """
    features, heads = (integer(model, f"model.{name}", least=1) for name in ("nf", "num_heads"))
    if features % multiple or features % heads:
        raise ValueError(
            f"model.nf must be a multiple of {multiple} and of model.num_heads with "
            f"model.name={model.name!r}, got {features} with {heads} heads"
        )
    return features, heads


def rate(model: ConfigDict, key: str) -> float:
    """A probability below one."""
    return number(model, key, "at least 0 and below 1", lambda p: 0 <= p < 1)


def dtype(model: ConfigDict) -> Any:
    """model.dtype; float16 is refused, as its range is too small without scaled losses."""
    return choice(model, "model.dtype", DTYPES) if "dtype" in model else jnp.float32


def remat(model: ConfigDict) -> Remat:
    """model.remat."""
    return choice(model, "model.remat", REMATS) if "remat" in model else kept


def attend(model: ConfigDict) -> Attend:
    """model.attention; ValueError if it is fused and this machine cannot fuse any attention."""
    chosen = choice(model, "model.attention", ATTENTIONS) if "attention" in model else auto
    if chosen is fused:
        check_fused(dtype(model))
    return chosen


def _sizes(config: ConfigDict, levels: int) -> Sequence[int]:
    """Sizes of a picture that is halved along both axes; ValueError if it cannot be."""
    factor = 2 ** (levels - 1)
    why = f"model.ch_mult has {levels} entries and the network halves images {levels - 1} times"
    shape = picture(config, levels - 1, why)
    for axis in inputs.read(config).periodic:
        if shape[axis] % factor:
            raise ValueError(
                f"model.periodic axes must be a multiple of {factor} long, since {why}, got "
                f"{shape[axis]}: choose model.name='unet', which halves no periodic axis"
            )
    return resolutions(shape, levels)


def attention(model: ConfigDict, sizes: Sequence[int]) -> tuple[bool, ...]:
    """True for each of these resolutions that is in model.attn_resolutions, which has no others."""
    rule = "a list of positive integers"
    chosen = numbers(model, "model.attn_resolutions", rule, int, lambda n: n > 0)
    if absent := set(chosen) - set(sizes):
        raise ValueError(
            f"model.attn_resolutions must be among the resolutions of the network, "
            f"{', '.join(map(str, sizes))}, got {', '.join(map(str, sorted(absent)))}"
        )
    return tuple(size in chosen for size in sizes)
