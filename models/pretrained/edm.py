"""EDM's snapshots (Karras et al., 2022, arXiv:2206.00364): what they are, and their weights.

A snapshot's objects come as plain dicts {"class_name", "init_args", "init_kwargs", "state"}, the
state with "_parameters", "_buffers" and "_modules". The outer object is a preconditioning, its
module "model" a network; the arguments with which both were made say everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

import models
from sde_lib import choose
from sde_lib.parametrization import IDDPM_OFFSET, IDDPM_RATIO

Object = Mapping[str, Any]
Settings = dict[str, Any]
"""Values of a config by "section.key"."""

REQUIRED = object()
SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
"""The noise levels that EDM samples between, unless the network knows fewer."""

# Signatures: argument -> default, in their order. -------------------------------------------------

_NETWORK = {
    "img_resolution": REQUIRED, "in_channels": REQUIRED, "out_channels": REQUIRED,
    "label_dim": 0, "augment_dim": 0,
}  # fmt: skip
NETWORK_ARGUMENTS = {
    "SongUNet": _NETWORK | {
        "model_channels": 128, "channel_mult": (1, 2, 2, 2), "channel_mult_emb": 4,
        "num_blocks": 4, "attn_resolutions": (16,), "dropout": 0.1, "label_dropout": 0,
        "embedding_type": "positional", "channel_mult_noise": 1, "encoder_type": "standard",
        "decoder_type": "standard", "resample_filter": (1, 1),
    },
    "DhariwalUNet": _NETWORK | {
        "model_channels": 192, "channel_mult": (1, 2, 3, 4), "channel_mult_emb": 4,
        "num_blocks": 3, "attn_resolutions": (32, 16, 8), "dropout": 0.1, "label_dropout": 0,
    },
}  # fmt: skip
_PRECOND = {
    "img_resolution": REQUIRED, "img_channels": REQUIRED, "label_dim": 0, "use_fp16": False,
}  # fmt: skip
PRECONDITIONING_ARGUMENTS = {
    "VPPrecond": _PRECOND | {"beta_d": 19.9, "beta_min": 0.1, "M": 1000, "epsilon_t": 1e-5},
    "VEPrecond": _PRECOND | {"sigma_min": 0.02, "sigma_max": 100},
    "iDDPMPrecond": _PRECOND | {"C_1": IDDPM_RATIO, "C_2": IDDPM_OFFSET, "M": 1000},
    "EDMPrecond": _PRECOND | {"sigma_min": 0, "sigma_max": float("inf"), "sigma_data": 0.5},
}

# What they mean in our settings. ------------------------------------------------------------------

ENCODERS = {"standard": "none", "skip": "input_skip", "residual": "residual"}
DECODERS = {"standard": "none", "skip": "output_skip"}


def _common(arguments: Settings) -> Settings:
    size, multiples = arguments["img_resolution"], tuple(arguments["channel_mult"])
    sizes = {size >> level for level in range(len(multiples))}
    return {
        "data.image_size": size,
        "data.num_channels": arguments["in_channels"],
        "data.centered": True,
        "model.nf": arguments["model_channels"],
        "model.ch_mult": multiples,
        "model.ch_mult_emb": arguments["channel_mult_emb"],
        "model.num_res_blocks": arguments["num_blocks"],
        "model.attn_resolutions": tuple(n for n in arguments["attn_resolutions"] if n in sizes),
        "model.dropout": float(arguments["dropout"]),
        "model.num_classes": arguments["label_dim"],
        "model.label_dropout": float(arguments["label_dropout"]),
        "model.augment_dim": arguments["augment_dim"],
        "model.nonlinearity": "swish",
    }


def _song(arguments: Settings) -> Settings:
    taps = tuple(arguments["resample_filter"])
    if taps != taps[::-1] or len(taps) % 2:
        raise ValueError(
            f"the snapshot's resample_filter must be symmetric and of even length, got {taps}"
        )
    return _common(arguments) | {
        "model.name": "songunet",
        "model.embedding_type": arguments["embedding_type"],
        "model.fourier_scale": 16.0,
        "model.ch_mult_noise": arguments["channel_mult_noise"],
        "model.progressive_input": choose("encoder_type", arguments["encoder_type"], ENCODERS),
        "model.progressive": choose("decoder_type", arguments["decoder_type"], DECODERS),
        "model.fir": len(taps) > 2,
        "model.fir_kernel": taps,
    }


def _adm(arguments: Settings) -> Settings:
    return _common(arguments) | {"model.name": "adm"}


def _vp(arguments: Settings) -> Settings:
    return {
        "model.prediction": "unit_noise",
        "model.conditioning": "vp_time",
        "sde.beta_min": float(arguments["beta_min"]),
        "sde.beta_max": float(arguments["beta_min"] + arguments["beta_d"]),
        "sde.num_scales": arguments["M"],
    }


def _ve(arguments: Settings) -> Settings:
    return {"model.prediction": "scaled_score", "model.conditioning": "log_half_sigma"}


def _iddpm(arguments: Settings) -> Settings:
    if (arguments["C_1"], arguments["C_2"]) != (IDDPM_RATIO, IDDPM_OFFSET):
        raise ValueError(
            f"the snapshot's C_1 and C_2 must be {IDDPM_RATIO} and {IDDPM_OFFSET}, as published, "
            f"got {arguments['C_1']} and {arguments['C_2']}"
        )
    return {
        "model.prediction": "unit_noise",
        "model.conditioning": "cosine_level",
        "sde.num_scales": arguments["M"],
    }


def _edm(arguments: Settings) -> Settings:
    return {
        "model.prediction": "edm",
        "model.conditioning": "quarter_log_sigma",
        "model.sigma_data": float(arguments["sigma_data"]),
    }


NETWORKS: dict[str, Callable[[Settings], Settings]] = {"SongUNet": _song, "DhariwalUNet": _adm}
PRECONDITIONINGS: dict[str, Callable[[Settings], Settings]] = {
    "VPPrecond": _vp,
    "VEPrecond": _ve,
    "iDDPMPrecond": _iddpm,
    "EDMPrecond": _edm,
}


OUTPUTS = {"VPPrecond": 1, "VEPrecond": 1, "iDDPMPrecond": 2, "EDMPrecond": 1}
"""Output channels for each one of the image: iDDPM's second half, its variances, is not used."""


