"""Overrides that DiT's weights imply, and those that they leave open.

The number of heads is in no tensor: it is that of the published model of these sizes, or of the one
that a training's arguments name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from configs import dit
from models.pretrained.base import Overrides
from models.pretrained.files.tensors import PretrainedError
from untrusted import plain

Shapes = Mapping[str, tuple[int, ...]]
BLOCK = re.compile(r"blocks\.(\d+)\.attn\.qkv\.weight")
HEADS = ("model.num_heads",)


def settings(
    shapes: Shapes, model: str
) -> tuple[Overrides, Overrides, str, tuple[tuple[str, ...], ...]]:
    """(settings that are implied, those to be assumed, a note on these, those for the user to say).

    model: as a training's arguments name it; empty for none.
    """
    try:
        facts = _facts(shapes)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise PretrainedError(
            f"it is no sound state dict of DiT's: {plain(str(error), 120)}"
        ) from error
    size = facts["model.nf"], facts["model.num_res_blocks"]
    heads = next((s.heads for s in dit.SIZES.values() if (s.features, s.blocks) == size), 0)
    named = dit.SIZES.get(model.removeprefix("DiT-").partition("/")[0])
    heads = heads or (named.heads if named and facts["model.nf"] % named.heads == 0 else 0)
    assumed = training()
    if not heads:
        return facts, assumed, "", (HEADS,)
    note = f"the file does not state model.num_heads={heads}: taken from the published model"
    return facts, assumed | {"model.num_heads": heads}, note, ()


def training() -> Overrides:
    """Overrides of all published models' training and sampling."""
    return dit.common()


def _facts(shapes: Shapes) -> Overrides:
    features, channels, patch, other = shapes["x_embedder.proj.weight"]
    out = shapes["final_layer.linear.weight"][0] / (patch * other)
    tokens = shapes["pos_embed"][-2]
    side = math.isqrt(tokens)
    if side * side != tokens or out not in (channels, 2 * channels):
        raise ValueError(f"{tokens} tokens of {out:g} channels from {channels}")
    blocks = {int(found[1]) for name in shapes if (found := BLOCK.fullmatch(name))}
    if blocks != set(range(len(blocks))) or not blocks:
        raise ValueError(f"{len(blocks)} blocks")
    return {
        "model.name": "dit",
        "model.nf": features,
        "model.num_res_blocks": len(blocks),
        "model.patch": (patch, other),
        "model.num_classes": shapes["y_embedder.embedding_table.weight"][0] - 1,
        "model.own_embeddings": False,
        "model.norm_eps": 1e-6,
        "model.freq_shift": 0,
        "model.learn_variance": out == 2 * channels,
        "data.shape": (side * patch, side * other, channels),
    }
