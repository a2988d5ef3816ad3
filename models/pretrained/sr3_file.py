"""Janspiry's files of SR3, `*_gen.pth`: the network (`denoise_fn.*`) and tables of noise levels.

The file says its betas, channels, blocks and levels with attention; it does not say the size of its
pictures and the groups of its normalizations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import (
    Checkpoint,
    Chosen,
    Place,
    Rows,
    Weights,
    as_params,
    finite,
    paths_and_shapes,
)
from models.pretrained.files import torch_files
from models.pretrained.files.tensors import Arrays, PretrainedError, Tensor, shapes
from untrusted import limits, plain

FAMILY = "sr3"
BEGINNING = 1 << 20
"""Bytes in which the name of a file's first tensors is."""
PREFIX = "denoise_fn."
MARK = f"{PREFIX}noise_level_mlp.1.weight"
"""The name of a tensor that no other family has."""
TABLES = re.compile(
    r"betas|alphas_cumprod(_prev)?|sqrt_(one_minus_)?alphas_cumprod|log_one_minus_alphas_cumprod|"
    r"sqrt_recipm?1?_alphas_cumprod|posterior_(variance|log_variance_clipped|mean_coef[12])"
)
"""Names of the tables of noise levels, which follow from the first."""
UNSAID = (("data.image_size", "data.shape"), ("data.condition",), ("model.norm_num_groups",))
OUTER = {
    "conditioning/time_0": "noise_level_mlp.1", "conditioning/time_1": "noise_level_mlp.3",
    "stem": "downs.0", "output/head/norm": "final_conv.block.0",
    "output/head/conv": "final_conv.block.3", "output/norm": "final_conv.block.0",
    "output/conv": "final_conv.block.3",
    "middle_block_0": "mid.0.res_block", "middle_attention": "mid.0.attn",
    "middle_block_1": "mid.1.res_block",
}  # fmt: skip
INNER = {
    "norm_0": "block1.block.0", "conv_0": "block1.block.3", "embed": "noise_func.noise_func.0",
    "norm_1": "block2.block.0", "conv_1": "block2.block.3", "shortcut": "res_conv",
    "norm": "norm", "query": "qkv", "key": "qkv", "value": "qkv", "project": "out", "conv": "conv",
}  # fmt: skip
PARTS = ("query", "key", "value")
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}


class SR3Layout(NamedTuple):
    """Channels at each resolution, blocks at each, and the resolutions with attention."""

    widths: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]


def recognises(path: Path) -> bool:
    """True if `path` is a file of PyTorch with an SR3; see `base.Format`."""
    return torch_files.is_torch(path) and MARK.encode() in torch_files.head(path, BEGINNING)


def read(path: Path) -> Checkpoint:
    """The weights of a file, which count as averaged, and the settings that it implies."""
    content, told = torch_files.read(path), plain(path.name)
    if not isinstance(content, dict) or MARK not in content:
        raise PretrainedError(f"{told} is no state dict of SR3's, which has {MARK}")
    if len(content) > limits.TENSORS:
        raise PretrainedError(f"{told} has more than {limits.TENSORS:,} tensors: refused")
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise PretrainedError(f"{told} holds more than tensors, as no state dict does")
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in content.items()
               if name.startswith(PREFIX)}  # fmt: skip
    if odd := [n for n in content if not n.startswith(PREFIX) and not TABLES.fullmatch(n)]:
        raise PretrainedError(f"{told} has {plain(odd[0])}, of which nothing is known: refused")
    try:
        layout = infer(shapes(weights))
        facts = _settings(shapes(weights), layout) | _noise(Arrays(content))
    except (KeyError, ValueError, IndexError) as error:
        raise PretrainedError(f"{told} is no sound SR3: {plain(str(error), 120)}") from error
    return Checkpoint(
        FAMILY, facts, None, Arrays(weights), attention=layout.attention, assumed=ASSUMED,
        unsaid=UNSAID,
    )  # fmt: skip


ASSUMED = {
    "model.dropout": 0.0,
    "training.continuous": True,
    "training.error": "absolute",
    "training.reduce_mean": True,
    "sampling.predictor": "ancestral",
    "sampling.clip": True,
    "sampling.grid": "respaced",
    "sampling.noise_removal": True,
}
"""Training and sampling by the authors' code, for use without a config."""


