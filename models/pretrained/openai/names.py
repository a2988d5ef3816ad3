"""Names of the parameters in OpenAI's networks, and the rows of joint tensors.

`input_blocks.k` and `output_blocks.k` count layers: each block with the attention that follows it
is one, the first convolution another, and a layer that halves another; one that doubles ends the
last entry of its resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn

from models.layers.tower import Tower
from models.pretrained.base import Chosen, Place, Rows, Shape

BLOCK = {
    "norm_0": "in_layers.0", "conv_0": "in_layers.2", "embed": "emb_layers.1",
    "norm_1": "out_layers.0", "conv_1": "out_layers.3", "shortcut": "skip_connection",
}  # fmt: skip
"""Names within a residual block."""
ATTENTION = {
    "norm": "norm", "query": "qkv", "key": "qkv", "value": "qkv", "project": "proj_out",
    "token_key": "encoder_kv", "token_value": "encoder_kv",
}  # fmt: skip
"""Names within attention."""
READER = {
    "norm_0": "ln_1", "query": "attn.c_qkv", "key": "attn.c_qkv", "value": "attn.c_qkv",
    "project": "attn.c_proj", "norm_1": "ln_2", "wide": "mlp.c_fc", "narrow": "mlp.c_proj",
}  # fmt: skip
"""Names within a block of GLIDE's reader of texts."""
TABLES = {"words": "token_embedding.weight", "places": "positional_embedding",
          "nothing": "padding_embedding"}  # fmt: skip
"""Tables of that reader."""
POOL = {
    "query": "out.2.qkv_proj", "key": "out.2.qkv_proj", "value": "out.2.qkv_proj",
    "project": "out.2.c_proj", "positions": "out.2.positional_embedding",
}  # fmt: skip
"""Names within a classifier's pooling by attention."""
OUTER = {
    "conditioning/time_0": "time_embed.0",
    "conditioning/time_1": "time_embed.2",
    "conditioning/classes": "label_emb",
    "stem": "input_blocks.0.0",
    "conditioning/text": "transformer_proj",
    "text/norm": "final_ln",
    "output_norm": "out.0",
    "output_conv": "out.2",
}
HEADS: dict[str, dict[str, str]] = {
    "attention": {"output_norm": "out.0"},
    "adaptive": {"output_norm": "out.0", "output": "out.3"},
    "spatial": {"hidden": "out.0", "output": "out.2"},
    "spatial_v2": {"hidden": "out.0", "hidden_norm": "out.1", "output": "out.3"},
}
"""Names outside of all blocks at a classifier's end, by model.pool."""
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
PARTS = ("query", "key", "value")
TOKEN_PARTS = ("token_key", "token_value")


class Entry(NamedTuple):
    """Origin of a block: its place in the file, and that of the attention within it."""

    block: str
    attention: str = ""


def entries(tower: Tower) -> dict[str, Entry]:
    """Our name of every block and resizing layer of a network -> its origin."""
    return {
        **dict(_down(tower)),
        "middle_block_0": Entry("middle_block.0", "middle_block.1"),
        "middle_block_1": Entry("middle_block.2"),
        **dict(_up(tower)),
    }


def _down(tower: Tower) -> Iterator[tuple[str, Entry]]:
    at, resize_blocks = 1, tower.form.resize_blocks
    for level in range(len(tower.widths)):
        if level:
            halve = f"input_blocks.{at}.0" + ("" if resize_blocks else ".op")
            yield f"down_{level}_halve", Entry(halve)
            at += 1
        for i in range(tower.blocks):
            yield (
                f"down_{level}_block_{i}",
                Entry(f"input_blocks.{at}.0", f"input_blocks.{at}.1"),
            )
            at += 1


def _up(tower: Tower) -> Iterator[tuple[str, Entry]]:
    at, resize_blocks = 0, tower.form.resize_blocks
    for level in reversed(range(len(tower.widths))):
        for i in range(tower.blocks + 1):
            entry = Entry(f"output_blocks.{at}.0", f"output_blocks.{at}.1")
            yield f"up_{level}_block_{i}", entry
            at += 1
        if level:
            double = f"output_blocks.{at - 1}.{2 if tower.attention[level] else 1}"
            yield f"up_{level}_double", Entry(double + ("" if resize_blocks else ".conv"))


def name(path: Place, blocks: Mapping[str, Entry], outer: Mapping[str, str]) -> str:
    """Name in the file of our parameter at `path`; `outer` has what is outside of all blocks."""
    *parents, leaf = path
    part = "/".join(parents)
    if part in outer:
        return f"{outer[part]}.{LEAVES[leaf]}"
    if path[0] == "text":
        return _of_the_reader(path)
    if path[0] not in blocks:
        pooled = POOL[path[1]]
        return pooled if leaf == "positions" else f"{pooled}.{LEAVES[leaf]}"
    at, inner = blocks[path[0]], parents[1:]
    if not inner or inner == ["conv"]:
        return f"{at.block}.{LEAVES[leaf]}"
    if inner[0] == "attention":
        return f"{at.attention}.{ATTENTION[inner[1]]}.{LEAVES[leaf]}"
    return f"{at.block}.{BLOCK[inner[0]]}.{LEAVES[leaf]}"


def _of_the_reader(path: Place) -> str:
    if len(path) == 2:
        return TABLES[path[1]]
    block, part, leaf = path[1:]
    return f"transformer.resblocks.{block.removeprefix('block_')}.{READER[part]}.{LEAVES[leaf]}"


def rows(path: Place, shape: Shape, tower: Tower, order: str, text_heads: int = 0) -> Rows:
    """Rows of the tensor in the file that are our parameter at `path`: all, but of attention.

    There the joint tensor has query, key and value: in the order "heads_first" the three of the
    first head, then those of the second; in "parts_first" the queries of all heads first. That of
    a text's features has key and value, and it and the reader of texts are always heads first.
    """
    part = path[-2] if len(path) > 1 else ""
    parts = TOKEN_PARTS if part in TOKEN_PARTS else PARTS
    if part not in parts:
        return slice(None)
    channels, which, total = shape[-1], parts.index(part), len(parts) * shape[-1]
    reads = path[0] == "text"
    if parts is PARTS and not reads and (order == "parts_first" or path[0] == "pool"):
        return Chosen(np.arange(channels) + which * channels, total)
    heads = (tower.form.heads_up if path[0].startswith("up_") else tower.form.heads)(channels)
    heads = text_heads if reads else heads
    joint = np.arange(total).reshape(heads, len(parts), channels // heads)
    return Chosen(joint[:, which].ravel(), total)


def axes(name: str, ndim: int) -> tuple[int, ...]:
    """The order of the file's axes in our layout: channels last, tables as they are."""
    if name.startswith("label_emb") or name in TABLES.values():
        return tuple(range(ndim))
    return {4: (2, 3, 1, 0), 3: (2, 1, 0), 2: (1, 0)}.get(ndim, tuple(range(ndim)))


def tower_of(network: nn.Module) -> Tower:
    """The blocks of a network, within the wrapper of its inputs if it has one."""
    inner: Any = getattr(network, "network", network)
    tower: Tower = inner.tower
    return tower
