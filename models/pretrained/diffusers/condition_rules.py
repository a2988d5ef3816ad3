"""Keys of a UNet2DConditionModel's config.json: their defaults, and the values with a counterpart.

The values come from a stranger's file, so their types and sizes are checked, too.
"""

from __future__ import annotations

from typing import Any

from models.pretrained.diffusers.rules import (
    FLAG,
    NAMES,
    Json,
    JsonRule,
    integer_in,
    list_of,
    number_in,
    one_of,
    or_none,
)

DEFAULTS: dict[str, Any] = {
    "sample_size": None, "in_channels": 4, "out_channels": 4, "center_input_sample": False,
    "flip_sin_to_cos": True, "freq_shift": 0,
    "down_block_types": (*3 * ("CrossAttnDownBlock2D",), "DownBlock2D"),
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": ("UpBlock2D", *3 * ("CrossAttnUpBlock2D",)), "only_cross_attention": False,
    "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2, "downsample_padding": 1,
    "mid_block_scale_factor": 1, "dropout": 0.0, "act_fn": "silu", "norm_num_groups": 32,
    "norm_eps": 1e-5, "cross_attention_dim": 1280, "transformer_layers_per_block": 1,
    "reverse_transformer_layers_per_block": None, "encoder_hid_dim": None,
    "encoder_hid_dim_type": None, "attention_head_dim": 8, "num_attention_heads": None,
    "dual_cross_attention": False, "use_linear_projection": False, "class_embed_type": None,
    "addition_embed_type": None, "addition_time_embed_dim": None, "num_class_embeds": None,
    "upcast_attention": False, "resnet_time_scale_shift": "default", "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0, "time_embedding_type": "positional",
    "time_embedding_dim": None, "time_embedding_act_fn": None, "timestep_post_act": None,
    "time_cond_proj_dim": None, "conv_in_kernel": 3, "conv_out_kernel": 3,
    "projection_class_embeddings_input_dim": None, "attention_type": "default",
    "class_embeddings_concat": False, "mid_block_only_cross_attention": None,
    "cross_attention_norm": None, "addition_embed_type_num_heads": 64,
}  # fmt: skip
"""Defaults of diffusers for keys that its config.json leaves out."""
HARMLESS = ("use_linear_projection", "upcast_attention")
"""Keys without effect here: forms of the same map; the softmax is float32 in any case."""
ACTIVATIONS = {"silu": "swish", "swish": "swish", "gelu": "gelu", "mish": "mish", "relu": "relu"}
VECTORS = {"projection": "projection", "simple_projection": "linear", "identity": "identity"}
"""class_embed_type -> model.vector_embedding."""
WIDTH, COUNT = integer_in(1, 1 << 16), integer_in(1, 64)


def one_or_each(rule: JsonRule) -> JsonRule:
    """A value, or a list of one for each resolution."""

    def holds(value: Any, c: Json) -> bool:
        if isinstance(value, list | tuple):
            return len(value) == len(c["block_out_channels"]) and all(
                rule.holds(v, c) for v in value
            )
        return rule.holds(value, c)

    return JsonRule(holds, f"{rule.words}, or one for each of block_out_channels")


def one_or_list(rule: JsonRule) -> JsonRule:
    """A value, or a list of some."""
    many = list_of(rule)
    return JsonRule(lambda v, c: rule.holds(v, c) or many.holds(v, c), rule.words)


ACTIVATION = one_of(*ACTIVATIONS)
RULES: dict[str, JsonRule] = {
    "block_out_channels": list_of(integer_in(1, 1 << 14)),
    "sample_size": or_none(JsonRule(
        lambda v, c: integer_in(1, 1 << 14).holds(v, c)
        or (isinstance(v, list) and len(v) == 2 and all(integer_in(1, 1 << 14).holds(n, c)
                                                        for n in v)),
        "an integer from 1 to 16384, or two",
    )),
    "down_block_types": NAMES, "up_block_types": NAMES,
    "in_channels": integer_in(1, 1 << 10), "out_channels": integer_in(1, 1 << 10),
    "center_input_sample": FLAG, "flip_sin_to_cos": FLAG,
    "freq_shift": JsonRule(lambda v, c: type(v) in (int, float) and v in (0, 1), "0 or 1"),
    "only_cross_attention": one_or_each(FLAG), "layers_per_block": one_or_each(COUNT),
    "downsample_padding": one_of(0, 1), "mid_block_scale_factor": number_in(1e-6, 1e6),
    "dropout": number_in(0, 0.999), "act_fn": ACTIVATION,
    "norm_num_groups": integer_in(1, 1 << 10), "norm_eps": number_in(1e-12, 1),
    "cross_attention_dim": one_or_each(WIDTH),
    "transformer_layers_per_block": one_or_each(one_or_list(integer_in(0, 64))),
    "reverse_transformer_layers_per_block": or_none(one_or_each(one_or_list(integer_in(0, 64)))),
    "encoder_hid_dim": or_none(WIDTH), "encoder_hid_dim_type": one_of(None, "text_proj"),
    "attention_head_dim": one_or_each(WIDTH), "num_attention_heads": one_of(None),
    "dual_cross_attention": one_of(False), "use_linear_projection": FLAG,
    "class_embed_type": one_of(None, "timestep", *VECTORS),
    "addition_embed_type": one_of(None, "text", "text_time"),
    "num_class_embeds": or_none(integer_in(1, 1 << 20)), "upcast_attention": or_none(FLAG),
    "resnet_time_scale_shift": one_of("default", "scale_shift"), "resnet_skip_time_act": FLAG,
    "resnet_out_scale_factor": number_in(1e-6, 1e6), "time_embedding_type": one_of("positional"),
    "time_embedding_dim": or_none(JsonRule(
        lambda v, c: type(v) is int and v > 0 and v % c["block_out_channels"][0] == 0,
        "a multiple of the finest channels",
    )),
    "time_embedding_act_fn": or_none(ACTIVATION), "timestep_post_act": or_none(ACTIVATION),
    "time_cond_proj_dim": or_none(integer_in(4, 1 << 16)), "conv_in_kernel": one_of(1, 3, 5, 7),
    "conv_out_kernel": one_of(1, 3, 5, 7),
    "projection_class_embeddings_input_dim": or_none(WIDTH), "addition_time_embed_dim": or_none(
        integer_in(2, 1 << 16)),
    "attention_type": one_of("default"), "class_embeddings_concat": one_of(False),
    "mid_block_only_cross_attention": or_none(FLAG),
    "cross_attention_norm": one_of(None, "layer_norm", "group_norm"),
    "addition_embed_type_num_heads": WIDTH,
}  # fmt: skip
"""Rules of values, in the order in which they are checked."""
