"""Names and layouts of the parameters in diffusers' UNet2DConditionModel."""

from __future__ import annotations

from collections.abc import Callable

from ml_collections import ConfigDict

from models.pretrained.diffusers.names import INNER, LEAVES, axes

OF_EMBEDDING = {
    "time_0": "time_embedding.linear_1", "time_1": "time_embedding.linear_2",
    "level_0": "class_embedding.linear_1", "level_1": "class_embedding.linear_2",
    "levels": "class_embedding", "classes": "class_embedding", "vector": "class_embedding",
    "pooling": "add_embedding", "guidance": "time_embedding.cond_proj",
}  # fmt: skip
OF_POOLING = {
    "norm_0": "norm1", "query": "pool.q_proj", "key": "pool.k_proj",
    "value": "pool.v_proj", "project": "proj", "norm_1": "norm2",
}  # fmt: skip
OF_RESIDUAL = {name: INNER[name] for name in ("norm_0", "conv_0", "embed", "norm_1", "conv_1",
                                              "shortcut")}  # fmt: skip
OF_ATTENTION = {name: INNER[name] for name in ("query", "key", "value", "project")}
OF_TRANSFORMER = {
    "norm": "norm", "in": "proj_in", "out": "proj_out", "norm_0": "norm1", "norm_1": "norm2",
    "norm_2": "norm3", "self": "attn1", "cross": "attn2", "wide": "ff.net.0.proj",
    "narrow": "ff.net.2", **OF_ATTENTION,
}  # fmt: skip
OF_JOINT = {
    "norm": "group_norm", "token_key": "add_k_proj", "token_value": "add_v_proj",
    "token_norm": "norm_cross", **OF_ATTENTION,
}  # fmt: skip
OUTSIDE = {"stem": "conv_in", "tokens": "encoder_hid_proj"}


def name_of(config: ConfigDict, path: tuple[str, ...]) -> str:
    """diffusers' name of a parameter of the network that `config` describes."""
    head, *rest, leaf = path
    leaf = LEAVES.get(leaf, leaf)
    if head in OUTSIDE:
        return f"{OUTSIDE[head]}.{leaf}"
    if head == "output":
        return f"conv_{'norm_out' if rest == ['norm'] else 'out'}.{leaf}"
    if head == "conditioning":
        return _of_embedding(config, rest, leaf)
    inner = OF_RESIDUAL
    if "attention" in head:
        joint = config.model.token_attention.lower() == "joint"
        inner = OF_JOINT if joint else OF_TRANSFORMER
    elif rest == ["conv"]:
        inner = {"conv": "conv"}
    return ".".join([_module(config, head), *(_inner(inner, name) for name in rest), leaf])


def _inner(inner: dict[str, str], name: str) -> str:
    if name.startswith("block_"):
        return f"transformer_blocks.{name.removeprefix('block_')}"
    return inner[name]


def _module(config: ConfigDict, head: str) -> str:
    levels = len(config.model.ch_mult)
    kind, *numbers = head.split("_")
    if kind == "middle":
        what, *index = numbers
        return f"mid_block.{_kind(what)}.{index[0] if index else 0}"
    level, what = int(numbers[0]), numbers[1]
    if what == "halve":
        return f"down_blocks.{level - 1}.downsamplers.0"
    if what == "double":
        return f"up_blocks.{levels - 1 - level}.upsamplers.0"
    side = f"down_blocks.{level}" if kind == "down" else f"up_blocks.{levels - 1 - level}"
    return f"{side}.{_kind(what)}.{numbers[2]}"


def _kind(what: str) -> str:
    return {"block": "resnets", "attention": "attentions"}[what]


def _of_embedding(config: ConfigDict, rest: list[str], leaf: str) -> str:
    first, *inner = rest
    if first == "pooling":
        name = ".".join([OF_EMBEDDING[first], *(OF_POOLING[part] for part in inner)])
        return f"{name}.pool.positional_embedding" if leaf == "place" else f"{name}.{leaf}"
    if first.startswith("vector_"):
        sizes = config.model.vector_embedding.lower() == "sizes"
        return (f"{'add' if sizes else 'class'}_embedding.linear_{int(first[-1]) + 1}"
                f".{leaf}")  # fmt: skip
    return f"{OF_EMBEDDING[first]}.{leaf}"


def axes_of(config: ConfigDict) -> Callable[[str, int], tuple[int, ...]]:
    """The order of the axes of a weight in our layout, by its name and their number."""
    tables = {"add_embedding.pool.positional_embedding"}
    if config.model.vector_embedding.lower() != "linear":
        tables.add("class_embedding.weight")

    def of(name: str, ndim: int) -> tuple[int, ...]:
        return tuple(range(ndim)) if name in tables else axes(name, ndim)

    return of