def infer(known: Mapping[str, tuple[int, ...]]) -> SR3Layout:
    """The layout of a network, from the names and shapes of its weights."""
    widths, counts, attention, at = list[int](), [0], set[int](), 1
    while (
        f"downs.{at}.conv.weight" in known or f"downs.{at}.res_block.block1.block.3.bias" in known
    ):
        if f"downs.{at}.conv.weight" in known:
            counts.append(0)
        else:
            (width,) = known[f"downs.{at}.res_block.block1.block.3.bias"]
            widths = [*widths[: len(counts) - 1], width]
            attention |= {len(counts) - 1} if f"downs.{at}.attn.norm.weight" in known else set()
            counts[-1] += 1
        at += 1
    if len(set(counts)) != 1 or len(widths) != len(counts) or not widths:
        raise ValueError(f"blocks at its resolutions: {counts[:9]}")
    return SR3Layout(tuple(widths), counts[0], tuple(sorted(attention)))


def _settings(known: Mapping[str, tuple[int, ...]], layout: SR3Layout) -> dict[str, Any]:
    nf, joined, _, _ = known["downs.0.weight"]
    channels = known["final_conv.block.3.weight"][0]
    if any(width % nf for width in layout.widths) or joined <= channels:
        raise ValueError(f"widths {layout.widths} and {joined} channels of {channels}")
    return {
        "model.name": "sr3",
        "model.nf": nf,
        "model.ch_mult": tuple(width // nf for width in layout.widths),
        "model.num_res_blocks": layout.blocks,
        "model.condition": "image",
        "model.conditioning": "alpha",
        "model.prediction": "noise",
        "model.nonlinearity": "swish",
        "model.resamp_with_conv": True,
        "model.downsample_padding": 1,
        "model.add_attention": True,
        "model.attention_head_dim": 0,
        "model.num_classes": 0,
        "data.num_channels": channels,
        "data.condition_codec": "identity",
        "data.centered": True,
    }


def _noise(content: Weights) -> dict[str, Any]:
    betas = finite("betas", np.asarray(content["betas"]))
    if betas.ndim != 1 or not 2 <= len(betas) <= limits.NOISE_LEVELS:
        raise ValueError(f"betas of shape {list(betas.shape)}")
    return {
        "sde.name": "levels",
        "sde.schedule": "table",
        "sde.num_scales": len(betas),
        "sde.betas": tuple(float(beta) for beta in betas),
    }


def params(weights: Weights, network: nn.Module, config: ConfigDict) -> Any:
    """Our parameters; see `base.Format`."""
    if (name := config.model.name.lower()) != "sr3":
        raise PretrainedError(
            f"the file is of SR3, model.name=sr3, and the config has model.name={name!r}"
        )
    wanted = paths_and_shapes(network, config)
    modules = dict(_modules(len(config.model.ch_mult), config.model.num_res_blocks))
    return as_params(
        weights,
        wanted,
        {path: _name(path, modules) for path in wanted},
        axes=axes,
        rows=lambda path: rows(path, wanted[path]),
    )


def _modules(levels: int, blocks: int) -> Iterator[tuple[str, str]]:
    """(our module, theirs), of all resolutions."""
    yield from OUTER.items()
    at = 1
    for level in range(levels):
        for i in range(blocks):
            yield f"down_{level}_block_{i}", f"downs.{at}.res_block"
            yield f"down_{level}_attention_{i}", f"downs.{at}.attn"
            at += 1
        yield f"down_{level + 1}_halve", f"downs.{at}"
        at += 1
    at = 0
    for level in reversed(range(levels)):
        for i in range(blocks + 1):
            yield f"up_{level}_block_{i}", f"ups.{at}.res_block"
            yield f"up_{level}_attention_{i}", f"ups.{at}.attn"
            at += 1
        yield f"up_{level}_double", f"ups.{at}"
        at += 1


def _name(path: Place, modules: Mapping[str, str]) -> str:
    *parents, leaf = path
    module = "/".join(parents)
    if module in modules:
        return f"{modules[module]}.{LEAVES[leaf]}"
    return f"{modules['/'.join(parents[:-1])]}.{INNER[parents[-1]]}.{LEAVES[leaf]}"


def rows(path: Place, shape: tuple[int, ...]) -> Rows:
    """The rows of the joint tensor of queries, keys and values that are a parameter."""
    if path[-2:-1] and path[-2] in PARTS:
        width = shape[-1]
        return Chosen(np.arange(width) + PARTS.index(path[-2]) * width, len(PARTS) * width)
    return slice(None)


def axes(name: str, ndim: int) -> tuple[int, ...]:
    """The order of the file's axes in our layout."""
    return {4: (2, 3, 1, 0), 2: (1, 0)}.get(ndim, tuple(range(ndim)))
