"""diffusers' directories of a prior over embeddings: a PriorTransformer, or a pipeline with one.

Its clip_mean and clip_std are the codec of the embeddings that it diffuses.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import (
    Checkpoint,
    Place,
    Weights,
    as_params,
    finite,
    paths_and_shapes,
)
from models.pretrained.diffusers.keys import Keys, values
from models.pretrained.diffusers.rules import JsonRule, integer_in, one_of, or_none
from models.pretrained.files.folders import read_folder
from models.pretrained.files.tensors import Arrays, PretrainedError, shapes
from untrusted import UntrustedError, check_folder, plain, read_json

FAMILY = "diffusers_prior"
STEMS = ("diffusion_pytorch_model",)
CLASS = "PriorTransformer"
SAME = JsonRule(lambda v, c: v in (None, c["embedding_dim"]), "null or embedding_dim")
NONE = one_of(None)
KEYS: Keys = {
    "num_attention_heads": (32, integer_in(1, 1 << 10)),
    "attention_head_dim": (64, integer_in(1, 1 << 10)),
    "num_layers": (20, integer_in(1, 256)),
    "embedding_dim": (768, integer_in(1, 1 << 14)),
    "num_embeddings": (77, integer_in(1, 1 << 12)),
    "additional_embeddings": (4, one_of(4)),
    "dropout": (0.0, JsonRule(lambda v, c: v == 0, "0")),
    "time_embed_act_fn": ("silu", one_of("silu")),
    "norm_in_type": (None, NONE),
    "embedding_proj_norm_type": (None, NONE),
    "encoder_hid_proj_type": ("linear", one_of("linear")),
    "added_emb_type": ("prd", one_of("prd")),
    "time_embed_dim": (None, or_none(JsonRule(
        lambda v, c: v == c["num_attention_heads"] * c["attention_head_dim"],
        "num_attention_heads times attention_head_dim"))),
    "embedding_proj_dim": (None, SAME),
    "clip_embed_dim": (None, SAME),
}  # fmt: skip
SCHEDULER: Keys = {
    "num_train_timesteps": (1000, integer_in(2, 100_000)),
    "prediction_type": ("sample", one_of("sample")),
    "beta_schedule": ("squaredcos_cap_v2", one_of("squaredcos_cap_v2")),
}
"""The keys of UnCLIPScheduler's file that say what a model was trained for, and its defaults."""
OUTER = {
    "query": "prd_embedding", "places": "positional_embedding",
}  # fmt: skip
MODULES = {
    "stem": "proj_in", "tokens": "encoder_hidden_states_proj", "vector": "embedding_proj",
    "time_0": "time_embedding.linear_1", "time_1": "time_embedding.linear_2", "norm": "norm_out",
    "output": "proj_to_clip_embeddings",
}  # fmt: skip
BLOCK = {
    "norm_0": "norm1", "query": "attn1.to_q", "key": "attn1.to_k", "value": "attn1.to_v",
    "project": "attn1.to_out.0", "norm_1": "norm3", "wide": "ff.net.0.proj", "narrow": "ff.net.2",
}  # fmt: skip
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
MEAN, STD = "clip_mean", "clip_std"


def recognises(path: Path | str) -> bool:
    """True if `path` is a directory with the config.json of a PriorTransformer, or a pipeline's.

    Also True if that file cannot be read; `read` then says why.
    """
    try:
        return _folder(Path(path)) is not None
    except UntrustedError:
        return True


def read(path: Path | str) -> Checkpoint:
    """The weights and settings of a directory, which count as averaged.

    Raises:
      PretrainedError: it is no such directory, a file in it is damaged, or an option has no
        counterpart here.
      OSError: a file cannot be read.
    """
    try:
        folder = _folder(Path(path))
        if folder is None:
            raise PretrainedError("it must be a directory of diffusers with a PriorTransformer")
        c = values("config.json", read_json(folder / "config.json"), KEYS)
        weights = read_folder(folder, STEMS)
        facts = _settings(c) | _noise(folder) | _moments(weights, c["embedding_dim"])
        left = {n: tensor for n, tensor in weights.tensors.items() if n not in (MEAN, STD)}
        return Checkpoint(FAMILY, facts, None, Arrays(left), assumed=ASSUMED)
    except UntrustedError as error:
        raise PretrainedError(f"{plain(str(path), 200)}: {error}") from error


