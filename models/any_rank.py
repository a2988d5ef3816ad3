"""Settings common to the networks for examples of any rank, read and checked once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from models import inputs, settings
from models.checks import choice, flag, integer, number
from models.inputs import Inputs
from models.layers.attend import Attend
from models.layers.embeddings import ConditionEmbedding
from models.layers.norm import quarter_groups
from models.layers.remat import Remat
from models.layers.resampling import Plain
from models.layers.style import Activation, HeadsOf, Style, one_head
from models.songunet import EMBEDDINGS

WAVES = 64
"""Length of the embedding of the noise level."""


@dataclass(frozen=True)
class AnyRank:
    """The settings; their names are those of `models.settings.Settings`.

    Attributes:
      nf: base number of features or channels.
      blocks: model.num_res_blocks.
      embedding: of the noise level; None in an unconditional network.
      inputs: the network's inputs beside the noise level.
    """

    nf: int
    blocks: int
    activation: Activation
    dropout: float
    embedding: nn.Module | None
    classes: int
    label_dropout: float
    dtype: Any
    attend: Attend
    remat: Remat
    inputs: Inputs

    def style(self, **others: Any) -> Style:
        """A `Style` of these settings and of others."""
        defaults: dict[str, Any] = {"rescale": False, "init_scale": 0.0, "resample": Plain()}
        return Style(
            activation=self.activation,
            groups=quarter_groups,
            resample_with_conv=False,
            dropout=self.dropout,
            dtype=self.dtype,
            attend=self.attend,
            remat=self.remat,
            periodic=self.inputs.periodic,
            **(defaults | others),
        )

    def conditioning(self, style: Style, features: int) -> ConditionEmbedding:
        """The embedding, of that length, of noise level, class and the condition's vector."""
        told = (self.classes, self.label_dropout, self.inputs.beside, self.inputs.pooled)
        return ConditionEmbedding(style, features, self.embedding, *told)


def read(config: ConfigDict) -> AnyRank:
    """Read `config.model` and `config.data`.

    Raises:
      ValueError: a key is missing or has a value that no network can have.
    """
    model = config.model
    embedding = choice(model, "model.embedding_type", EMBEDDINGS)
    return AnyRank(
        nf=integer(model, "model.nf", least=1),
        blocks=integer(model, "model.num_res_blocks", least=1),
        activation=choice(model, "model.nonlinearity", settings.ACTIVATIONS),
        dropout=settings.rate(model, "model.dropout"),
        embedding=embedding(model, WAVES) if flag(model, "model.conditional") else None,
        classes=integer(model, "model.num_classes", least=0),
        label_dropout=settings.rate(model, "model.label_dropout"),
        dtype=settings.dtype(model),
        attend=settings.attend(model),
        remat=settings.remat(model),
        inputs=inputs.read(config),
    )


def init_scale(model: ConfigDict) -> float:
    """model.init_scale."""
    return number(model, "model.init_scale", "at least 0", lambda s: 0 <= s < math.inf)


def heads(model: ConfigDict, widths: tuple[int, ...], default: int = 0) -> Callable[[int], int]:
    """The number of heads of attention layers of these widths.

    `default` stands for a head's channels if model.attention_head_dim is 0 and they divide all
    widths; there is a single head if it is 0, too.
    """
    size = integer(model, "model.attention_head_dim", least=0)
    if not size and (not default or any(width % default for width in widths)):
        return one_head
    if uneven := sorted({width for width in widths if width % (size or default)}):
        raise ValueError(
            f"model.attention_head_dim must divide the channels of all layers with attention, "
            f"got {size}: {', '.join(map(str, uneven))} channels do not split into such heads"
        )
    return HeadsOf(size or default)
