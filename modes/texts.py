"""Captions as conditions of a model that is given features of frozen readers of texts.

Readers are those of the folder `data.text_encoder`; what is taken of them, `data.text_*` say. A
model that is also given six numbers of sizes (Stable Diffusion XL) gets those of `sampling.sizes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from configs.kinds import of_config
from configs.shapes import shape_of
from models.pretrained import PretrainedError
from models.text_encoders.conditions import (
    MASKS,
    NOTHING,
    TextEncoder,
    TextSettings,
    read_text_encoder,
    text_conditions,
)
from sde_lib import choose
from untrusted import plain

SIZES = 6
"""Numbers of sizes that follow the pooled features of some models."""
Rows = Float[np.ndarray, "n *c"]


def reads_texts(config: Any) -> bool:
    """True for a model whose conditions are features of captions."""
    return bool(config.data.text_encoder)


def text_settings(config: Any) -> TextSettings:
    """The form of a config's conditions; ValueError for names that are unknown."""
    data, kinds = config.data, of_config(config)
    if "tokens" not in kinds:
        raise ValueError(
            "data.text_encoder must be empty without model.condition=tokens, the features of a "
            f"caption's tokens, got {config.model.condition!r}"
        )
    choose("data.text_mask", data.text_mask, MASKS)
    choose("data.text_nothing", data.text_nothing, dict.fromkeys(NOTHING))
    return TextSettings(
        data.text_layer,
        data.text_normed,
        data.text_mask,
        data.text_nothing,
        pooled="vector" in kinds,
        length=kinds.shape("tokens")[0],
        truncate=data.text_truncate,
    )


@lru_cache(maxsize=2)
def _read(path: str, settings: TextSettings) -> TextEncoder:
    return read_text_encoder(path, settings)


def encoder_of(config: Any) -> tuple[TextEncoder, TextSettings]:
    """The readers of a config's captions, and what is taken of them.

    Raises:
      ValueError: there are none, they are damaged or others than the model was made with, or their
        features are not those that the network is given; in one line.
    """
    settings, kinds, data = text_settings(config), of_config(config), config.data
    try:
        found = _read(data.text_encoder, settings)
    except (PretrainedError, OSError) as error:
        raise ValueError(f"data.text_encoder: {error}") from error
    told = f"data.text_encoder={plain(data.text_encoder)}"
    if data.text_encoder_hash not in ("", hash_of(found)):
        raise ValueError(
            f"{told} has other files than the readers that the model was made with "
            f"({hash_of(found)}, and not {data.text_encoder_hash}): give those"
        )
    width = kinds.shape("tokens")[1]
    if found.width != width:
        raise ValueError(f"{told} has {found.width} features of a token, and the network is given "
                         f"{width}: it is of another model")  # fmt: skip
    entries = sum(kinds.shape("vector"))
    if entries and entries - found.pooled not in (0, SIZES):
        raise ValueError(
            f"{told} has {found.pooled} pooled features, and the network is given {entries} "
            f"numbers, must be as many, or {SIZES} of sizes more"
        )
    return found, settings


def hash_of(encoder: TextEncoder) -> str:
    """A hash of the files of readers of texts, 16 hexadecimal digits."""
    return encoder.identity[:16]


def text_rows(config: Any, captions: Sequence[str | None]) -> Rows:
    """Conditions of captions as they are stored; None stands for no text.

    Raises ValueError as `encoder_of`, and for a caption that is too long.
    """
    encoder, settings = encoder_of(config)
    rows, kinds = text_conditions(captions, encoder, settings), of_config(config)
    if sum(kinds.shape("vector")) > encoder.pooled > 0:
        rows = np.concatenate([rows, np.tile(sizes_of(config), (len(rows), 1))], axis=1)
    shape = kinds.stored if len(kinds.names) == 1 else rows.shape[1:]
    return rows.reshape(len(rows), *shape)


def sizes_of(config: Any) -> Float[np.ndarray, " 6"]:
    """Height and width before resizing, top and left of the crop, and height and width."""
    asked = config.sampling.sizes
    height, width, *_ = shape_of(config)
    return np.asarray(asked or (height, width, 0, 0, height, width), np.float32)


def negative_rows(config: Any, captions: Sequence[str], count: int) -> Rows:
    """The conditions that guidance compares with: of other captions, or of no text.

    Raises ValueError unless there is one for each of `count` captions, or for all.
    """
    if len(captions) not in (0, 1, count):
        raise ValueError(
            f"sampling.negative must have one caption, or one for each of {count} in "
            f"sampling.captions, got {len(captions)}"
        )
    return text_rows(config, list(captions) or [None])
