"""The U-Net of a single file, as the config.json and the names of diffusers' directories have it.

One with transformers is a UNet2DConditionModel there, one without (latent diffusion's of no text)
a UNet2DModel.

input_blocks.0.0                     the first convolution
input_blocks.{i}.0                   a residual block, or the halving of a resolution (.op)
input_blocks.{i}.1                   the transformer behind it
middle_block.{0,1,2}                 a residual block, a transformer, a residual block
output_blocks.{i}.{0,1}              likewise, and a doubling (.conv) at the end of a resolution
the same without transformers        attention of the pixels alone: .norm, .qkv and .proj_out
time_embed, label_emb, out           embeddings, and the last convolution
time_embed.cond_proj                 the map of the weight of guidance (LCM); in converted files
                                     perhaps time_embedding.cond_proj, as diffusers has it
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from models.pretrained.base import Shape
from models.pretrained.diffusers.condition_config import CLASS
from models.pretrained.diffusers.rules import Json
from models.pretrained.files.tensors import PretrainedError

WAVES = 256
"""Waves for each of the sizes that Stable Diffusion XL is given."""
HEADS = 1
"""The number of heads in the config.json, of which no file says anything; to be replaced."""
OUTER = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2",
    "label_emb": "class_embedding", "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out", "out.2": "conv_out",
    "time_embed.cond_proj": "time_embedding.cond_proj",
    "time_embedding.cond_proj": "time_embedding.cond_proj",
}  # fmt: skip
GUIDANCE = tuple(f"{name}.weight" for name, theirs in OUTER.items() if theirs.endswith("cond_proj"))
OF_BLOCK = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
FIRST = "in_layers.2.weight"
"""A tensor of every residual block."""
JOINT = "qkv.weight"
"""A tensor of attention without a transformer: of queries, keys and values."""
OF_ATTENTION = {"norm": "group_norm", "qkv": "to_qkv", "proj_out": "to_out.0"}
"""Parts of it; diffusers has `to_q`, `to_k` and `to_v` (`plain_network.params`)."""
PLAIN_CLASS = "UNet2DModel"
OTHER = "its network is none of Stable Diffusion's: "


class NetworkFiles(NamedTuple):
    """A config.json for the network, and diffusers' names of its tensors by those of the file."""

    config: Json
    names: dict[str, str]


@dataclass
class FileBlock:
    """One of the file's blocks: names and shapes of the tensors of each of its parts."""

    parts: dict[int, dict[str, Shape]] = field(default_factory=lambda: defaultdict(dict))

    def part(self, what: str) -> int:
        """The number of the part with a tensor of that name; -1 if there is none."""
        return next((k for k, part in self.parts.items() if what in part), -1)

    @property
    def width(self) -> int:
        """Channels of the residual block; 0 without one."""
        return self.parts[0][FIRST][0] if FIRST in self.parts.get(0, {}) else 0

    @property
    def attends(self) -> bool:
        """True with attention of the pixels alone."""
        return JOINT in self.parts.get(1, {})

    @property
    def depth(self) -> int:
        """Blocks of the transformer."""
        found = {name.split(".")[1] for name in self.parts.get(1, {})
                 if name.startswith("transformer_blocks.")}  # fmt: skip
        return len(found)

    def map(self, which: str) -> Shape:
        """The shape of a linear map of the transformer's first block."""
        return self.parts[1][f"transformer_blocks.0.{which}.weight"]


class Level(NamedTuple):
    """The blocks of one resolution: on the way down, and on the way up."""

    down: list[int]
    up: list[int]


def network_files(shapes: Mapping[str, Shape]) -> NetworkFiles:
    """The files that diffusers would have for a network of these tensors.

    Raises:
      PretrainedError: it is none of Stable Diffusion's kind.
    """
    try:
        return _files(shapes)
    except PretrainedError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise PretrainedError(OTHER + "its tensors have other names or shapes") from error


def _files(shapes: Mapping[str, Shape]) -> NetworkFiles:
    entries = _entries(shapes)
    down, middle, up = (entries[side] for side in ("input_blocks", "middle_block", "output_blocks"))
    levels = _levels(down, up)
    names = {**_outer(shapes), **_down(levels, down), **_up(levels, up), **_middle(middle)}
    if left := sorted(set(shapes) - set(names)):
        raise PretrainedError(f"{OTHER}it has {left[0]}"[:300])
    plain = not any(entry.depth for side in (down, middle, up) for entry in side.values())
    config = {
        **_ends(shapes),
        **(_plain(levels, down, middle) if plain else _resolutions(levels, down, up, middle)),
        **_told(shapes),
        **_guidance(shapes),
    }
    return NetworkFiles(config, names)


