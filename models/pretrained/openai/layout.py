"""Settings of OpenAI's networks inferred from the names and shapes of their weights.

The way up tells the resolutions: each has one entry more than blocks on the way down, and all but
the full one end in a layer that doubles. A classifier has no way up; there the levels are those
whose widths and attention fit, if only one number of them does.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from models.pretrained.base import Shape
from models.pretrained.files.tensors import PretrainedError
from untrusted import limits

MARK = "time_embed.0.weight"
"""A tensor that every network of OpenAI's has."""
WORDS = "token_embedding.weight"
"""A tensor of a network that is given texts."""
OTHER = (
    "its weights are named as those of OpenAI's networks, and have other shapes: damaged, or of "
    "another network"
)


class Inference(NamedTuple):
    """Settings by "section.key", and the levels that have attention (0: full resolution).

    unknown: the reason why there are no settings.
    """

    settings: dict[str, Any]
    attention: tuple[int, ...] | None
    unknown: str = ""


@dataclass
class Layer:
    """The parts of one entry `input_blocks.k` or `output_blocks.k`, by their number in it."""

    width: int = 0
    """Channels of its residual block; 0 for an entry without one."""
    attends: bool = False
    resizes: bool = False
    """True if it has a convolution that halves, or anything that doubles."""
    parts: set[int] = field(default_factory=set)


def infer(shapes: Mapping[str, Shape]) -> Inference:
    """Settings of a state dict; none, but the reason, if they cannot be told."""
    try:
        return _infer(shapes)
    except PretrainedError as error:
        return Inference({}, None, str(error))
    except (LookupError, TypeError, ValueError, ArithmeticError):
        return Inference({}, None, OTHER)


def _infer(shapes: Mapping[str, Shape]) -> Inference:
    down, up = layers(shapes, "input_blocks"), layers(shapes, "output_blocks")
    nf, classifies = shapes[MARK][1], not up
    levels, blocks, updown = _levels(down) if classifies else _levels_up(down, up)
    if not 0 < levels * blocks <= limits.NETWORK_BLOCKS:
        raise PretrainedError(f"its weights speak of {levels * blocks:,} residual blocks: forged?")
    stride = blocks + 1
    firsts = [1 + level * stride for level in range(levels)]
    widths = [down[k].width for k in firsts]
    attention = tuple(level for level, k in enumerate(firsts) if down[k].attends)
    inner = next(name for name in shapes if name.endswith("emb_layers.1.weight"))
    conv = inner.replace("emb_layers.1", "in_layers.2")
    settings = {
        "model.nf": nf,
        "model.ch_mult": tuple(_multiple(width, nf) for width in widths),
        "model.num_res_blocks": blocks,
        "model.scale_shift": shapes[inner][0] == 2 * shapes[conv][0],
    }
    if levels > 1:
        settings["model.resblock_updown"] = updown
        if not updown:
            settings["model.resamp_with_conv"] = down[firsts[1] - 1].resizes
    inputs = shapes["input_blocks.0.0.weight"][1]
    ends = _classifier(shapes, inputs, levels) if classifies else _network(shapes, inputs)
    return Inference(settings | ends, attention)


def layers(shapes: Mapping[str, Shape], side: str) -> list[Layer]:
    """The entries of one side in order; one without weights is empty."""
    found: dict[int, Layer] = defaultdict(Layer)
    for name, shape in shapes.items():
        match = re.fullmatch(rf"{side}\.(\d{{1,4}})\.(\d)\.(.+)", name)
        if not match:
            continue
        layer, part, rest = found[int(match[1])], int(match[2]), match[3]
        layer.parts.add(part)
        if rest == "in_layers.2.weight" and part == 0:
            layer.width = shape[0]
        layer.attends |= rest == "qkv.weight"
        layer.resizes |= rest in ("op.weight", "conv.weight") or (
            rest == "in_layers.2.weight" and part > 0
        )
    return [found[k] for k in range(max(found, default=-1) + 1)]


