"""Names and layouts of DiT's parameters in its authors' files and in diffusers' directories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from models.pretrained.base import Chosen, Place, Rows

LEAVES = {"kernel": "weight", "bias": "bias"}
AUTHORS_OUTER = {
    "places": "pos_embed",
    "told/classes": "y_embedder.embedding_table.weight",
    "stem": "x_embedder.proj",
    "told/time_0": "t_embedder.mlp.0",
    "told/time_1": "t_embedder.mlp.2",
    "output/modulation": "final_layer.adaLN_modulation.1",
    "output/project": "final_layer.linear",
}
AUTHORS_BLOCK = {
    "modulation": "adaLN_modulation.1", "query": "attn.qkv", "key": "attn.qkv",
    "value": "attn.qkv", "project": "attn.proj", "wide": "mlp.fc1", "narrow": "mlp.fc2",
}  # fmt: skip
EMBEDDING = "norm1.emb"
"""The embeddings of noise level and class, which diffusers has in every block."""
EMBEDDED = {
    "classes": f"{EMBEDDING}.class_embedder.embedding_table",
    "time_0": f"{EMBEDDING}.timestep_embedder.linear_1",
    "time_1": f"{EMBEDDING}.timestep_embedder.linear_2",
}
FIRST = "transformer_blocks.0"
DIFFUSERS_OUTER = {
    "places": "pos_embed.pos_embed",
    "stem": "pos_embed.proj",
    "output/modulation": "proj_out_1",
    "output/project": "proj_out_2",
}
DIFFUSERS_BLOCK = {
    "modulation": "norm1.linear", "query": "attn1.to_q", "key": "attn1.to_k",
    "value": "attn1.to_v", "project": "attn1.to_out.0", "wide": "ff.net.0.proj",
    "narrow": "ff.net.2",
}  # fmt: skip
PARTS = ("query", "key", "value")
JOINT = "attn.qkv"
"""The authors' map to queries, keys and values, in this order."""


def _name(path: Place, outer: Mapping[str, str], block: Mapping[str, str], blocks: str) -> str:
    whole, part = "/".join(path), "/".join(path[:-1])
    if whole in outer:
        return outer[whole]
    if part in outer:
        return f"{outer[part]}.{LEAVES[path[-1]]}"
    index = path[0].removeprefix("block_")
    return f"{blocks}.{index}.{block[path[1]]}.{LEAVES[path[-1]]}"


def authors_names(places: Iterable[Place]) -> dict[Place, str]:
    """The authors' name of each of our parameters."""
    return {path: _name(path, AUTHORS_OUTER, AUTHORS_BLOCK, "blocks") for path in places}


def diffusers_names(places: Iterable[Place]) -> dict[Place, str]:
    """diffusers' name of each of our parameters."""
    return {path: _of_diffusers(path) for path in places}


def _of_diffusers(path: Place) -> str:
    if not path[0].startswith("told"):
        return _name(path, DIFFUSERS_OUTER, DIFFUSERS_BLOCK, "transformer_blocks")
    index = path[0].removeprefix("told").removeprefix("_") or "0"
    leaf = LEAVES.get(path[-1], "weight")
    return f"transformer_blocks.{index}.{EMBEDDED[path[1]]}.{leaf}"


def rows(path: Place, features: int) -> Rows:
    """The rows of the authors' joint tensor that are a parameter: all, but of attention."""
    if path[-2:-1] and path[-2] in PARTS:
        which = PARTS.index(path[-2])
        return Chosen(np.arange(features) + which * features, len(PARTS) * features)
    return slice(None)


def axes(name: str, ndim: int) -> tuple[int, ...]:
    """The order of the file's axes in our layout: channels last, tables as they are."""
    if name.endswith("embedding_table.weight") or name.endswith("pos_embed"):
        return tuple(range(ndim))
    return {4: (2, 3, 1, 0), 2: (1, 0)}.get(ndim, tuple(range(ndim)))
