"""Rules for a UNet2DModel's config.json whose network is among ours.

The values come from a stranger's file, so their types and sizes are checked, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from models.layers.norm import quarter_groups
from models.pretrained.files.tensors import PretrainedError
from untrusted import shown

Json = Mapping[str, Any]
ROOT_TWO = math.sqrt(2)


class JsonRule(NamedTuple):
    """A condition on a value of config.json, given all values, and the words that state it."""

    holds: Callable[[Any, Json], bool]
    words: str


def one_of(*allowed: Any) -> JsonRule:
    """One of these values, and of the same type."""
    words = " or ".join(repr(value) for value in allowed)
    return JsonRule(lambda v, c: any(type(v) is type(a) and v == a for a in allowed), words)


def integer_in(least: int, most: int) -> JsonRule:
    """An integer in a range."""
    return JsonRule(
        lambda v, c: type(v) is int and least <= v <= most, f"an integer from {least} to {most}"
    )


def number_in(least: float, most: float) -> JsonRule:
    """A number in a range."""
    return JsonRule(
        lambda v, c: type(v) in (int, float) and least <= v <= most, f"from {least:g} to {most:g}"
    )


def or_none(rule: JsonRule) -> JsonRule:
    """A value that keeps another rule, or null."""
    return JsonRule(lambda v, c: v is None or rule.holds(v, c), f"null or {rule.words}")


def list_of(rule: JsonRule, most: int = 16) -> JsonRule:
    """A list of values that keep another rule."""

    def holds(value: Any, c: Json) -> bool:
        return isinstance(value, list | tuple) and 0 < len(value) <= most and all(
            rule.holds(v, c) for v in value)  # fmt: skip

    return JsonRule(holds, f"a list of up to {most}, each {rule.words}")


def close(value: Any, to: float) -> bool:
    """True if a value is a number equal to `to` up to rounding."""
    return type(value) in (int, float) and math.isclose(value, to, rel_tol=1e-6)


FLAG = one_of(True, False)
NAMES = JsonRule(
    lambda v, c: (
        isinstance(v, list | tuple)
        and len(v) == len(c["block_out_channels"])
        and all(isinstance(name, str) for name in v)
    ),
    "as many names as there are block_out_channels",
)
RULES: dict[str, JsonRule] = {
    "sample_size": integer_in(1, 1 << 14),
    "block_out_channels": list_of(integer_in(1, 1 << 14)),
    "down_block_types": NAMES,
    "up_block_types": NAMES,
    "layers_per_block": integer_in(1, 64),
    "in_channels": integer_in(1, 1 << 10),
    "out_channels": JsonRule(
        lambda v, c: type(v) is int and (0 < v <= c["in_channels"] or v == 2 * c["in_channels"]),
        "in_channels, less, or twice as many",
    ),
    "center_input_sample": FLAG,
    "time_embedding_type": one_of("fourier", "positional"),
    "time_embedding_dim": or_none(
        JsonRule(lambda v, c: v == 4 * c["block_out_channels"][0], "4 times the finest channels")
    ),
    "mid_block_type": one_of("UNetMidBlock2D"),
    "dropout": number_in(0, 0.999),
    "act_fn": one_of("silu", "swish"),
    "resnet_time_scale_shift": one_of("default"),
    "class_embed_type": one_of(None),
    "num_class_embeds": or_none(integer_in(1, 1 << 20)),
    "norm_num_groups": or_none(integer_in(1, 1 << 10)),
    "attn_norm_num_groups": or_none(
        JsonRule(lambda v, c: v == c["norm_num_groups"], "norm_num_groups")
    ),
    "attention_head_dim": or_none(integer_in(1, 1 << 14)),
}
"""Rules for both families, in the order in which they are checked."""
FAMILY_RULES: dict[str, dict[str, JsonRule]] = {
    "ncsnpp": {
        "in_channels": one_of(3),
        "out_channels": one_of(3),
        "mid_block_scale_factor": JsonRule(lambda v, c: close(v, ROOT_TWO), "sqrt(2)"),
        "norm_eps": JsonRule(lambda v, c: close(v, 1e-6), "1e-6"),
        "norm_num_groups": or_none(
            JsonRule(
                lambda v, c: {v} == {quarter_groups(c["block_out_channels"][i]) for i in (0, -1)},
                "a quarter of the channels, at most 32",
            )
        ),
        "attention_head_dim": or_none(
            JsonRule(lambda v, c: {v} == _attended(c), "as many as there are channels")
        ),
        "add_attention": one_of(True),
        "freq_shift": JsonRule(lambda v, c: c["time_embedding_type"] == "fourier" or v == 1, "1"),
        "flip_sin_to_cos": JsonRule(
            lambda v, c: c["time_embedding_type"] == "fourier" or v is False, "false"
        ),
        "block_out_channels": JsonRule(
            lambda v, c: _skip_groups_agree(c),
            "128 or more where there is attention (else diffusers' normalization differs)",
        ),
    },
    "ddpm_ho": {
        "time_embedding_type": one_of("positional"),
        "mid_block_scale_factor": JsonRule(
            lambda v, c: close(v, 1) or close(v, ROOT_TWO), "1 or sqrt(2)"
        ),
        "norm_num_groups": integer_in(1, 1 << 10),
        "norm_eps": number_in(1e-12, 1),
        "add_attention": FLAG,
        "downsample_padding": one_of(0, 1),
        "downsample_type": one_of("conv"),
        "upsample_type": one_of("conv"),
        "freq_shift": JsonRule(lambda v, c: type(v) in (int, float) and v in (0, 1), "0 or 1"),
        "flip_sin_to_cos": FLAG,
    },
}  # fmt: skip


def _attended(c: Json) -> set[int]:
    """Channels of the layers with attention."""
    widths, kinds = c["block_out_channels"], c["down_block_types"]
    return {w for w, kind in zip(widths, kinds, strict=True) if "Attn" in kind} | {widths[-1]}


def _skip_groups_agree(c: Json) -> bool:
    """True if blocks with attention normalize by NCSN++'s rule.

    In those blocks diffusers always has 32 groups for attention, and an error in the rule for the
    blocks on the way up; from 128 channels on all of them mean 32.
    """
    kinds = c["down_block_types"]
    return all(
        w >= 128 for w, kind in zip(c["block_out_channels"], kinds, strict=True) if "Attn" in kind
    )


def check(file: str, c: Json, rules: Mapping[str, JsonRule]) -> None:
    """Raise PretrainedError for the first value that breaks its rule."""
    for key, rule in rules.items():
        if not rule.holds(c[key], c):
            raise PretrainedError(
                f"its {file} has {key} = {shown(c[key])}, must be {rule.words} to have a "
                "counterpart here"
            )
