"""Latent diffusion's U-Net without transformers: of no text, or of a picture to be made finer.

diffusers has it as a UNet2DModel. Its attention has one tensor for queries, keys and values, in
which each head has its three parts together, so that it is known only with the size of the heads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import Chosen, Place, Rows, as_params, paths_and_shapes
from models.pretrained.diffusers.config import described
from models.pretrained.diffusers.names import axes, names
from models.pretrained.diffusers.rules import Json

PARTS = ("query", "key", "value")
THIRD = re.compile(r"\.to_[qkv]\.")


def settings(unet: Json) -> dict[str, Any]:
    """Settings of the network, those of its noise levels apart."""
    found = described(unet, None).settings
    return {k: v for k, v in found.items() if not k.startswith(("sde.", "training."))}


def params(weights: Mapping[str, Any], network: nn.Module, config: ConfigDict) -> Any:
    """Our parameters, from weights by diffusers' names but for `to_qkv`; see `base.Format`."""
    wanted = paths_and_shapes(network, config)
    places = {"/".join(path): path for path in wanted}
    named = {places[place]: name for place, name in names(config, places).items()}
    known = {path: THIRD.sub(".to_qkv.", name) for path, name in named.items()}
    size = config.model.attention_head_dim
    rows = lambda path: _rows(path, wanted[path][-1], size)
    return as_params(weights, wanted, known, axes=axes, rows=rows)


def _rows(path: Place, channels: int, size: int) -> Rows:
    """The rows of the joint tensor that are ours: those of queries, say, of every head.

    size: channels of a head; 0: all.
    """
    if path[-2] not in PARTS:
        return slice(None)
    joint = np.arange(3 * channels).reshape(-1, len(PARTS), size or channels)
    return Chosen(joint[:, PARTS.index(path[-2])].ravel(), 3 * channels)