def _entries(shapes: Mapping[str, Shape]) -> dict[str, dict[int, FileBlock]]:
    found: dict[str, dict[int, FileBlock]] = defaultdict(lambda: defaultdict(FileBlock))
    for name, shape in shapes.items():
        if match := re.fullmatch(r"(input_blocks|output_blocks)\.(\d{1,4})\.(\d)\.(.+)", name):
            found[match[1]][int(match[2])].parts[int(match[3])][match[4]] = shape
        elif match := re.fullmatch(r"(middle_block)\.(\d)\.(.+)", name):
            # A transformer is part 1 of the others.
            is_block = match[3].startswith(tuple(OF_BLOCK))
            found[match[1]][int(match[2])].parts[0 if is_block else 1][match[3]] = shape
    return found


def _levels(down: Mapping[int, FileBlock], up: Mapping[int, FileBlock]) -> list[Level]:
    """Numbers of the entries of each resolution, the finest first, without those that halve."""
    found: list[list[int]] = [[]]
    for k in sorted(down)[1:]:
        if down[k].part("op.weight") >= 0:
            found.append([])
        else:
            found[-1].append(k)
    ups, at = [], 0
    for blocks in reversed(found):
        ups.append(list(range(at, at + len(blocks) + 1)))
        at += len(blocks) + 1
    if at != len(up) or not all(found):
        raise PretrainedError(f"{OTHER}it has {len(up)} blocks on the way up, must have {at}")
    return [Level(blocks, row) for blocks, row in zip(found, reversed(ups), strict=True)]


def _outer(shapes: Mapping[str, Shape]) -> dict[str, str]:
    found = {}
    for name in shapes:
        module, _, leaf = name.rpartition(".")
        if module in OUTER:
            found[name] = f"{OUTER[module]}.{leaf}"
    return found


def _residual(part: Mapping[str, Shape], here: str, there: str) -> dict[str, str]:
    found = {}
    for rest in part:
        module, _, leaf = rest.rpartition(".")
        found[f"{here}.{rest}"] = f"{there}.{OF_BLOCK[module]}.{leaf}"
    return found


def _attention(part: Mapping[str, Shape], here: str, there: str) -> dict[str, str]:
    """Names of a transformer, or of attention of the pixels alone."""
    if JOINT not in part:
        return {f"{here}.{rest}": f"{there}.{rest}" for rest in part}
    split = {rest: rest.rpartition(".") for rest in part}
    return {f"{here}.{rest}": f"{there}.{OF_ATTENTION[module]}.{leaf}"
            for rest, (module, _, leaf) in split.items()}  # fmt: skip


def _blocks(
    numbers: list[int], side: Mapping[int, FileBlock], here: str, there: str
) -> dict[str, str]:
    """Names of the residual blocks and transformers of a resolution."""
    found: dict[str, str] = {}
    for i, k in enumerate(numbers):
        entry = side[k]
        found |= _residual(entry.parts[0], f"{here}.{k}.0", f"{there}.resnets.{i}")
        if entry.depth or entry.attends:
            found |= _attention(entry.parts[1], f"{here}.{k}.1", f"{there}.attentions.{i}")
    return found


def _down(levels: list[Level], down: Mapping[int, FileBlock]) -> dict[str, str]:
    found: dict[str, str] = {}
    for k, level in enumerate(levels):
        found |= _blocks(level.down, down, "input_blocks", f"down_blocks.{k}")
        if k + 1 < len(levels):
            here, there = f"input_blocks.{level.down[-1] + 1}.0.op", f"down_blocks.{k}.downsamplers"
            found |= {f"{here}.{leaf}": f"{there}.0.conv.{leaf}" for leaf in ("weight", "bias")}
    return found


def _up(levels: list[Level], up: Mapping[int, FileBlock]) -> dict[str, str]:
    found: dict[str, str] = {}
    for k, level in enumerate(reversed(levels)):
        found |= _blocks(level.up, up, "output_blocks", f"up_blocks.{k}")
        if k + 1 < len(levels):
            last = level.up[-1]
            here = f"output_blocks.{last}.{up[last].part('conv.weight')}.conv"
            there = f"up_blocks.{k}.upsamplers.0.conv"
            found |= {f"{here}.{leaf}": f"{there}.{leaf}" for leaf in ("weight", "bias")}
    return found


