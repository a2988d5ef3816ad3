"""diffusers directories of autoencoders: AutoencoderKL and VQModel, by themselves or in a pipeline.

    config.json, diffusion_pytorch_model.safetensors        or in vae/ or vqvae/ of a pipeline

Latents are diffused as (z - shift) scale, of one number each or of one for each channel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import Checkpoint, Overrides, as_params, paths_and_shapes
from models.pretrained.diffusers.directory import folder_of, weights_of
from models.pretrained.diffusers.names import INNER, LEAVES
from models.pretrained.diffusers.rules import (
    FLAG,
    Json,
    JsonRule,
    check,
    integer_in,
    list_of,
    number_in,
    one_of,
    or_none,
)
from models.pretrained.files.tensors import PretrainedError
from untrusted import UntrustedError, plain, read_json, shown

FAMILY = "diffusers-autoencoder"
CLASSES = {"AutoencoderKL": "autoencoder", "VQModel": "vq_autoencoder"}
"""Class of diffusers -> model.name."""
FOLDERS = "vae", "vqvae"
"""Folders of a pipeline in which an autoencoder may be."""
DOWN, UP = "DownEncoderBlock2D", "UpDecoderBlock2D"
DEFAULTS: Overrides = {
    "in_channels": 3, "out_channels": 3, "down_block_types": (DOWN,), "up_block_types": (UP,),
    "block_out_channels": (64,), "layers_per_block": 1, "act_fn": "silu", "norm_num_groups": 32,
    "mid_block_add_attention": True, "sample_size": 32,
}  # fmt: skip
OWN_DEFAULTS: dict[str, Overrides] = {
    "autoencoder": {"latent_channels": 4, "scaling_factor": 0.18215, "shift_factor": None,
                    "latents_mean": None, "latents_std": None, "use_quant_conv": True,
                    "use_post_quant_conv": True},
    "vq_autoencoder": {"latent_channels": 3, "scaling_factor": 1.0, "num_vq_embeddings": 256,
                       "vq_embed_dim": None, "norm_type": "group", "lookup_from_codebook": False},
}  # fmt: skip
"""Defaults of diffusers for keys that a config.json leaves out. The first latent models with codes,
whose files have no scaling_factor, were trained on latents as they are."""
TYPES = JsonRule(
    lambda v, c: (
        isinstance(v, list | tuple)
        and len(v) == len(c["block_out_channels"])
        and all(name in (DOWN, UP, f"Attn{DOWN}", f"Attn{UP}") for name in v)
    ),
    f"{DOWN} and {UP}, or the same with Attn, one for each of block_out_channels",
)
ROW = or_none(list_of(number_in(-1e6, 1e6), most=1 << 10))
POSITIVE_ROW = or_none(list_of(number_in(1e-9, 1e6), most=1 << 10))
RULES: dict[str, JsonRule] = {
    "block_out_channels": list_of(integer_in(1, 1 << 14)),
    "down_block_types": TYPES, "up_block_types": TYPES,
    "in_channels": integer_in(1, 1 << 10),
    "out_channels": JsonRule(lambda v, c: v == c["in_channels"], "in_channels"),
    "layers_per_block": integer_in(1, 64), "act_fn": one_of("silu", "swish"),
    "norm_num_groups": integer_in(1, 1 << 10), "mid_block_add_attention": FLAG,
    "sample_size": integer_in(1, 1 << 14),
    "latent_channels": integer_in(1, 1 << 10), "scaling_factor": number_in(1e-9, 1e6),
}  # fmt: skip
OWN_RULES: dict[str, dict[str, JsonRule]] = {
    "autoencoder": {"shift_factor": or_none(number_in(-1e6, 1e6)), "latents_mean": ROW,
                    "latents_std": POSITIVE_ROW, "use_quant_conv": FLAG,
                    "use_post_quant_conv": FLAG},
    "vq_autoencoder": {"num_vq_embeddings": integer_in(2, 1 << 20),
                       "vq_embed_dim": or_none(integer_in(1, 1 << 10)),
                       "norm_type": one_of("group"), "lookup_from_codebook": one_of(False)},
}  # fmt: skip


def recognises(path: Path | str) -> bool:
    """True if `path` is a directory with the config.json of an autoencoder.

    Also True if that file cannot be read; `read` then says why.
    """
    try:
        return folder_of(Path(path), tuple(CLASSES), FOLDERS) is not None
    except UntrustedError:
        return True


def read(path: Path | str) -> Checkpoint:
    """Weights, by diffusers' present names, and settings of an autoencoder.

    Raises:
      PretrainedError: it is no such directory, a file in it is damaged, or an option has no
        counterpart here; the message names it.
      OSError: a file cannot be read.
    """
    try:
        folder = folder_of(Path(path), tuple(CLASSES), FOLDERS)
        if folder is None:
            raise PretrainedError("it must be a diffusers directory with the config.json of an "
                                  f"{' or '.join(CLASSES)} in it")  # fmt: skip
        found, attention = settings(read_json(folder / "config.json"))
        return Checkpoint(FAMILY, found, None, weights_of(folder), attention=attention)
    except UntrustedError as error:
        raise PretrainedError(f"{plain(str(path), 200)}: {error}") from error


def params(weights: Mapping[str, Any], network: nn.Module, config: ConfigDict) -> Any:
    """The parameters of `network`; MismatchError if the weights do not fit it."""
    wanted = paths_and_shapes(network, config)
    places = {"/".join(path): path for path in wanted}
    levels = len(config.model.ch_mult)
    known = {places[place]: name for place, name in names(places, levels).items()}
    return as_params(weights, wanted, known, axes=axes)


def settings(config: Json) -> tuple[Overrides, tuple[int, ...]]:
    """(settings given by a config.json, the resolutions with attention, 0 for the finest).

    Raises:
      PretrainedError: an option has no counterpart among our networks; it names the option.
    """
    name = CLASSES[config["_class_name"]]
    defaults = DEFAULTS | OWN_DEFAULTS[name]
    c = {key: config.get(key, default) for key, default in defaults.items()}
    size = c["sample_size"]
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
        c["sample_size"] = size[0]
    check("config.json", c, RULES | OWN_RULES[name])
    widths, attention = tuple(c["block_out_channels"]), _attention(c)
    unit = math.gcd(*widths)
    scale, shift = _affine(c)
    found = {
        "model.name": name, "model.nf": unit, "model.ch_mult": tuple(w // unit for w in widths),
        "model.num_res_blocks": c["layers_per_block"],
        "model.norm_num_groups": c["norm_num_groups"],
        "model.add_attention": c["mid_block_add_attention"],
        "model.latent_channels": c["latent_channels"],
        "model.quant_conv": c.get("use_quant_conv", True),
        "model.post_quant_conv": c.get("use_post_quant_conv", True),
        "data.image_size": c["sample_size"], "data.num_channels": c["in_channels"],
        "data.centered": True, "data.latent_scale": scale, "data.latent_shift": shift,
        "training.objective": "autoencoder",
    }  # fmt: skip
    if name == "vq_autoencoder":
        found["model.codes"] = c["num_vq_embeddings"]
        found["model.code_channels"] = c["vq_embed_dim"] or 0
    return found, attention


def _attention(c: Json) -> tuple[int, ...]:
    """Resolutions with attention after every block; PretrainedError if the halves differ."""
    below, above = c["down_block_types"], c["up_block_types"]
    found = tuple(k for k, kind in enumerate(below) if kind == f"Attn{DOWN}")
    mirrored = [UP if kind == DOWN else f"Attn{UP}" for kind in reversed(below)]
    if list(above) != mirrored:
        raise PretrainedError(
            f"its config.json has blocks {shown(below, 120)} down and {shown(above, 120)} up, must "
            "be the mirror image of each other"
        )
    return found


def _affine(c: Json) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(scale, shift) of latents = (z - shift) scale, one number or one for each channel."""
    scale = float(c["scaling_factor"])
    mean, std = c.get("latents_mean"), c.get("latents_std")
    if mean is None and std is None:
        return (scale,), (float(c.get("shift_factor") or 0.0),)
    channels = c["latent_channels"]
    mean, std = mean or [0.0] * channels, std or [1.0] * channels
    if not len(mean) == len(std) == channels or c["shift_factor"]:
        raise PretrainedError(
            "its config.json must have latents_mean and latents_std of latent_channels = "
            f"{channels} numbers each, and no shift_factor beside them"
        )
    return tuple(scale / s for s in std), tuple(float(m) for m in mean)


