"""The U-Net of text-to-picture models, from a config: Stable Diffusion, SDXL, their upscaler, IF.

A network of diffusers' `UNet2DConditionModel` is a configuration of this one. It is given its
condition as published (`models.as_published`): tokens of model.condition, with a mask; a vector
(SDXL's pooled text and six sizes); the level of noise in an image, and the image itself, which
follows the example's channels.

It needs model.nf, ch_mult, num_res_blocks or level_blocks, transformer_depth, num_heads or
attention_head_dim or level_heads, and what `models.condition_unet` and `models.layers.told` say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from models import inputs, settings
from models.checks import centered, choice, flag, integer, number, numbers
from models.condition_unet import Bottom, ConditionUNet, Floor
from models.inputs import Inputs
from models.layers.norm import FixedGroups
from models.layers.resampling import Plain
from models.layers.style import Activation, Style
from models.layers.told import LEVELS, VECTORS, ToldTerms, numbers_in, same
from models.layers.transformers import TOKEN_NORMS, JointAttention, MapTransformer
from models.settings import ACTIVATIONS
from models.shapes import check_rank, written

Ints = tuple[int, ...]
TOKEN_ATTENTIONS: dict[str, Callable[..., nn.Module]] = {
    "transformer": MapTransformer, "joint": JointAttention,
}  # fmt: skip
MIDDLES = {"attention": 2, "block": 1, "none": 0}
"""model.middle -> the number of residual blocks."""
AFTER: dict[str, Activation] = {"none": same, **ACTIVATIONS}
"""An activation of the embedding, or none."""


def build(config: ConfigDict) -> ConditionUNet:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    model, given = config.model, inputs.read(config)
    check_rank(config, (3,))
    style, floors = _style(model, given), _floors(model)
    middle = _middle(model, floors)
    resize_blocks = flag(model, "model.resblock_updown")
    _check_norms(style, floors, middle)
    whole = resize_blocks or not model.downsample_padding
    _check_sides(given, len(floors), whole)
    _check_tokens(given, floors, middle)
    return ConditionUNet(
        style=style,
        floors=floors,
        middle=middle,
        attention=_attention(model),
        told=_told(model, given),
        inputs=given,
        token_features=integer(model, "model.token_features", least=0),
        resize_blocks=resize_blocks,
        kernels=(_kernel(model, "input_kernel"), _kernel(model, "output_kernel")),
        centered=centered(config),
    )


def _style(model: ConfigDict, given: Inputs) -> Style:
    positive = partial(number, model, rule="positive", accept=lambda v: 0 < v < math.inf)
    return Style(
        activation=choice(model, "model.nonlinearity", ACTIVATIONS),
        groups=FixedGroups(integer(model, "model.norm_num_groups", least=1)),
        resample=Plain(bool(integer(model, "model.downsample_padding", least=0))),
        resample_with_conv=True,
        dropout=settings.rate(model, "model.dropout"),
        rescale=False,
        init_scale=0.0,
        dtype=settings.dtype(model),
        epsilon=positive(key="model.norm_eps"),
        attend=settings.attend(model),
        remat=settings.remat(model),
        scale_shift=flag(model, "model.scale_shift"),
        divisor=positive(key="model.residual_divisor"),
    )


def _floors(model: ConfigDict) -> tuple[Floor, ...]:
    widths = settings.widths_of(model)
    blocks = _whole(model, "level_blocks", least=1) or (
        integer(model, "model.num_res_blocks", least=1),
    ) * len(widths)
    if len(blocks) != len(widths):
        raise ValueError(f"model.level_blocks must be () or have {len(widths)} entries, as "
                         f"model.ch_mult, got {len(blocks)}")  # fmt: skip
    down, up = _depths(model, blocks)
    heads = _heads(model, widths)
    only = _whole(model, "cross_levels")
    if only and max(only) >= len(widths):
        raise ValueError(f"model.cross_levels must be below {len(widths)}, the number of "
                         f"resolutions of model.ch_mult, got {max(only)}")  # fmt: skip
    floors = tuple(
        Floor(width, down[k], up[k], heads[k], k in only) for k, width in enumerate(widths)
    )
    for floor in floors:
        if any((*floor.down, *floor.up)):
            _check_heads(floor.width, floor.heads)
    return floors


def _whole(model: ConfigDict, name: str, least: int = 0) -> Ints:
    rule = f"a list of whole numbers of at least {least}"
    return numbers(model, f"model.{name}", rule, int, lambda n: n >= least)


def _depths(model: ConfigDict, blocks: Ints) -> tuple[list[Ints], list[Ints]]:
    """Transformer blocks after each residual block, at each resolution, on the ways down and up."""
    given, above = (_whole(model, f"transformer_depth{up}") for up in ("", "_up"))
    given = given or (1,) * len(blocks)
    down = _each(given, blocks, "transformer_depth")
    more = tuple(n + 1 for n in blocks)
    if above:
        return down, _each(above, more[::-1], "transformer_depth_up")[::-1]
    if any(len(set(depths)) > 1 for depths in down):
        raise ValueError(
            "model.transformer_depth_up must be set if model.transformer_depth differs within a "
            f"resolution, got {written(given)}"
        )
    return down, [depths[:1] * n for depths, n in zip(down, more, strict=True)]


def _each(depths: Ints, blocks: Ints, name: str) -> list[Ints]:
    """A number for each residual block, from one for each or one for each resolution."""
    if len(depths) == len(blocks):
        return [(depth,) * n for depth, n in zip(depths, blocks, strict=True)]
    if len(depths) == sum(blocks):
        ends = [sum(blocks[: k + 1]) for k in range(len(blocks))]
        return [depths[end - n : end] for end, n in zip(ends, blocks, strict=True)]
    raise ValueError(
        f"model.{name} must have {len(blocks)} entries, one for each resolution, or {sum(blocks)}, "
        f"one for each residual block on the way, got {len(depths)}"
    )


def _heads(model: ConfigDict, widths: Ints) -> Ints:
    """Number of heads at each resolution."""
    given = _whole(model, "level_heads", least=1)
    if given and len(given) != len(widths):
        raise ValueError(f"model.level_heads must be () or have {len(widths)} entries, as "
                         f"model.ch_mult, got {len(given)}")  # fmt: skip
    if given:
        return given
    if wide := integer(model, "model.attention_head_dim", least=0):
        return tuple(width // wide if width % wide == 0 else 0 for width in widths)
    count = integer(model, "model.num_heads", least=0)
    if not count:
        raise ValueError(
            "model.num_heads, model.attention_head_dim or model.level_heads must be set with "
            f"model.name={model.name!r}: the number of attention's heads, or the channels of each"
        )
    return (count,) * len(widths)


def _check_heads(width: int, heads: int) -> None:
    if not heads or width % heads:
        raise ValueError(
            "model.num_heads, attention_head_dim or level_heads must split the channels of all "
            f"layers with attention, got {heads or 'no whole number of'} heads of {width} channels"
        )


def _middle(model: ConfigDict, floors: tuple[Floor, ...]) -> Bottom:
    blocks, lowest = choice(model, "model.middle", MIDDLES), floors[-1]
    depth = integer(model, "model.middle_depth", least=1)
    if blocks == 2:
        _check_heads(lowest.width, lowest.heads)
    divisor = number(model, "model.middle_divisor", "positive", lambda v: 0 < v < math.inf)
    only = flag(model, "model.middle_cross")
    return Bottom(blocks, depth, lowest.heads, only, divisor)


def _attention(model: ConfigDict) -> Callable[..., nn.Module]:
    layer = choice(model, "model.token_attention", TOKEN_ATTENTIONS)
    norm = choice(model, "model.token_norm", TOKEN_NORMS)
    if layer is JointAttention:
        return partial(JointAttention, token_norm=norm)
    if norm is not None:
        raise ValueError(
            "model.token_norm must be 'none' with model.token_attention='transformer', got "
            f"{model.token_norm!r}"
        )
    return layer


def _told(model: ConfigDict, given: Inputs) -> ToldTerms:
    nf, vector = integer(model, "model.nf", least=4), _vector(model, given)
    level = model.level_embedding
    choice(model, "model.level_embedding", LEVELS)
    if (level.lower() != "none") != ("level" in given.kinds):
        raise ValueError(
            f"model.level_embedding must be {'waves or table' if level == 'none' else 'none'} with "
            f"model.condition={model.condition!r}, got {level!r}"
        )
    rows = integer(model, "model.level_rows", least=0)
    if level.lower() == "table" and not rows:
        raise ValueError("model.level_rows must be set with model.level_embedding='table': the "
                         "number of levels")  # fmt: skip
    return ToldTerms(
        features=nf * integer(model, "model.ch_mult_emb", least=1),
        waves=nf,
        endpoint=bool(integer(model, "model.freq_shift", least=0)),
        cosines_first=flag(model, "model.flip_sin_to_cos"),
        level=level.lower(),
        rows=rows,
        classes=integer(model, "model.num_classes", least=0),
        label_dropout=settings.rate(model, "model.label_dropout"),
        pool_heads=_pool_heads(model, given),
        guidance=integer(model, "model.guidance_features", least=0),
        after_time=choice(model, "model.time_activation", AFTER),
        after_all=choice(model, "model.embedding_activation", AFTER),
        activated=flag(model, "model.activate_embedding"),
        **vector,
    )


def _vector(model: ConfigDict, given: Inputs) -> dict[str, Any]:
    """Fields of `ToldTerms` on the vector."""
    choice(model, "model.vector_embedding", VECTORS)
    kind = model.vector_embedding.lower()
    if (kind != "none") != ("vector" in given.kinds):
        known = ", ".join(name for name in VECTORS if name != "none")
        raise ValueError(
            f"model.vector_embedding must be {'one of ' + known if kind == 'none' else 'none'} "
            f"with model.condition={model.condition!r}, got {model.vector_embedding!r}"
        )
    if kind == "none":
        return {}
    entries = given.kinds.shape("vector")[0]
    if kind != "sizes":
        return {"vector": kind, "entries": entries}
    features = integer(model, "model.vector_features", least=1)
    waves = integer(model, "model.number_waves", least=2)
    numbers_in(features, entries, waves)
    return {"vector": kind, "entries": entries, "vector_features": features, "number_waves": waves}


def _pool_heads(model: ConfigDict, given: Inputs) -> int:
    heads = integer(model, "model.pool_heads", least=0)
    if not heads:
        return 0
    width = given.kinds.shape("tokens")[-1:]
    if not width or width[0] % heads:
        raise ValueError(
            "model.pool_heads must divide the length of the condition's tokens, "
            f"{width[0] if width else 'of which there are none'}, got {heads}"
        )
    return heads


def _kernel(model: ConfigDict, name: str) -> int:
    size = integer(model, f"model.{name}", least=1)
    if size % 2 == 0:
        raise ValueError(f"model.{name} must be odd, got {size}")
    return size


def _check_norms(style: Style, floors: tuple[Floor, ...], middle: Bottom) -> None:
    """Raise ValueError if a GroupNorm would not divide its channels evenly."""
    h, skips, channels = floors[0].width, [floors[0].width], []
    for level, floor in enumerate(floors):
        if level:
            skips.append(h)
        for _ in floor.down:
            channels += [h, floor.width]
            h = floor.width
            skips.append(h)
    for floor in reversed(floors):
        for _ in floor.up:
            channels += [h + skips.pop(), floor.width]
            h = floor.width
    groups = style.groups(0)
    if uneven := sorted({n for n in channels if n % groups}):
        raise ValueError(
            f"model.norm_num_groups must divide the channels of all layers, got {groups}: "
            f"{uneven[0]} channels do not fall into as many groups"
        )


def _check_sides(given: Inputs, levels: int, whole: bool) -> None:
    """Raise ValueError for pictures too small, or with `whole` for odd ones on the way down."""
    factor, sides = 2 ** (levels - 1), given.shape[:2]
    if min(sides) < factor or (whole and any(side % factor for side in sides)):
        rule = f"a multiple of {factor}" if whole else f"at least {factor}"
        raise ValueError(
            f"data.shape (or data.image_size) must have sides of {rule}, since the network of "
            f"model.ch_mult halves images {levels - 1} times, got {written(given.shape)}"
        )


def _check_tokens(given: Inputs, floors: tuple[Floor, ...], middle: Bottom) -> None:
    attended = middle.blocks == 2 or any(any((*f.down, *f.up)) for f in floors)
    if attended != ("tokens" in given.kinds):
        raise ValueError(
            "model.condition must have tokens, which attention sees: set it to 'tokens', or "
            "model.transformer_depth to 0 everywhere and model.middle to 'block'"
            if attended
            else "model.condition must have no tokens, since nothing attends to them: "
            "model.transformer_depth is 0 everywhere"
        )