def _middle(middle: Mapping[int, FileBlock]) -> dict[str, str]:
    found: dict[str, str] = {}
    blocks = 0
    for k in sorted(middle):
        entry, here = middle[k], f"middle_block.{k}"
        if entry.width:
            found |= _residual(entry.parts[0], here, f"mid_block.resnets.{blocks}")
            blocks += 1
        else:
            found |= _attention(entry.parts[1], here, "mid_block.attentions.0")
    return found


def _ends(shapes: Mapping[str, Shape]) -> Json:
    nf, inputs = shapes["input_blocks.0.0.weight"][:2]
    embedding = shapes["time_embed.0.weight"][0]
    return {
        "in_channels": inputs,
        "out_channels": shapes["out.2.weight"][0],
        "time_embedding_dim": None if embedding == 4 * nf else embedding,
    }


def _told(shapes: Mapping[str, Shape]) -> Json:
    """Keys of what is embedded beside the noise level."""
    if "label_emb.weight" in shapes:
        return {"num_class_embeds": shapes["label_emb.weight"][0]}
    if "label_emb.0.0.weight" not in shapes:
        return {}
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": WAVES,
        "projection_class_embeddings_input_dim": shapes["label_emb.0.0.weight"][1],
    }


def _guidance(shapes: Mapping[str, Shape]) -> Json:
    """The key of a network that is told the weight of guidance."""
    found = [shapes[name][1] for name in GUIDANCE if name in shapes]
    return {"time_cond_proj_dim": found[0]} if found else {}


def _resolutions(
    levels: list[Level], down: Mapping[int, FileBlock], up: Mapping[int, FileBlock],
    middle: Mapping[int, FileBlock],
) -> Json:  # fmt: skip
    below = [[down[k].depth for k in level.down] for level in levels]
    above = [[up[k].depth for k in level.up] for level in levels]
    attends = [bool(max(depths)) for depths in below]
    lowest = max(entry.depth for entry in middle.values())
    paired = zip(levels, attends, strict=True)
    transformers = [e for k in sorted(down) if (e := down[k]).depth]
    return {
        "_class_name": CLASS,
        "block_out_channels": _widths(levels, down),
        "layers_per_block": [len(level.down) for level in levels],
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "mid_block_type": "UNetMidBlock2DCrossAttn" if lowest else "UNetMidBlock2D",
        "cross_attention_dim": transformers[0].map("attn2.to_k")[1],
        "only_cross_attention": [_only(down, level, a) for level, a in paired],
        "use_linear_projection": len(transformers[0].parts[1]["proj_in.weight"]) == 2,
        "attention_head_dim": HEADS,
        **_depths(below, above, attends, lowest),
    }


def _widths(levels: list[Level], down: Mapping[int, FileBlock]) -> list[int]:
    return [down[level.down[0]].width for level in levels]


def _plain(
    levels: list[Level], down: Mapping[int, FileBlock], middle: Mapping[int, FileBlock]
) -> Json:
    """Keys of a network without transformers."""
    blocks = {len(level.down) for level in levels}
    if len(blocks) > 1:
        raise PretrainedError(OTHER + "its resolutions have different numbers of blocks")
    attends = [down[level.down[0]].attends for level in levels]
    return {
        "_class_name": PLAIN_CLASS,
        "block_out_channels": _widths(levels, down),
        "layers_per_block": blocks.pop(),
        "down_block_types": [f"{'Attn' * a}DownBlock2D" for a in attends],
        "up_block_types": [f"{'Attn' * a}UpBlock2D" for a in reversed(attends)],
        "add_attention": any(entry.attends for entry in middle.values()),
        "attention_head_dim": HEADS,
    }


def _only(down: Mapping[int, FileBlock], level: Level, attends: bool) -> bool:
    """True for a resolution whose first attention has keys of another width: the text's."""
    entry = down[level.down[0]]
    return attends and entry.map("attn1.to_k")[1] != entry.map("attn1.to_q")[1]


def _depths(
    below: list[list[int]], above: list[list[int]], attends: list[bool], lowest: int
) -> dict[str, Any]:
    """Blocks of the transformers; diffusers has the middle's as those of the last resolution."""
    even = all(len({*down, *up}) == 1 for down, up in zip(below, above, strict=True))
    last = below[-1][0] if attends[-1] else lowest
    if last != lowest and lowest:
        raise PretrainedError(
            OTHER + "the middle's transformer has other blocks than the one above"
        )
    if even:
        depths = [row[0] if a else 1 for row, a in zip(below, attends, strict=True)]
        return {"transformer_layers_per_block": [*depths[:-1], max(last, 1)]}
    return {
        "transformer_layers_per_block": [*below[:-1], below[-1] if attends[-1] else [last]],
        "reverse_transformer_layers_per_block": above[::-1],
    }
