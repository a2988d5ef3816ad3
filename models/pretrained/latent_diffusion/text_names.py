"""The readers of texts of a single file, as transformers' config.json and names have them.

Stable Diffusion 1 has OpenAI's CLIP by transformers' own names, 2 has OpenCLIP's by that library's,
XL has both. All of them have heads of 64 features.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from models.pretrained.base import Shape
from models.pretrained.diffusers.rules import Json
from models.pretrained.files.tensors import Arrays, PretrainedError, Tensor
from untrusted import plain

HEAD = 64
LARGEST = 2
"""The end token in OpenAI's files, which stands for the largest of a text."""
OTHER = "its reader of texts is none of CLIP's: "
PREFIX = "text_model."
UNREAD = ("embeddings.position_ids", "logit_scale", "attn_mask")
OUTER = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
OF_BLOCK = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}  # fmt: skip
BLOCK = re.compile(r"transformer\.resblocks\.(\d{1,3})\.(.+)")
JOINT = re.compile(r"attn\.in_proj_(weight|bias)")
PROJECTION = "text_projection"
Tensors = Mapping[str, Tensor]


def by_transformers_names(kind: str, tensors: Tensors) -> Arrays:
    """The tensors of a reader by transformers' names, without its prefix.

    Raises:
      PretrainedError: one is known to no reader of that kind.
    """
    if kind == "clip":
        short = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
        return Arrays({k: v for k, v in short.items() if k not in UNREAD})
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name not in UNREAD:
            found |= _renamed(name, tensor)
    return Arrays(found)


def _renamed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    if name in OUTER:
        return {OUTER[name]: tensor}
    if name == PROJECTION:
        return {f"{PROJECTION}.weight": _transposed(tensor)}
    if match := BLOCK.fullmatch(name):
        start, rest = f"encoder.layers.{match[1]}", match[2]
        module, _, leaf = rest.rpartition(".")
        if joint := JOINT.fullmatch(rest):
            parts = zip(("q_proj", "k_proj", "v_proj"), _thirds(tensor), strict=True)
            return {f"{start}.self_attn.{part}.{joint[1]}": third for part, third in parts}
        if module in OF_BLOCK:
            return {f"{start}.{OF_BLOCK[module]}.{leaf}": tensor}
    raise PretrainedError(f"{OTHER}it has {plain(name, 120)}")


def _transposed(tensor: Tensor) -> Tensor:
    return replace(tensor, shape=tensor.shape[::-1], strides=tensor.strides[::-1])


def _thirds(tensor: Tensor) -> list[Tensor]:
    """Queries, keys and values of a tensor that has them one below the other."""
    if not tensor.shape or tensor.shape[0] % 3:
        raise PretrainedError(OTHER + "its queries, keys and values are not of one size")
    rows = tensor.shape[0] // 3
    shape, step = (rows, *tensor.shape[1:]), rows * tensor.strides[0]
    return [replace(tensor, shape=shape, offset=tensor.offset + k * step) for k in range(3)]


def text_config(kind: str, shapes: Mapping[str, Shape]) -> Json:
    """A config.json for a reader of these tensors, by transformers' names.

    Raises:
      PretrainedError: it is none of CLIP's.
    """
    try:
        words, width = shapes["embeddings.token_embedding.weight"]
        places, _ = shapes["embeddings.position_embedding.weight"]
        wide, _ = shapes["encoder.layers.0.mlp.fc1.weight"]
    except (LookupError, ValueError) as error:
        raise PretrainedError(OTHER + "its tensors have other names or shapes") from error
    if width % HEAD:
        raise PretrainedError(f"{OTHER}its {width} features are no whole number of heads of {HEAD}")
    layers = {name.split(".")[2] for name in shapes if name.startswith("encoder.layers.")}
    projection = shapes.get(f"{PROJECTION}.weight")
    return {
        "model_type": "clip_text_model",
        "architectures": ["CLIPTextModelWithProjection" if projection else "CLIPTextModel"],
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": wide,
        "projection_dim": projection[0] if projection else width,
        "num_hidden_layers": len(layers),
        "num_attention_heads": width // HEAD,
        "max_position_embeddings": places,
        "hidden_act": "quick_gelu" if kind == "clip" else "gelu",
        "eos_token_id": LARGEST,
    }