def settings(snapshot: Object) -> Settings:
    """{"section.key": value} that a preconditioned network (a snapshot's "ema") implies.

    They are those of `model`, `sde` and `data` that decide what the network computes, and the
    times it may be sampled at: t is sigma, from 0.002 to 80 or as far as the network goes.

    Raises:
      ValueError: a class or an argument is none of EDM's, or has a value that is not supported.
    """
    outer, inner = snapshot["class_name"], _model(snapshot)
    interpret = choose("the preconditioning in the snapshot", outer, PRECONDITIONINGS)
    build = choose("the network in the snapshot", inner["class_name"], NETWORKS)
    # What a preconditioning does not know it hands to its network, which has it as its own.
    arguments = _arguments(snapshot, PRECONDITIONING_ARGUMENTS[outer], strict=False)
    state = snapshot["state"]
    network = _arguments(inner, NETWORK_ARGUMENTS[inner["class_name"]], strict=True)
    if network["out_channels"] != OUTPUTS[outer] * network["in_channels"]:
        raise ValueError(
            f"the network in the snapshot must have {OUTPUTS[outer]} x {network['in_channels']} "
            f"output channels within {outer}, got {network['out_channels']}"
        )
    return build(network) | interpret(arguments) | {
        "sde.name": "edm",
        "sde.sigma_min": max(SIGMA_MIN, float(state.get("sigma_min", 0.0))),
        "sde.sigma_max": min(SIGMA_MAX, float(state.get("sigma_max", SIGMA_MAX))),
        "training.continuous": True,
    }  # fmt: skip


def _model(snapshot: Object) -> Object:
    try:
        return snapshot["state"]["_modules"]["model"]
    except (KeyError, TypeError) as error:
        raise ValueError("the snapshot has no network within its preconditioning") from error


def _arguments(made: Object, signature: Settings, *, strict: bool) -> Settings:
    """The values of all arguments in a signature with which an object was made."""
    given = dict(zip(signature, made["init_args"], strict=False)) | dict(made["init_kwargs"])
    unknown = sorted(set(given) - set(signature))
    if strict and unknown:
        raise ValueError(f"{made['class_name']} has no argument {unknown[0]!r} in EDM's code")
    found = {name: given.get(name, default) for name, default in signature.items()}
    if missing := [name for name, value in found.items() if value is REQUIRED]:
        raise ValueError(f"the snapshot does not say {missing[0]} of its {made['class_name']}")
    return found


# Weights, by name. --------------------------------------------------------------------------------

MODULES = {
    "norm_0": "norm0", "conv_0": "conv0", "embed": "affine", "norm_1": "norm1", "conv_1": "conv1",
    "shortcut": "skip", "norm": "norm2", "query": "qkv", "key": "qkv", "value": "qkv",
    "project": "proj",
}  # fmt: skip
"""Within a block; attention is a module of its own with us, a part of the block with EDM."""
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
INTERLEAVED = {"query": 0, "key": 1, "value": 2}
"""EDM computes all three at once, in turns: channel 3 c + 0, 1, 2 of the result."""
CONSTANTS = ("resample_filter",)
"""Tensors that follow from the arguments."""


class Source(NamedTuple):
    """Where a parameter of ours is: a tensor of EDM's and some of its rows (output channels)."""

    name: str
    rows: slice


