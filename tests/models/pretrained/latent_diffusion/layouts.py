"""One small model in both layouts: diffusers' directory, and its authors' single file."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

import models
from configs import schema
from models.pretrained.base import paths_and_shapes
from models.pretrained.diffusers import autoencoders, condition_config, condition_names
from tests.models.text_encoders.towers import written

TOKENIZER = Path(__file__).parents[3] / "golden" / "latent" / "clip_tokenizer"
WEIGHTS = "diffusion_pytorch_model.safetensors"
Weights = dict[str, np.ndarray]
UNET = {
    "_class_name": "UNet2DConditionModel", "sample_size": 8, "in_channels": 4, "out_channels": 4,
    "block_out_channels": [32, 64], "layers_per_block": 1, "norm_num_groups": 32,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "attention_head_dim": [2, 4], "cross_attention_dim": 64,
}  # fmt: skip
VAE = {
    "_class_name": "AutoencoderKL", "block_out_channels": [32, 64], "layers_per_block": 1,
    "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
    "sample_size": 16, "latent_channels": 4, "scaling_factor": 0.18215,
}  # fmt: skip
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
EULER = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading", "steps_offset": 1,
         **BETAS}  # fmt: skip
DDIM = {"_class_name": "DDIMScheduler", "clip_sample": False, "set_alpha_to_one": False,
        "steps_offset": 1, **BETAS}  # fmt: skip
CLIP = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 1,
        "architectures": ["CLIPTextModel"], "hidden_act": "quick_gelu"}  # fmt: skip
OPEN_CLIP = {"hidden_size": 128, "intermediate_size": 96, "num_attention_heads": 2,
             "architectures": ["CLIPTextModelWithProjection"], "projection_dim": 48}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "v1": {"texts": {"text_encoder": CLIP}},
    "v2": {
        "texts": {"text_encoder": {**OPEN_CLIP, "num_hidden_layers": 3}},
        "unet": {"cross_attention_dim": 128, "use_linear_projection": True},
        "scheduler": {"prediction_type": "v_prediction"},
    },
    "xl": {
        "texts": {"text_encoder": CLIP, "text_encoder_2": OPEN_CLIP},
        "unet": {
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "cross_attention_dim": 192,
            "transformer_layers_per_block": [1, 2], "use_linear_projection": True,
            "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 6 * 256 + 48,
        },
    },
    "refiner": {
        "texts": {"text_encoder_2": OPEN_CLIP},
        "unet": {
            "cross_attention_dim": 128, "use_linear_projection": True,
            "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 5 * 256 + 48,
        },
    },
    "x4": {
        "texts": {"text_encoder": OPEN_CLIP},
        "unet": {"in_channels": 7, "num_class_embeds": 1000, "only_cross_attention": [False, True],
                 "cross_attention_dim": 128, "use_linear_projection": True},
    },
    "lcm": {
        "texts": {"text_encoder": CLIP},
        "unet": {"time_cond_proj_dim": 8},
        "scheduler": {"_class_name": "LCMScheduler", "set_alpha_to_one": True},
    },
}  # fmt: skip
"""Kind of Stable Diffusion -> the entries in which its files differ from those above."""
OF_XL = ("xl", "refiner")


def kaiming(shapes: dict[str, tuple[int, ...]], seed: int) -> Weights:
    """Weights drawn in the shapes of diffusers."""
    stream = np.random.RandomState(seed)
    return {name: stream.standard_normal(shape).astype(np.float32) / 5
            for name, shape in sorted(shapes.items())}  # fmt: skip


def theirs(shape: tuple[int, ...], table: bool) -> tuple[int, ...]:
    """The shape of one of our parameters in PyTorch's layout."""
    if len(shape) == 4:
        return shape[3], shape[2], shape[0], shape[1]
    return shape[::-1] if len(shape) == 2 and not table else shape


def unet_weights(unet: dict[str, Any]) -> Weights:
    """Drawn weights of a network by diffusers' names."""
    config = schema.get_default()
    config.update_from_flattened_dict(condition_config.settings(unet))
    wanted = paths_and_shapes(models.build_any(config), config)
    name = lambda path: condition_names.name_of(config, path)
    return kaiming({name(path): theirs(shape, name(path) == "class_embedding.weight")
                    for path, shape in wanted.items()}, 1)  # fmt: skip


def vae_weights(vae: dict[str, Any]) -> Weights:
    """The same of an autoencoder."""
    found, attention = autoencoders.settings(vae)
    config = schema.get_default()
    sizes = tuple(found["data.image_size"] // 2**k for k in attention)
    config.update_from_flattened_dict(found | {"model.attn_resolutions": sizes})
    wanted = paths_and_shapes(models.build_any(config), config)
    named = autoencoders.names(["/".join(path) for path in wanted], len(found["model.ch_mult"]))
    return kaiming({named["/".join(path)]: theirs(shape, path == ("codebook",))
                    for path, shape in wanted.items()}, 2)  # fmt: skip


def put(folder: Path, content: dict[str, Any], weights: Weights) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(content))
    save_file(weights, folder / WEIGHTS)


