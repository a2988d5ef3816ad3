"""config.json of diffusers' UNet2DConditionModel, and the settings of `unet_condition` that it is.

Every key is read, is known to change nothing here (`condition_rules.HARMLESS`), or is refused by
its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.pretrained.base import Overrides
from models.pretrained.diffusers.condition_rules import ACTIVATIONS, DEFAULTS, RULES, VECTORS
from models.pretrained.diffusers.config import multiples
from models.pretrained.diffusers.rules import Json, check
from models.pretrained.files.tensors import PretrainedError
from untrusted import plain, shown

CLASS = "UNet2DConditionModel"
Ints = tuple[int, ...]

TRANSFORMERS, JOINT = "transformer", "joint"
PLAIN = {
    TRANSFORMERS: ("DownBlock2D", "UpBlock2D"),
    JOINT: ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"),
}
"""model.token_attention -> blocks without attention on the way down and up."""
ATTENDED = {
    TRANSFORMERS: ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"),
    JOINT: ("SimpleCrossAttnDownBlock2D", "SimpleCrossAttnUpBlock2D"),
}
MIDDLES = {
    TRANSFORMERS: {"UNetMidBlock2DCrossAttn": "attention", "UNetMidBlock2D": "block", None: "none"},
    JOINT: {"UNetMidBlock2DSimpleCrossAttn": "attention", None: "none"},
}
PIXELS = (1, 3)
"""Channels of pictures, grey or in colour; others are of latents."""
CLIP_TOKENS = 77
"""Tokens of the texts of CLIP's encoders, and of most others here."""
POOLED = 1280
"""Numbers of the pooled text of SDXL and of its refiner."""
SIZES = (6, 5)
"""Numbers beside the pooled text, of SDXL and of its refiner."""
OPEN = frozenset({
    "data.image_size", "data.num_channels", "model.learn_variance",
    "model.condition", "model.num_classes", "model.level_embedding", "model.level_rows",
})  # fmt: skip
"""Overrides that a file leaves open, and are taken to be as of the published networks."""
OF_BLOCK, OF_TRANSFORMER = 10, 20
"""Tensors of a residual block and of a block of a transformer."""
SIDE = 64
"""Side of the examples where sample_size is null."""


def settings(unet: Json) -> Overrides:
    """Overrides given by a UNet2DConditionModel's config.json, its SDE apart.

    Raises:
      PretrainedError: an option has no counterpart here; it names the option.
    """
    if unknown := sorted(k for k in unet if k not in DEFAULTS and not str(k).startswith("_")):
        raise PretrainedError(
            f"its config.json has the key {plain(unknown[0], 80)}, which is not known to belong to "
            f"a {CLASS}"
        )
    c = {key: unet.get(key, default) for key, default in DEFAULTS.items()}
    check("config.json", c, RULES)
    kind, attention = _kind(c)
    widths = tuple(c["block_out_channels"])
    return {
        "model.name": "unet_condition",
        "model.nf": widths[0],
        "model.ch_mult": multiples(widths),
        "model.ch_mult_emb": (c["time_embedding_dim"] or 4 * widths[0]) // widths[0],
        **_blocks(c, kind, attention),
        **_heads(c, kind, attention),
        **_told(c, kind),
        **_embedding(c, kind),
        **_examples(c),
    }


def least_tensors(found: Overrides) -> int:
    """A number of tensors that no network of these settings has fewer of."""
    blocks = found["model.level_blocks"] or (found["model.num_res_blocks"],)
    levels = len(found["model.ch_mult"])
    residual = sum(blocks) if len(blocks) > 1 else blocks[0] * levels
    depths = (*found["model.transformer_depth"], *found["model.transformer_depth_up"])
    of_transformers = 0 if found["model.token_attention"] == JOINT else sum(depths)
    return OF_BLOCK * 2 * residual + OF_TRANSFORMER * of_transformers


def _refuse(key: str, c: Json, rule: str) -> PretrainedError:
    return PretrainedError(
        f"its config.json has {key} = {shown(c[key])}, must be {rule} to have a counterpart here"
    )


def _kind(c: Json) -> tuple[str, tuple[bool, ...]]:
    """(model.token_attention, whether there is attention at each resolution, finest first)."""
    trimmed = lambda key: tuple(name.removeprefix("UNetRes") for name in c[key])
    below, above = trimmed("down_block_types"), trimmed("up_block_types")
    for kind, (down, up) in ATTENDED.items():
        plain_down, plain_up = PLAIN[kind]
        attention = tuple(name == down for name in below)
        mirrored = tuple(up if there else plain_up for there in reversed(attention))
        if set(below) <= {down, plain_down} and above == mirrored:
            if c["mid_block_type"] not in MIDDLES[kind]:
                raise _refuse("mid_block_type", c, " or ".join(map(repr, MIDDLES[kind])))
            return kind, attention
    raise PretrainedError(
        f"its config.json has blocks {shown(c['down_block_types'], 120)} down and "
        f"{shown(c['up_block_types'], 120)} up, must be all DownBlock2D and CrossAttnDownBlock2D, "
        "or all ResnetDownsampleBlock2D and SimpleCrossAttnDownBlock2D, and on the way up the "
        "mirror image"
    )


