"""Names and layouts of the parameters in diffusers' UNet2DModel."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from ml_collections import ConfigDict

INNER = {
    # a residual block
    "norm_0": "norm1", "conv_0": "conv1", "embed": "time_emb_proj", "norm_1": "norm2",
    "conv_1": "conv2", "shortcut": "conv_shortcut",
    # attention
    "norm": "group_norm", "query": "to_q", "key": "to_k", "value": "to_v", "project": "to_out.0",
}  # fmt: skip
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "frequencies": "weight"}
OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of attention's maps before version 0.15, still in most published files."""
_OLD_NAME = re.compile(rf"(.*\.attentions\.\d+)\.({'|'.join(OLD)})\.(weight|bias)")
REPEATED = "time_proj.W"
"""A second name of the Fourier frequencies, which some files hold twice."""


def modernized(name: str) -> str:
    """The present name of a parameter."""
    found = _OLD_NAME.fullmatch(name)
    return f"{found[1]}.{OLD[found[2]]}.{found[3]}" if found else name


def _modules(config: ConfigDict) -> dict[str, str]:
    """Our modules -> diffusers', for every module that a network of this depth can have."""
    levels, blocks = len(config.model.ch_mult), config.model.num_res_blocks
    found = {
        "stem": "conv_in",
        "conditioning/embedding": "time_proj",
        "conditioning/time_0": "time_embedding.linear_1",
        "conditioning/time_1": "time_embedding.linear_2",
        "conditioning/classes": "class_embedding",
        "middle_block_0": "mid_block.resnets.0",
        "middle_block_1": "mid_block.resnets.1",
        "middle_attention": "mid_block.attentions.0",
    }
    for level in range(levels):
        below, above = f"down_blocks.{level}", f"up_blocks.{levels - 1 - level}"
        for i in range(blocks):
            found[f"down_{level}_block_{i}"] = f"{below}.resnets.{i}"
            found[f"down_{level}_attention_{i}"] = f"{below}.attentions.{i}"
        for i in range(blocks + 1):
            found[f"up_{level}_block_{i}"] = f"{above}.resnets.{i}"
            found[f"up_{level}_attention_{i}"] = f"{above}.attentions.{i}"
        # NCSN++: one attention, residual blocks that resize, and the image pyramids.
        found[f"up_{level}_attention"] = f"{above}.attentions.0"
        found[f"down_{level + 1}_halve"] = f"{below}.resnet_down"
        found[f"down_{level + 1}_input/project"] = f"{below}.skip_conv"
        found[f"up_{level}_double"] = f"{above}.resnet_up"
        found[f"up_{level}_output/head/norm"] = f"{above}.skip_norm"
        found[f"up_{level}_output/head/conv"] = f"{above}.skip_conv"
        # DDPM: convolutions that resize.
        found[f"down_{level + 1}_halve/conv"] = f"{below}.downsamplers.0.conv"
        found[f"up_{level}_double/conv"] = f"{above}.upsamplers.0.conv"
    for head in ("up_0_output/head", "output/head"):
        found[f"{head}/norm"], found[f"{head}/conv"] = "conv_norm_out", "conv_out"
    return found


def names(config: ConfigDict, paths: Iterable[str]) -> dict[str, str]:
    """diffusers' name of each of our parameters, given as "module/.../leaf".

    All must belong to the network that `config` describes, which diffusers must have.
    """
    modules, found = _modules(config), {}
    for path in paths:
        module, _, leaf = path.rpartition("/")
        if module not in modules:
            outer, _, inner = module.rpartition("/")
            module, modules[module] = module, f"{modules[outer]}.{INNER[inner]}"
        found[path] = f"{modules[module]}.{LEAVES[leaf]}"
    return found


def _pointwise(name: str) -> bool:
    """True for a linear map of ours that is a 1x1 convolution in diffusers."""
    return name.endswith(".conv_shortcut.weight") or bool(
        re.fullmatch(r"down_blocks\.\d+\.skip_conv\.weight", name)
    )


def axes(name: str, ndim: int) -> tuple[int, ...]:
    """The order of the axes of a diffusers weight in our layout: channels last, [in, out]."""
    if ndim == 4:
        return 2, 3, 1, 0
    return (1, 0) if ndim == 2 and name != "class_embedding.weight" else tuple(range(ndim))


def to_theirs(name: str, weight: np.ndarray) -> np.ndarray:
    """One of our weights in diffusers' layout, the inverse of `axes`."""
    if name == "class_embedding.weight":
        return weight
    if weight.ndim == 4:
        return weight.transpose(3, 2, 0, 1)
    return weight.T[:, :, None, None] if _pointwise(name) else weight.T
