"""diffusers' directories of a DiT: a DiTTransformer2DModel, or a pipeline with one in transformer/.

diffusers has embeddings of noise level and class in every block. Those of published models are
copies, of which one is kept; where they differ, each block has its own here, too
(model.own_embeddings). Places are computed, not stored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from models.dit import places
from models.pretrained.base import Checkpoint, Weights, as_params, paths_and_shapes
from models.pretrained.diffusers.keys import Keys, values
from models.pretrained.diffusers.rules import (
    FLAG,
    JsonRule,
    integer_in,
    number_in,
    one_of,
    or_none,
)
from models.pretrained.dit import names
from models.pretrained.dit.authors import check_name
from models.pretrained.dit.published import training
from models.pretrained.files.folders import read_folder
from models.pretrained.files.tensors import Arrays, PretrainedError, Storage, Tensor, contiguous
from untrusted import UntrustedError, check_folder, plain, read_json

FAMILY = "diffusers_dit"
STEMS = ("diffusion_pytorch_model",)
CLASSES = ("DiTTransformer2DModel", "Transformer2DModel")
"""Names of the class now, and before version 0.29."""
REPEATED = f".{names.EMBEDDING}."
"""Part of the names of tensors that every block has."""
NONE = one_of(None)
KEYS: Keys = {
    "num_attention_heads": (16, integer_in(1, 1 << 10)),
    "attention_head_dim": (72, integer_in(1, 1 << 10)),
    "in_channels": (4, integer_in(1, 1 << 10)),
    "out_channels": (
        None, JsonRule(lambda v, c: v in (None, c["in_channels"], 2 * c["in_channels"]),
                       "in_channels or twice as many"),
    ),
    "num_layers": (28, integer_in(1, 256)),
    "sample_size": (32, integer_in(1, 1 << 12)),
    "patch_size": (
        2, JsonRule(lambda v, c: type(v) is int and v > 0 and c["sample_size"] % v == 0,
                    "a divisor of sample_size"),
    ),
    "num_embeds_ada_norm": (1000, integer_in(1, 1 << 20)),
    "activation_fn": ("gelu-approximate", one_of("gelu-approximate")),
    "attention_bias": (True, one_of(True)),
    "norm_type": ("ada_norm_zero", one_of("ada_norm_zero")),
    "norm_elementwise_affine": (False, one_of(False)),
    "norm_eps": (1e-5, number_in(1e-12, 1)),
    "dropout": (0.0, JsonRule(lambda v, c: v == 0, "0")),
    "cross_attention_dim": (None, NONE), "num_vector_embeds": (None, NONE),
    "caption_channels": (None, NONE), "interpolation_scale": (None, NONE),
    "double_self_attention": (False, one_of(False)),
    "only_cross_attention": (False, one_of(False)),
    "use_linear_projection": (False, FLAG),
    "attention_type": ("default", one_of("default")),
    "use_additional_conditions": (None, one_of(None, False)),
    "norm_num_groups": (32, or_none(integer_in(1, 1 << 10))),
    "upcast_attention": (False, FLAG),
}  # fmt: skip
"""Keys of config.json -> default and rule; groups, projections and upcasts are of other kinds."""
SCHEDULER: Keys = {
    "num_train_timesteps": (1000, one_of(1000)),
    "beta_schedule": ("linear", one_of("linear")),
    "beta_start": (1e-4, JsonRule(lambda v, c: v == 1e-4, "0.0001")),
    "beta_end": (0.02, JsonRule(lambda v, c: v == 0.02, "0.02")),
    "trained_betas": (None, JsonRule(lambda v, c: v in (None, []), "null")),
    "prediction_type": ("epsilon", one_of("epsilon")),
    "rescale_betas_zero_snr": (False, one_of(False)),
}
"""The keys of a scheduler's file that say what a model was trained for, as DiT's authors did."""


def recognises(path: Path | str) -> bool:
    """True if `path` is a directory with the config.json of a DiT, or a pipeline's.

    Also True if that file cannot be read; `read` then says why.
    """
    try:
        return _folder(Path(path)) is not None
    except UntrustedError:
        return True


def read(path: Path | str) -> Checkpoint:
    """The weights and settings of a directory, which count as averaged.

    Raises:
      PretrainedError: it is no such directory, a file in it is damaged, copies of a tensor differ,
        or an option has no counterpart here.
      OSError: a file cannot be read.
    """
    try:
        found = _folder(Path(path))
        if found is None:
            raise PretrainedError("it must be a directory of diffusers with a DiT in it")
        content = read_json(found / "config.json")
        c = values("config.json", content, KEYS)
        _check_scheduler(found)
        weights, own = _deduplicated(read_folder(found, STEMS))
        facts = {**_settings(c), "model.own_embeddings": own}
        ema = _with_places(weights, c)
        return Checkpoint(FAMILY, facts, None, ema, assumed=training())
    except UntrustedError as error:
        raise PretrainedError(f"{plain(str(path), 200)}: {error}") from error


def params(weights: Weights, network: nn.Module, config: ConfigDict) -> Any:
    """Our parameters; see `base.Format`."""
    check_name(config)
    wanted = paths_and_shapes(network, config)
    return as_params(weights, wanted, names.diffusers_names(wanted), axes=names.axes)


def _folder(path: Path) -> Path | None:
    if not path.is_dir():
        return None
    for folder in (path, path / "transformer"):
        if folder != path and os.path.lexists(folder):
            check_folder(folder)
        if os.path.lexists(folder / "config.json"):
            content = read_json(folder / "config.json")
            of_dit = content.get("norm_type") == "ada_norm_zero"
            if content.get("_class_name") in CLASSES and of_dit:
                return folder
    return None


def _check_scheduler(folder: Path) -> None:
    file = folder.parent / "scheduler" / "scheduler_config.json"
    if folder.name == "transformer" and os.path.lexists(file):
        check_folder(file.parent)
        content = read_json(file)
        values(file.name, {k: v for k, v in content.items() if k in SCHEDULER}, SCHEDULER)


def _settings(c: Mapping[str, Any]) -> dict[str, Any]:
    side, out = c["sample_size"], c["out_channels"] or c["in_channels"]
    return {
        "model.name": "dit",
        "model.nf": c["num_attention_heads"] * c["attention_head_dim"],
        "model.num_heads": c["num_attention_heads"],
        "model.num_res_blocks": c["num_layers"],
        "model.patch": (c["patch_size"], c["patch_size"]),
        "model.num_classes": c["num_embeds_ada_norm"],
        "model.learn_variance": out == 2 * c["in_channels"],
        "model.norm_eps": float(c["norm_eps"]),
        "model.freq_shift": 1,  # built into diffusers, and 0 where its models were trained
        "data.shape": (side, side, c["in_channels"]),
    }


def _deduplicated(weights: Arrays) -> tuple[dict[str, Tensor], bool]:
    """(the weights, whether each block has embeddings of its own); copies are left out."""
    later = [
        name for name in weights if REPEATED in name and not name.startswith(names.FIRST + ".")
    ]
    if not all(_is_copy(name, weights) for name in later):
        return dict(weights.tensors), True
    return {name: tensor for name, tensor in weights.tensors.items() if name not in later}, False


def _is_copy(name: str, weights: Arrays) -> bool:
    """True if a tensor of a later block is equal to that of the first."""
    first = f"{names.FIRST}{REPEATED}{name.partition(REPEATED)[2]}"
    return first in weights and np.array_equal(weights[name], weights[first])


def _with_places(weights: dict[str, Tensor], c: Mapping[str, Any]) -> Arrays:
    """The weights and the places, which diffusers computes."""
    name = names.DIFFUSERS_OUTER["places"]
    if name in weights:
        return Arrays(weights)
    side = c["sample_size"] // c["patch_size"]
    table = places(side, side, c["num_attention_heads"] * c["attention_head_dim"])
    storage = Storage(table.dtype, table.size)
    storage.place(memoryview(table.tobytes()))
    return Arrays({**weights, name: contiguous(storage, table.shape)})