def _each(value: Any, levels: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,) * levels


def _blocks(c: Json, kind: str, attention: Sequence[bool]) -> Overrides:
    levels = len(attention)
    blocks = _each(c["layers_per_block"], levels)
    only = _each(c["only_cross_attention"], levels)
    middle = MIDDLES[kind][c["mid_block_type"]]
    whole = isinstance(c["only_cross_attention"], bool)
    in_middle = c["mid_block_only_cross_attention"]
    in_middle = (whole and only[0]) if in_middle is None else in_middle
    found = {
        "model.token_attention": kind,
        "model.num_res_blocks": blocks[0],
        "model.level_blocks": blocks if len(set(blocks)) > 1 else (),
        "model.middle": middle,
        "model.middle_divisor": float(c["mid_block_scale_factor"]),
        "model.middle_cross": bool(in_middle and kind == JOINT),
        "model.cross_levels": tuple(k for k, there in enumerate(attention) if there and only[k]),
        "model.resblock_updown": kind == JOINT,
        "model.downsample_padding": c["downsample_padding"] if kind == TRANSFORMERS else 1,
    }
    if kind == JOINT:
        depths = tuple(map(int, attention))
        return found | {"model.transformer_depth": depths, "model.transformer_depth_up": ()}
    return found | _depths(c, blocks, attention)


def _depths(c: Json, blocks: Ints, attention: Sequence[bool]) -> Overrides:
    """Transformer blocks, which a file gives for each resolution or for each residual block."""
    key, other = "transformer_layers_per_block", "reverse_transformer_layers_per_block"
    down = _each(c[key], len(blocks))
    if c[other] is None and any(isinstance(depth, list | tuple) for depth in down):
        raise PretrainedError(f"its config.json has lists in {key}, so that it needs {other}")
    lowest = down[-1][0] if isinstance(down[-1], list | tuple) else down[-1]
    found = {
        "model.transformer_depth": _flat(key, c, down, blocks, attention),
        "model.transformer_depth_up": (),
        "model.middle_depth": max(lowest, 1),
    }
    if c["mid_block_type"] == "UNetMidBlock2DCrossAttn" and lowest < 1:
        raise _refuse(key, c, "at least 1 for the middle")
    if c[other] is not None:
        up = _each(c[other], len(blocks))
        more = tuple(n + 1 for n in reversed(blocks))
        found["model.transformer_depth_up"] = _flat(other, c, up, more, tuple(attention)[::-1])
    return found


def _flat(
    key: str, c: Json, depths: Sequence[Any], blocks: Ints, attention: Sequence[bool]
) -> Ints:
    """A number for each resolution if that says it, or for each residual block."""
    found: list[Ints] = []
    for depth, n, there in zip(depths, blocks, attention, strict=True):
        each = _each(depth, n) if there else (0,) * n
        if len(each) < n or (there and min(each) < 1):
            raise _refuse(key, c, "at least 1 where there is attention, and for every block")
        found.append(each[:n])
    if all(len(set(each)) == 1 for each in found):
        return tuple(each[0] for each in found)
    return tuple(depth for each in found for depth in each)