def parts(config: ConfigDict) -> dict[str, str]:
    """Our names of a network's parts -> EDM's, up to the names within a block."""
    size, levels = config.data.image_size, len(config.model.ch_mult)
    blocks = config.model.num_res_blocks
    names = {
        "conditioning/embedding/frequencies": "map_noise.freqs",
        "conditioning/classes": "map_label",
        "conditioning/augment": "map_augment",
        "conditioning/time_0": "map_layer0",
        "conditioning/time_1": "map_layer1",
        "stem": f"enc.{size}x{size}_conv",
        "output/head/norm": f"dec.{size}x{size}_aux_norm",
        "output/head/conv": f"dec.{size}x{size}_aux_conv",
        "output_norm": "out_norm",
        "output_conv": "out_conv",
    }
    for level in range(levels):
        at = f"{size >> level}x{size >> level}"
        names |= {
            f"down_{level}_halve": f"enc.{at}_down",
            f"down_{level}_input/project": f"enc.{at}_aux_skip",
            f"down_{level}_input/down/conv": f"enc.{at}_aux_residual",
            f"up_{level}_attention": f"dec.{at}_block{blocks}",
            f"up_{level}_output/head/norm": f"dec.{at}_aux_norm",
            f"up_{level}_output/head/conv": f"dec.{at}_aux_conv",
            f"up_{level + 1}_double": f"dec.{at}_up",
            "middle_block_0": f"dec.{at}_in0",
            "middle_attention": f"dec.{at}_in0",
            "middle_block_1": f"dec.{at}_in1",
        }
        names |= {f"down_{level}_block_{i}": f"enc.{at}_block{i}" for i in range(blocks)}
        names |= {f"down_{level}_attention_{i}": f"enc.{at}_block{i}" for i in range(blocks)}
        names |= {f"up_{level}_block_{i}": f"dec.{at}_block{i}" for i in range(blocks + 1)}
    return names


def source(path: tuple[str, ...], shape: tuple[int, ...], names: Mapping[str, str]) -> Source:
    """Where the parameter of ours at `path`, of that shape, is in EDM's network."""
    known = next(n for n in range(len(path), 0, -1) if "/".join(path[:n]) in names)
    inside = [part for part in path[known:] if part != "attention"]
    renamed = [LEAVES.get(part) or MODULES[part] for part in inside]
    name = ".".join([names["/".join(path[:known])], *renamed])
    turn = [INTERLEAVED[part] for part in inside if part in INTERLEAVED]
    # Of a network with twice the outputs, the learned variances of iDDPM, the first half is used.
    last = path[-2].endswith("conv") and path[0].startswith(("output", "up_")) and not inside[1:]
    rows = slice(0, shape[-1]) if last else slice(turn[0], None, 3) if turn else slice(None)
    return Source(name, rows)


def tensors(made: Object) -> dict[str, Any]:
    """All parameters and buffers of an object and its modules by their dotted names."""

    def walk(made: Object, prefix: str) -> Iterator[tuple[str, Any]]:
        state = made["state"]
        for name, tensor in {**state["_parameters"], **state["_buffers"]}.items():
            if tensor is not None and name not in CONSTANTS:
                yield prefix + name, tensor
        for name, module in state["_modules"].items():
            if module is not None:
                yield from walk(module, f"{prefix}{name}.")

    return dict(walk(made, ""))


def params(snapshot: Object, network: nn.Module, config: ConfigDict) -> dict[str, Any]:
    """The weights of a preconditioned network as parameters of ours, float32.

    Args:
      snapshot: a snapshot's "ema".
      network: built from `config`.
      config: has what `settings(snapshot)` says.

    Raises:
      ValueError: a tensor is missing, left over or of another shape; all of them are listed.
    """
    found, names = tensors(_model(snapshot)), parts(config)
    wanted = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    sources = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(wanted):
        path = tuple(key.key for key in keys)
        sources[path] = source(path, leaf.shape, names), leaf.shape
    _check(found, sources)
    return unflatten_dict(
        {path: _converted(found[at.name], at.rows, shape) for path, (at, shape) in sources.items()}
    )


Sources = Mapping[tuple[str, ...], tuple[Source, tuple[int, ...]]]


def _check(found: Mapping[str, Any], sources: Sources) -> None:
    problems, used = [], set()
    for path, (at, shape) in sources.items():
        used.add(at.name)
        wanted = (shape[-1], *shape[-2:-1], *shape[:-2])
        if at.name not in found:
            problems.append(f"{at.name} is missing, for {'/'.join(path)} {shape}")
        elif _selected(found[at.name].shape, at.rows) != wanted:
            problems.append(
                f"{at.name} has shape {tuple(found[at.name].shape)}, for {'/'.join(path)} {shape}"
            )
    problems += [f"{name} has no place in the network" for name in sorted(set(found) - used)]
    if problems:
        raise ValueError(
            "the snapshot does not fit the network of the config: "
            "take its model settings from the snapshot\n  " + "\n  ".join(problems)
        )


def _selected(shape: tuple[int, ...], rows: slice) -> tuple[int, ...]:
    """The shape of some rows of a tensor; a 1x1 kernel counts as a matrix."""
    chosen = len(range(*rows.indices(shape[0])))
    return (chosen, *(shape[1:2] if shape[2:] == (1, 1) else shape[1:]))


def _converted(tensor: Any, rows: slice, shape: tuple[int, ...]) -> np.ndarray:
    chosen = np.asarray(tensor)[rows].astype(np.float32)
    order = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[chosen.ndim]
    return np.ascontiguousarray(chosen.transpose(order)).reshape(shape)
