"""EDM's snapshots, `edm-cifar10-32x32-cond-vp.pkl` and similar ones (Karras et al., 2022,
arXiv:2206.00364): a plain pickle of {"ema": a preconditioned network, ...}.

`settings` infers the network from the arguments with which its objects were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flax import linen as nn
from ml_collections import ConfigDict

from configs import edm, schema
from models.pretrained.base import Checkpoint, Place, Shape, Weights, as_params, paths_and_shapes
from models.pretrained.edm.settings import Object, Overrides, network_of, settings
from models.pretrained.files import torch_files
from models.pretrained.files.tensors import Arrays, PretrainedError, Tensor
from untrusted import limits, plain

FAMILY = "edm"
LARGE = 64
"""Image size in pixels from which on the authors take more steps."""
recognises = torch_files.is_pickle
"""`base.Format.recognises`."""


def read(path: Path) -> Checkpoint:
    """A snapshot and the settings that it implies; see `base.Format`."""
    content, name = torch_files.read(path), plain(path.name)
    averaged = content.get("ema") if isinstance(content, dict) else None
    if not isinstance(averaged, dict) or "class_name" not in averaged:
        raise PretrainedError(
            f"{name} is a pickle but not a snapshot of EDM, which is a dictionary with the "
            "averaged network as 'ema'"
        )
    try:
        implied = settings(averaged)
        ema = Arrays(tensors(network_of(averaged)))
        made = content.get("net")
        raw = Arrays(tensors(network_of(made))) if isinstance(made, dict) else None
    except ValueError as error:
        raise PretrainedError(f"{name}: {error}") from error
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        told = f"its objects are not those of EDM's code ({plain(repr(error), 100)})"
        raise PretrainedError(f"{name}: {told}: damaged, or another's") from error
    return Checkpoint(FAMILY, implied, raw, ema, assumed=_assumed(implied))


def _assumed(implied: Overrides) -> Overrides:
    """EDM's settings of training and sampling, for use without a config."""
    default, own = (schema.flatten(config) for config in (schema.get_default(), edm.base()))
    data = edm.PICTURES if implied["data.image_size"] >= LARGE else edm.CIFAR10
    told = {name: value for name, value in own.items() if value != default[name]}
    return told | {"sampling.num_steps": data.heun_steps}


MODULES = {
    "norm_0": "norm0", "conv_0": "conv0", "embed": "affine", "norm_1": "norm1", "conv_1": "conv1",
    "shortcut": "skip", "norm": "norm2", "query": "qkv", "key": "qkv", "value": "qkv",
    "project": "proj",
}  # fmt: skip
"""Names within a block; attention is a module of its own here and part of a block in EDM."""
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
INTERLEAVED = {"query": 0, "key": 1, "value": 2}
"""Offsets in EDM's joint map: channels 3 c + 0, 1, 2 are query, key and value of channel c."""
CONSTANTS = ("resample_filter",)
"""Tensors that are determined by the arguments."""


class TensorSource(NamedTuple):
    """Origin of a parameter of ours: a tensor of EDM's and some of its rows (output channels)."""

    name: str
    rows: slice


def parts(config: ConfigDict) -> dict[str, str]:
    """Our names of a network's parts -> EDM's, without the names within a block."""
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


def source(path: Place, shape: Shape, names: Mapping[str, str]) -> TensorSource:
    """Origin in EDM's network of our parameter at `path`, of that shape."""
    known = next(n for n in range(len(path), 0, -1) if "/".join(path[:n]) in names)
    inside = [part for part in path[known:] if part != "attention"]
    renamed = [LEAVES.get(part) or MODULES[part] for part in inside]
    name = ".".join([names["/".join(path[:known])], *renamed])
    turn = [INTERLEAVED[part] for part in inside if part in INTERLEAVED]
    # iDDPM's networks have twice the outputs; the second half, learned variances, is not used.
    last = path[-2].endswith("conv") and path[0].startswith(("output", "up_")) and not inside[1:]
    rows = slice(0, shape[-1]) if last else slice(turn[0], None, 3) if turn else slice(None)
    return TensorSource(name, rows)


def tensors(made: Object) -> dict[str, Tensor]:
    """All parameters and buffers of an object and its modules by their dotted names."""

    found: dict[str, Tensor] = {}

    def walk(made: Object, prefix: str) -> None:
        state = made["state"]
        for name, tensor in {**state["_parameters"], **state["_buffers"]}.items():
            if tensor is not None and name not in CONSTANTS:
                if not hasattr(tensor, "shape"):
                    raise PretrainedError(f"{plain(prefix + name)} in the snapshot is no tensor")
                found[prefix + name] = tensor
        # One module may stand in many places, so that few make very many.
        if len(found) > limits.TENSORS or len(prefix) > limits.NAME_CHARACTERS:
            raise PretrainedError(f"it has more than {limits.TENSORS:,} tensors, or endless names")
        for name, module in state["_modules"].items():
            if module is not None:
                walk(module, f"{prefix}{name}.")

    walk(made, "")
    return found


def params(weights: Weights, network: nn.Module, config: ConfigDict) -> dict[str, Any]:
    """Our parameters; see `base.Format`."""
    wanted, known = paths_and_shapes(network, config), parts(config)
    sources = {path: source(path, shape, known) for path, shape in wanted.items()}
    return as_params(
        weights,
        wanted,
        {path: at.name for path, at in sources.items()},
        axes=_axes,
        rows=lambda path: sources[path].rows,
    )


def _axes(name: str, ndim: int) -> tuple[int, ...]:
    return {4: (2, 3, 1, 0), 2: (1, 0)}.get(ndim, tuple(range(ndim)))