def _heads(c: Json, kind: str, attention: Sequence[bool]) -> Overrides:
    """Numbers of heads, which diffusers calls attention_head_dim but in blocks named Simple."""
    widths, said = tuple(c["block_out_channels"]), c["attention_head_dim"]
    each = _each(said, len(widths))
    nothing: Overrides = {
        "model.num_heads": 0, "model.attention_head_dim": 0, "model.level_heads": ()
    }  # fmt: skip
    if kind == TRANSFORMERS:
        one = isinstance(said, int)
        return nothing | ({"model.num_heads": said} if one else {"model.level_heads": each})
    # On the way up these blocks have the widths of heads in the order of the way down.
    if any(each[k] != each[len(each) - 1 - k] for k, there in enumerate(attention) if there):
        raise _refuse("attention_head_dim", c, "one number, or the same in either order,")
    if len(set(each)) == 1:
        return nothing | {"model.attention_head_dim": each[0]}
    return nothing | {
        "model.level_heads": tuple(max(w // n, 1) for w, n in zip(widths, each, strict=True))
    }


def _told(c: Json, kind: str) -> Overrides:
    """Overrides of the condition: tokens, vector, level, classes."""
    dims = set(_each(c["cross_attention_dim"], 1))
    if len(dims) > 1:
        raise _refuse("cross_attention_dim", c, "the same for all blocks")
    width = dims.pop()
    mapped = c["encoder_hid_dim"]
    norm = c["cross_attention_norm"] if kind == JOINT else None  # transformers have none
    if c["encoder_hid_dim_type"] is not None and mapped is None:
        raise _refuse("encoder_hid_dim", c, "a number with encoder_hid_dim_type")
    vector = _vector(c)
    level = "none"
    classes, rows = c["num_class_embeds"] or 0, 0
    if c["class_embed_type"] is not None:
        classes = 0
        level = "waves" if c["class_embed_type"] == "timestep" else "none"
    extra = _pictures(c)[1]
    if classes and extra:
        level, classes, rows = "table", 0, classes
    tokens = (CLIP_TOKENS, mapped or width)
    kinds = {
        "tokens": tokens,
        **({"vector": (vector.pop("entries"),)} if vector else {}),
        **({"image": (*_sides(c), extra)} if extra else {}),
        **({"level": ()} if level != "none" else {}),
    }
    if level != "none" and not extra:
        raise _refuse("class_embed_type", c, "another without an image beside the example")
    return {
        "model.condition": "+".join(kinds),
        "data.condition": sum(kinds.values(), ()),
        "data.condition_codec": "identity",
        "model.token_features": width if mapped else 0,
        "model.token_norm": {None: "none", "layer_norm": "layer", "group_norm": "group"}[norm],
        "model.pool_heads": (
            c["addition_embed_type_num_heads"] if c["addition_embed_type"] == "text" else 0
        ),
        "model.num_classes": classes,
        "model.level_embedding": level,
        "model.level_rows": rows,
        **_guidance(c),
        "model.vector_embedding": "none",
        **vector,
    }


def _guidance(c: Json) -> Overrides:
    """Overrides of a distilled network, which is told the weight of guidance."""
    features = c["time_cond_proj_dim"] or 0
    kind = {"sampling.guidance_kind": "embedded"} if features else {}
    return {"model.guidance_features": features, **kind}


def _vector(c: Json) -> Overrides:
    """Overrides of the vector and, as "entries", its length; none without one."""
    kind, features = c["class_embed_type"], c["projection_class_embeddings_input_dim"]
    if c["addition_embed_type"] != "text_time":
        if kind not in VECTORS:
            return {}
        embedding = c["time_embedding_dim"] or 4 * c["block_out_channels"][0]
        entries = embedding if kind == "identity" else features
        if entries is None:
            raise _refuse("projection_class_embeddings_input_dim", c, "a number")
        return {"model.vector_embedding": VECTORS[kind], "entries": entries}
    if kind in VECTORS:
        raise _refuse("class_embed_type", c, "another with addition_embed_type = 'text_time'")
    waves = c["addition_time_embed_dim"]
    if features is None or waves is None or features <= waves:
        raise _refuse("projection_class_embeddings_input_dim", c, "more than "
                      "addition_time_embed_dim, and both numbers,")  # fmt: skip
    left = {n: features - n * waves for n in SIZES if features > n * waves}
    count = next((n for n, pooled in left.items() if pooled == POOLED), next(iter(left), 1))
    return {
        "model.vector_embedding": "sizes",
        "model.vector_features": features,
        "model.number_waves": waves,
        "entries": features - count * (waves - 1),
    }


def _embedding(c: Json, kind: str) -> Overrides:
    """Overrides of the residual blocks and of what they are told."""
    after = lambda key: "none" if c[key] is None else ACTIVATIONS[c[key]]
    joint = kind == JOINT
    found = {
        "model.nonlinearity": ACTIVATIONS[c["act_fn"]],
        "model.norm_num_groups": c["norm_num_groups"],
        "model.norm_eps": float(c["norm_eps"]),
        "model.flip_sin_to_cos": c["flip_sin_to_cos"],
        "model.freq_shift": int(c["freq_shift"]),
        "model.scale_shift": c["resnet_time_scale_shift"] == "scale_shift",
        # Blocks with transformers do not have these two.
        "model.activate_embedding": not (joint and c["resnet_skip_time_act"]),
        "model.residual_divisor": float(c["resnet_out_scale_factor"]) if joint else 1.0,
        "model.time_activation": after("timestep_post_act"),
        "model.embedding_activation": after("time_embedding_act_fn"),
        "model.input_kernel": c["conv_in_kernel"],
        "model.output_kernel": c["conv_out_kernel"],
    }
    if c["dropout"]:  # 0 is written by every model that is not being trained
        found["model.dropout"] = float(c["dropout"])
    return found


def _sides(c: Json) -> Ints:
    return _each(c["sample_size"] or SIDE, 2)


def _pictures(c: Json) -> tuple[int, int]:
    """(channels of the example, of the image beside it).

    A network of pictures that is told of a level of noise in an image also says a variance.
    """
    taken, given = c["in_channels"], c["out_channels"]
    told = c["class_embed_type"] == "timestep" and given in (2 * n for n in PIXELS)
    doubled = given == 2 * taken or told
    own = given // 2 if doubled else given
    if own > taken:
        raise _refuse("out_channels", c, "in_channels, less, or twice as many")
    return own, taken - own


def _examples(c: Json) -> Overrides:
    own, _ = _pictures(c)
    if c["center_input_sample"] and own not in PIXELS:
        raise _refuse("center_input_sample", c, "false for latents")
    (height, width), square = _sides(c), len({*_sides(c)}) == 1
    return {
        "data.image_size": height,
        "data.num_channels": own,
        "data.shape": () if square else (height, width, own),
        **({"data.codec": "levels", "data.centered": not c["center_input_sample"]}
           if own in PIXELS else {"data.codec": "identity"}),
        "model.learn_variance": c["out_channels"] == 2 * own,
    }  # fmt: skip