def pipeline(folder: Path, kind: str) -> dict[str, Weights]:
    """A directory of a pipeline; returns the weights of its parts."""
    own = KINDS[kind]
    unet, xl = UNET | own.get("unet", {}), kind in OF_XL
    scheduler = (EULER if xl else DDIM) | own.get("scheduler", {})
    scale = {"scaling_factor": 0.13025 if xl else 0.18215}
    parts = {"unet": unet_weights(unet), "vae": vae_weights(VAE)}
    put(folder / "unet", unet, parts["unet"])
    put(folder / "vae", VAE | scale, parts["vae"])
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    index: dict[str, Any] = {
        "_class_name": {"xl": "StableDiffusionXLPipeline", "x4": "StableDiffusionUpscalePipeline",
                        "lcm": "LatentConsistencyModelPipeline",
                        "refiner": "StableDiffusionXLImg2ImgPipeline"}
        .get(kind, "StableDiffusionPipeline"),
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", scheduler["_class_name"]],
    }  # fmt: skip
    if kind == "refiner":
        index |= {"force_zeros_for_empty_prompt": False, "requires_aesthetics_score": True,
                  "text_encoder": [None, None], "tokenizer": [None, None]}  # fmt: skip
    for k, (name, config) in enumerate(own["texts"].items()):
        written(folder / name, seed=3 + k, **config)
        parts[name] = load_file(folder / name / "model.safetensors")
        tokenizer = name.replace("text_encoder", "tokenizer")
        shutil.copytree(TOKENIZER, folder / tokenizer)
        if config["architectures"] == OPEN_CLIP["architectures"]:  # which fills texts with 0
            told = folder / tokenizer / "special_tokens_map.json"
            before = json.loads(told.read_text()) if told.exists() else {}
            told.write_text(json.dumps(before | {"pad_token": "!"}))
        index |= {name: ["transformers", "CLIPTextModel"],
                  tokenizer: ["transformers", "CLIPTokenizer"]}  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    return parts


# The authors' names, written down beside diffusers' ---------------------------------------------

PLACES = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "time_embedding.cond_proj": "time_embed.cond_proj",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "class_embedding": "label_emb", "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0", "conv_out": "out.2",
    "down_blocks.0.resnets.0": "input_blocks.1.0", "down_blocks.0.attentions.0": "input_blocks.1.1",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0", "down_blocks.1.attentions.0": "input_blocks.3.1",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0", "up_blocks.0.attentions.0": "output_blocks.0.1",
    "up_blocks.0.resnets.1": "output_blocks.1.0", "up_blocks.0.attentions.1": "output_blocks.1.1",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.2.conv",
    "up_blocks.1.resnets.0": "output_blocks.2.0", "up_blocks.1.attentions.0": "output_blocks.2.1",
    "up_blocks.1.resnets.1": "output_blocks.3.0", "up_blocks.1.attentions.1": "output_blocks.3.1",
}  # fmt: skip
OF_BLOCK = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
            "norm2": "out_layers.0", "conv2": "out_layers.3",
            "conv_shortcut": "skip_connection"}  # fmt: skip
VAE_PLACES = {
    "conv_norm_out": "norm_out", "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2", "mid_block.attentions.0": "mid.attn_1",
    "down_blocks.0.resnets": "down.0.block", "down_blocks.1.resnets": "down.1.block",
    "down_blocks.0.downsamplers.0": "down.0.downsample",
    "down_blocks.1.attentions": "down.1.attn", "up_blocks.0.attentions": "up.1.attn",
    "up_blocks.0.resnets": "up.1.block", "up_blocks.1.resnets": "up.0.block",
    "up_blocks.0.upsamplers.0": "up.1.upsample",
}  # fmt: skip
VAE_INNER = {"conv_shortcut": "nin_shortcut", "group_norm": "norm", "to_q": "q", "to_k": "k",
             "to_v": "v", "to_out.0": "proj_out"}  # fmt: skip
OPEN = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight", "final_layer_norm.bias": "ln_final.bias",
}  # fmt: skip
OPEN_BLOCK = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj",
              "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}  # fmt: skip