OUTER = {
    "encoder/stem": "encoder.conv_in", "encoder/output_norm": "encoder.conv_norm_out",
    "encoder/output_conv": "encoder.conv_out", "decoder/stem": "decoder.conv_in",
    "decoder/output_norm": "decoder.conv_norm_out", "last": "decoder.conv_out",
    "quant": "quant_conv", "post_quant": "post_quant_conv",
}  # fmt: skip
PARTS = {"block": "resnets", "attention": "attentions"}
CODEBOOK = "quantize.embedding.weight"


def names(paths: Iterable[str], levels: int) -> dict[str, str]:
    """diffusers' name of each of our parameters, given as "module/.../leaf"."""
    return {path: CODEBOOK if path == "codebook" else _name(path, levels) for path in paths}


def _name(path: str, levels: int) -> str:
    module, _, leaf = path.rpartition("/")
    if module in OUTER:
        return f"{OUTER[module]}.{LEAVES[leaf]}"
    half, block, inner = module.split("/")
    return f"{half}.{_block(block, levels)}.{INNER.get(inner, inner)}.{LEAVES[leaf]}"


def _block(name: str, levels: int) -> str:
    """diffusers' name of a block, a layer of attention, or a halving or doubling."""
    if found := re.fullmatch(r"middle_(block|attention)_?(\d?)", name):
        return f"mid_block.{PARTS[found[1]]}.{found[2] or 0}"
    way, level, part = name.split("_", 2)
    if way == "down":  # a halving belongs to the resolution above
        k = int(level)
        return (f"down_blocks.{k - 1}.downsamplers.0" if part == "halve"
                else f"down_blocks.{k}.{_numbered(part)}")  # fmt: skip
    k = levels - 1 - int(level)
    return f"up_blocks.{k}.{'upsamplers.0' if part == 'double' else _numbered(part)}"


def _numbered(part: str) -> str:
    kind, _, i = part.partition("_")
    return f"{PARTS[kind]}.{i}"


def axes(name: str, ndim: int) -> tuple[int, ...]:
    """The order of the axes of a diffusers weight in our layout: channels last, [in, out]."""
    if ndim == 4:
        return 2, 3, 1, 0
    return (1, 0) if ndim == 2 and name != CODEBOOK else tuple(range(ndim))
