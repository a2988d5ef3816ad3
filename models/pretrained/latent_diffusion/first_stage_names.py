"""The autoencoder of a single file, as diffusers' config.json and names have it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from models.pretrained.base import Shape
from models.pretrained.diffusers.rules import Json
from models.pretrained.files.tensors import PretrainedError
from untrusted import plain

OTHER = "its autoencoder is none of latent diffusion's: "
SIDE = 256
"""Side of the pictures with which the published autoencoders were trained."""
INNER = {
    "nin_shortcut": "conv_shortcut", "norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v",
    "proj_out": "to_out.0",
}  # fmt: skip
"""Modules of blocks whose names differ."""
OUTER = ("quant_conv", "post_quant_conv", "quantize.embedding", "encoder.conv_in",
         "encoder.conv_out", "decoder.conv_in", "decoder.conv_out")  # fmt: skip
KINDS = {"block": "resnets", "attn": "attentions"}
PLACE = re.compile(r"(encoder|decoder)\.(down|up)\.(\d{1,2})\.(block|attn)\.(\d{1,2})\.(\w+)")
RESIZE = re.compile(r"(encoder|decoder)\.(down|up)\.(\d{1,2})\.(?:down|up)sample\.conv")
MIDDLE = re.compile(r"(encoder|decoder)\.mid\.(block|attn)_(\d)\.(\w+)")


def first_stage_config(shapes: Mapping[str, Shape]) -> Json:
    """A config.json for an autoencoder of these tensors, without the scale of its latents.

    Raises:
      PretrainedError: it is none of latent diffusion's kind.
    """
    try:
        return _config(shapes)
    except PretrainedError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        raise PretrainedError(OTHER + "its tensors have other names or shapes") from error


def _config(shapes: Mapping[str, Shape]) -> Json:
    levels = _levels(shapes)
    widths = [shapes[f"encoder.down.{k}.block.0.conv1.weight"][0] for k in range(levels)]
    attends = [f"encoder.down.{k}.attn.0.norm.weight" in shapes for k in range(levels)]
    places = [match for name in shapes if (match := PLACE.match(name))]
    blocks = {match[5] for match in places if (match[2], match[4]) == ("down", "block")}
    codes = shapes.get("quantize.embedding.weight")
    latent = shapes["decoder.conv_in.weight"][1]
    own = {"_class_name": "AutoencoderKL", "use_quant_conv": "quant_conv.weight" in shapes,
           "use_post_quant_conv": "post_quant_conv.weight" in shapes}  # fmt: skip
    if codes:
        own = {"_class_name": "VQModel", "num_vq_embeddings": codes[0], "vq_embed_dim": codes[1]}
    return {
        **own,
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "down_block_types": [f"{'Attn' * a}DownEncoderBlock2D" for a in attends],
        "up_block_types": [f"{'Attn' * a}UpDecoderBlock2D" for a in reversed(attends)],
        "block_out_channels": widths,
        "layers_per_block": len(blocks),
        "latent_channels": latent,
        "mid_block_add_attention": "encoder.mid.attn_1.q.weight" in shapes,
        "sample_size": SIDE,
    }


def _levels(shapes: Mapping[str, Shape]) -> int:
    return 1 + max(int(m[3]) for name in shapes if (m := PLACE.match(name)))


def first_stage_names(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """diffusers' name of each tensor, by the file's, whose way up is counted from the finest."""
    levels = _levels(shapes)
    return {name: _name(name, levels) for name in shapes}


def _name(name: str, levels: int) -> str:
    module, _, leaf = name.rpartition(".")
    if module in OUTER:
        return name
    if match := re.fullmatch(r"(encoder|decoder)\.norm_out", module):
        return f"{match[1]}.conv_norm_out.{leaf}"
    if match := PLACE.fullmatch(module):
        half, way, k, kind, i, inner = match.groups()
        inner = INNER.get(inner, inner)
        return f"{half}.{_side(way, int(k), levels)}.{KINDS[kind]}.{i}.{inner}.{leaf}"
    if match := RESIZE.fullmatch(module):
        half, way, k = match.groups()
        resizer = "downsamplers" if way == "down" else "upsamplers"
        return f"{half}.{_side(way, int(k), levels)}.{resizer}.0.conv.{leaf}"
    if match := MIDDLE.fullmatch(module):
        half, kind, i, inner = match.groups()
        return f"{half}.mid_block.{KINDS[kind]}.{int(i) - 1}.{INNER.get(inner, inner)}.{leaf}"
    raise PretrainedError(f"{OTHER}it has {plain(name, 120)}")


def _side(way: str, k: int, levels: int) -> str:
    return f"down_blocks.{k}" if way == "down" else f"up_blocks.{levels - 1 - k}"
