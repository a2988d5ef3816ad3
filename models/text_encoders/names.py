"""Names of the parameters of CLIP's and T5's readers of texts in transformers' files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from models.pretrained.base import Place, Weights
from models.pretrained.files.tensors import Arrays, PretrainedError, Tensor
from untrusted import plain

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
CLIP_OUTER = {
    "words": "embeddings.token_embedding.weight",
    "places": "embeddings.position_embedding.weight",
}
CLIP_MODULES = {"norm": "final_layer_norm", "projection": "text_projection"}
CLIP_BLOCK = {
    "norm_0": "layer_norm1", "query": "self_attn.q_proj", "key": "self_attn.k_proj",
    "value": "self_attn.v_proj", "project": "self_attn.out_proj", "norm_1": "layer_norm2",
    "wide": "mlp.fc1", "narrow": "mlp.fc2",
}  # fmt: skip
T5_OUTER = {
    "words": "shared.weight",
    "distances": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
}
T5_BLOCK = {
    "norm_0": "layer.0.layer_norm", "query": "layer.0.SelfAttention.q",
    "key": "layer.0.SelfAttention.k", "value": "layer.0.SelfAttention.v",
    "project": "layer.0.SelfAttention.o", "norm_1": "layer.1.layer_norm",
    "wide": "layer.1.DenseReluDense.wi", "narrow": "layer.1.DenseReluDense.wo",
}  # fmt: skip
GATED = {"gate": "layer.1.DenseReluDense.wi_0", "wide": "layer.1.DenseReluDense.wi_1"}
"""The two maps of a gated perceptron."""
PREFIX = "text_model."
"""The beginning of CLIP's names, which transformers 5 leaves out."""
TABLES = frozenset({*CLIP_OUTER.values(), *T5_OUTER.values()})
TIED = "encoder.embed_tokens.weight"
"""A second name of T5's table of words."""
UNREAD = {
    "clip": ("embeddings.position_ids", "vision_model.", "visual_projection.", "logit_scale",
             "text_projection."),
    "t5": ("decoder.", "lm_head."),
}  # fmt: skip
"""Beginnings of the names of what is in a file and not read: numbers of places, other halves."""


def clip_name(path: Place) -> str:
    """The name of a parameter of `clip.ClipText`, without the prefix."""
    if len(path) == 1:
        return CLIP_OUTER[path[0]]
    if len(path) == 2:
        return f"{CLIP_MODULES[path[0]]}.{LEAVES[path[1]]}"
    block, part, leaf = path
    return f"encoder.layers.{block.removeprefix('block_')}.{CLIP_BLOCK[part]}.{LEAVES[leaf]}"


def t5_names(places: Iterable[Place]) -> dict[Place, str]:
    """The names of all parameters of a `t5.T5Encoder`."""
    paths = list(places)
    gated = any("gate" in path for path in paths)
    parts = T5_BLOCK | (GATED if gated else {})

    def name(path: Place) -> str:
        if len(path) == 1:
            return T5_OUTER[path[0]]
        if path[0] == "norm":
            return "encoder.final_layer_norm.weight"
        block, part, leaf = path
        return f"encoder.block.{block.removeprefix('block_')}.{parts[part]}.{LEAVES[leaf]}"

    return {path: name(path) for path in paths}


NAMES: Mapping[str, Callable[[Iterable[Place]], dict[Place, str]]] = {
    "clip": lambda places: {path: clip_name(path) for path in places},
    "t5": t5_names,
}
"""Kind -> names of our parameters."""


def unused(kind: str) -> Callable[[str], bool]:
    """The test of the names of tensors that may be there and are not read."""
    return lambda name: name.startswith(UNREAD[kind])


def axes(name: str, ndim: int) -> tuple[int, ...]:
    """The order of the file's axes in our layout."""
    return (1, 0) if ndim == 2 and name not in TABLES else tuple(range(ndim))


def plain_names(kind: str, weights: Arrays) -> Arrays:
    """The weights by the names that this module has, whichever layout the file is in.

    Raises:
      PretrainedError: two tensors have one name, or two that must be the same differ.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in weights.tensors.items():
        short = name.removeprefix(PREFIX) if kind == "clip" else name
        if short in found:
            raise PretrainedError(f"it has {plain(short, 120)} with and without {PREFIX}: refused")
        found[short] = tensor
    if kind == "t5" and TIED in found:
        _tie(found, T5_OUTER["words"], weights)
    return Arrays(found)


def _tie(found: dict[str, Tensor], words: str, weights: Weights) -> None:
    tied = found.pop(TIED)
    if words in found and not np.array_equal(weights[words], np.asarray(tied)):
        raise PretrainedError(f"its {words} and {TIED} differ, which are one table: refused")
    found.setdefault(words, tied)