def unet_file(weights: Weights, first: bool) -> Weights:
    """A network by the authors' names; first: with convolutions where 2 and XL have linear maps."""
    found = {}
    for name, array in weights.items():
        place = next(p for p in sorted(PLACES, key=len, reverse=True) if name.startswith(f"{p}."))
        rest = name.removeprefix(f"{place}.")
        module, _, leaf = rest.rpartition(".")
        if module in ("proj_in", "proj_out") and array.ndim == 2 and first:
            array = array[:, :, None, None]
        rest = f"{OF_BLOCK.get(module, module)}.{leaf}" if module else leaf
        found[f"{PLACES[place]}.{rest}"] = array
    if "output_blocks.1.1.norm.weight" not in found:  # no transformer before the doubling
        found = {k.replace("output_blocks.1.2.conv", "output_blocks.1.1.conv"): v
                 for k, v in found.items()}  # fmt: skip
    return found


def plain_file(weights: Weights, size: int) -> Weights:
    """A network without transformers, with queries, keys and values of each head of `size` in one
    tensor."""
    found, inner = dict(weights), {"group_norm": "norm", "to_out.0": "proj_out"}
    for name, array in weights.items():
        start, _, rest = name.partition(".to_q.")
        if rest:
            parts = np.stack([found.pop(f"{start}.to_{part}.{rest}") for part in "qkv"])
            heads = parts.reshape(3, -1, size, *array.shape[1:]).swapaxes(0, 1)
            found[f"{start}.qkv.{rest}"] = heads.reshape(-1, *array.shape[1:])
        for theirs, own in inner.items():
            if ".attentions." in name and f".{theirs}." in name:
                found[name.replace(f".{theirs}.", f".{own}.")] = found.pop(name)
    lines = {name: array[:, :, None] if ".attentions." in name and array.ndim == 2 else array
             for name, array in found.items()}  # fmt: skip
    return unet_file(lines, False)


def vae_file(weights: Weights) -> Weights:
    """An autoencoder by the authors' names, its attention in convolutions."""
    found = {}
    for name, array in weights.items():
        for here, there in VAE_PLACES.items():
            name = name.replace(f".{here}.", f".{there}.")
        for here, there in VAE_INNER.items():
            if re.search(r"mid\.|\.attn\.|\.block\.", name):
                name = name.replace(f".{here}.", f".{there}.")
        if array.ndim == 2 and ("attn" in name):
            array = array[:, :, None, None]
        found[name] = array
    return found


def clip_file(weights: Weights) -> Weights:
    """OpenAI's reader of texts in Stable Diffusion 1, as transformers has it."""
    return weights | {"text_model.embeddings.position_ids": np.arange(77)[None]}


def open_clip_file(weights: Weights) -> Weights:
    """OpenCLIP's reader of texts."""
    short = {name.removeprefix("text_model."): array for name, array in weights.items()}
    found = {OPEN[name]: short[name] for name in OPEN}
    found["text_projection"] = np.ascontiguousarray(short["text_projection.weight"].T)
    layers = {name.split(".")[2] for name in short if name.startswith("encoder.layers.")}
    for k in sorted(layers):
        here, there = f"encoder.layers.{k}", f"transformer.resblocks.{k}"
        for leaf in ("weight", "bias"):
            joint = [short[f"{here}.self_attn.{part}_proj.{leaf}"] for part in "qkv"]
            found[f"{there}.attn.in_proj_{leaf}"] = np.concatenate(joint)
            for inner, own in OPEN_BLOCK.items():
                found[f"{there}.{own}.{leaf}"] = short[f"{here}.{inner}.{leaf}"]
    return found | {"logit_scale": np.float32(1).reshape(())}


def prefixed(prefix: str, weights: Weights) -> Weights:
    return {f"{prefix}{name}": np.ascontiguousarray(array) for name, array in weights.items()}


STARTS = {"v1": ["cond_stage_model.transformer."], "lcm": ["cond_stage_model.transformer."],
          "v2": ["cond_stage_model.model."], "x4": ["cond_stage_model.model."],
          "refiner": ["conditioner.embedders.0.model."],
          "xl": ["conditioner.embedders.0.transformer.",
                 "conditioner.embedders.1.model."]}  # fmt: skip


def single(kind: str, parts: dict[str, Weights]) -> Weights:
    """All parts of a pipeline in one file."""
    network = unet_file(parts["unet"], kind in ("v1", "lcm"))
    found = prefixed("model.diffusion_model.", network)
    found |= prefixed("first_stage_model.", vae_file(parts["vae"]))
    for start, name in zip(STARTS[kind], KINDS[kind]["texts"], strict=True):
        write = open_clip_file if start.endswith(".model.") else clip_file
        found |= prefixed(start, write(parts[name]))
    if kind not in OF_XL:  # whose files have no table of noise levels
        found["betas"] = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
        found["alphas_cumprod"] = np.cumprod(1 - found["betas"]).astype(np.float32)
        found["betas"] = found["betas"].astype(np.float32)
    return found