def _levels_up(down: Sequence[Layer], up: Sequence[Layer]) -> tuple[int, int, bool]:
    """(levels, blocks of each, whether blocks resize) of a network with a way up."""
    gaps = [k for k, layer in enumerate(down) if k and not layer.width]
    ends = [k for k, layer in enumerate(up) if layer.resizes]
    # Layers that resize without weights are gaps on the way down, and leave no trace on the way up.
    levels = 1 + (len(ends) or len(gaps))
    stride, odd = divmod(len(up), levels)
    regular = ends in ([], [stride * (k + 1) - 1 for k in range(levels - 1)])
    if odd or not regular or len(down) != levels * stride:
        raise PretrainedError(OTHER)
    return levels, stride - 1, bool(ends) and not gaps


def _levels(down: Sequence[Layer]) -> tuple[int, int, bool]:
    """The same of a classifier."""
    gaps = [k for k, layer in enumerate(down) if k and not layer.width]
    fits = [n for n in range(1, len(down)) if not len(down) % n and _fit(down, n, gaps)]
    if len(fits) != 1:
        raise PretrainedError(
            "its weights do not determine the number of resolutions: "
            f"{' or '.join(map(str, fits)) or 'none'} would fit"
        )
    return fits[0], len(down) // fits[0] - 1, not gaps


def _fit(down: Sequence[Layer], levels: int, gaps: Sequence[int]) -> bool:
    """True if the entries are those of so many levels: blocks alike within each, then a halving."""
    stride = len(down) // levels
    halvings = [stride * level for level in range(1, levels)]
    if stride < 2 or (gaps and list(gaps) != halvings):
        return False
    if any(down[k].attends or down[k].width not in (0, down[k - 1].width) for k in halvings):
        return False
    floors = [down[1 + stride * level : stride * (level + 1)] for level in range(levels)]
    return all(len({(layer.width, layer.attends) for layer in floor}) == 1 for floor in floors)


def _multiple(width: int, nf: int) -> int | float:
    return width / nf if width % nf else width // nf


def _network(shapes: Mapping[str, Shape], inputs: int) -> dict[str, Any]:
    """Settings of a network's two ends."""
    outputs, reads = shapes["out.2.weight"][0], WORDS in shapes
    given = inputs == 2 * outputs or inputs == outputs == 6  # 6 and 6: a variance of 3, 3 given
    channels = inputs // 2 if given else inputs
    if reads and (given or outputs not in (channels, 2 * channels)):
        raise PretrainedError(
            "it is given pictures beside a text (GLIDE's upsampler and inpainting), and here a "
            "network is given one of them"
        )
    if outputs not in (channels, 2 * channels):
        raise PretrainedError(OTHER)
    classes = shapes.get("label_emb.weight", (0,))[0]
    settings = {
        "model.name": "guided_unet",
        "data.num_channels": channels,
        "model.learn_variance": outputs == 2 * channels,
        "model.num_classes": classes,
        "model.condition": "image" if given else "text" if reads else "none",
    }
    settings |= {"model.condition_known": False} if given else {}
    return settings | (_text(shapes) if reads else {})


def _text(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Settings of GLIDE's reader of texts, whose networks have one order of attention's rows."""
    blocks = {name.split(".")[2] for name in shapes if name.startswith("transformer.resblocks.")}
    (vocabulary, width), places = shapes[WORDS], shapes["positional_embedding"][0]
    return {
        "model.vocabulary": vocabulary,
        "model.text_width": width,
        "model.text_layers": len(blocks),
        "model.attention_order": "heads_first",
        "data.condition": (places,),
        "data.condition_codec": "identity",
    }


def _classifier(shapes: Mapping[str, Shape], inputs: int, levels: int) -> dict[str, Any]:
    """Settings of a classifier's two ends."""
    settings: dict[str, Any] = {"model.name": "noisy_classifier", "data.num_channels": inputs}
    if "out.2.positional_embedding" in shapes:
        pixels = shapes["out.2.positional_embedding"][1] - 1
        side = math.isqrt(pixels)
        if side**2 != pixels:
            raise PretrainedError("it classifies images that are not square")
        last = "out.2.c_proj"
        settings["data.image_size"] = side * 2 ** (levels - 1)
        pool = "attention"
    elif len(shapes["out.0.weight"]) == 1:
        pool, last = "adaptive", "out.3"
    else:
        pool, last = ("spatial_v2", "out.3") if "out.1.weight" in shapes else ("spatial", "out.2")
    return settings | {"model.pool": pool, "model.num_classes": shapes[f"{last}.weight"][0]}