def params(weights: Weights, network: nn.Module, config: ConfigDict) -> Any:
    """Our parameters; see `base.Format`."""
    if (name := config.model.name.lower()) != "prior":
        raise PretrainedError(
            f"the file is of a prior, model.name=prior, and the config has model.name={name!r}"
        )
    wanted = paths_and_shapes(network, config)
    return as_params(weights, wanted, names(wanted), axes=axes)


def names(places: Iterable[Place]) -> dict[Place, str]:
    """diffusers' name of each of our parameters."""
    return {path: _name(path) for path in places}


def _name(path: Place) -> str:
    if len(path) == 1:
        return OUTER[path[0]]
    if len(path) == 2:
        return f"{MODULES[path[0]]}.{LEAVES[path[1]]}"
    block, part, leaf = path
    return f"transformer_blocks.{block.removeprefix('block_')}.{BLOCK[part]}.{LEAVES[leaf]}"


def axes(name: str, ndim: int) -> tuple[int, ...]:
    """The order of the file's axes in our layout."""
    return (1, 0) if ndim == 2 else tuple(range(ndim))


ASSUMED = {
    "data.dataset": "array",
    "model.condition_dropout": 0.2,
    "training.continuous": False,
    "training.reduce_mean": True,
    "sampling.predictor": "ancestral",
    "sampling.grid": "respaced",
    "sampling.respacing": "25",
    "sampling.guidance": 4.0,
}
"""Training and sampling as Karlo's published prior has them, for use without a config."""


def _folder(path: Path) -> Path | None:
    if not path.is_dir():
        return None
    for folder in (path, path / "prior"):
        if folder != path and os.path.lexists(folder):
            check_folder(folder)
        file = folder / "config.json"
        if os.path.lexists(file) and read_json(file).get("_class_name") == CLASS:
            return folder
    return None


def _settings(c: dict[str, Any]) -> dict[str, Any]:
    width = c["embedding_dim"]
    return {
        "model.name": "prior",
        "model.nf": c["num_attention_heads"] * c["attention_head_dim"],
        "model.num_heads": c["num_attention_heads"],
        "model.num_res_blocks": c["num_layers"],
        "model.num_classes": 0,
        "model.condition": "tokens+vector",
        "model.prediction": "data",
        "data.shape": (width,),
        "data.condition": (c["num_embeddings"], width, width),
        "data.condition_codec": "identity",
        "data.codec": "standardize",
    }


def _noise(folder: Path) -> dict[str, Any]:
    """The noise levels of a pipeline's prior, or those of all published ones."""
    file = folder.parent / "prior_scheduler" / "scheduler_config.json"
    content: dict[str, Any] = {}
    if folder.name == "prior" and os.path.lexists(file):
        check_folder(file.parent)
        content = read_json(file)
    c = values(file.name, {k: v for k, v in content.items() if k in SCHEDULER}, SCHEDULER)
    return {
        "sde.name": "iddpm",
        "sde.schedule": "cosine",
        "sde.num_scales": c["num_train_timesteps"],
    }


def _moments(weights: Arrays, width: int) -> dict[str, Any]:
    """Mean and standard deviation of embeddings, by which they are encoded."""
    known = shapes(weights)
    found = {}
    for name, setting in ((MEAN, "data.mean"), (STD, "data.std")):
        if np.prod(known.get(name, ())) != width or name not in known:
            raise PretrainedError(f"its {name} must have {width} numbers")
        found[setting] = tuple(float(v) for v in finite(name, weights[name]).ravel())
    return found
