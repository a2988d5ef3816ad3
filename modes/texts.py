"""Captions as conditions of a model that is given features of frozen readers of texts.

Readers are those of the folder or file `data.text_encoder`; what is taken of them, `data.text_*`
say. A model that is also given six numbers of sizes (Stable Diffusion XL), or four and how good a
picture looks (its refiner), gets those of `sampling.sizes`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from configs.kinds import of_config, replaces_captions
from configs.shapes import shape_of
from data_lib import Images, Splits
from data_lib.base import Log
from data_lib.conditions import build_condition
from models.pretrained import PretrainedError
from models.text_encoders.conditions import (
    MASKS,
    NOTHING,
    TextEncoder,
    TextSettings,
    read_text_encoder,
    stored_conditions,
    text_conditions,
)
from runtime_lib import data_record
from sde_lib import choose
from train_lib.step import Untold
from untrusted import plain

SIZES, SCORED = 6, 5
"""Numbers that follow the pooled features of some models: sizes, or four of them and a score."""
SCORES = 6.0, 2.5
"""Usual scores of samples, and of what guidance compares them with."""
Rows = Float[np.ndarray, "n *c"]


def reads_texts(config: Any) -> bool:
    """True for a model whose conditions are features of captions."""
    return bool(config.data.text_encoder)


def text_settings(config: Any) -> TextSettings:
    """The form of a config's conditions; ValueError for names that are unknown."""
    length = of_config(config).shape("tokens")[0] if "tokens" in of_config(config) else 0
    return dataclasses.replace(_form(config), length=length)


def _form(config: Any) -> TextSettings:
    """The same, whose length is not known yet."""
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
        truncate=data.text_truncate,
    )


def _opened(config: Any, settings: TextSettings) -> TextEncoder:
    try:
        return _read(config.data.text_encoder, settings, config.data.tokenizer)
    except (PretrainedError, OSError) as error:
        raise ValueError(f"data.text_encoder: {error}") from error


@lru_cache(maxsize=2)
def _read(path: str, settings: TextSettings, tokens: str) -> TextEncoder:
    return read_text_encoder(path, settings, tokens)


def encoder_of(config: Any) -> tuple[TextEncoder, TextSettings]:
    """The readers of a config's captions, and what is taken of them.

    Raises:
      ValueError: there are none, they are damaged or others than the model was made with, or their
        features are not those that the network is given; in one line.
    """
    settings, kinds, data = text_settings(config), of_config(config), config.data
    found = _opened(config, settings)
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
    if entries and entries - found.pooled not in (0, SCORED, SIZES):
        raise ValueError(
            f"{told} has {found.pooled} pooled features, and the network is given {entries} "
            f"numbers, must be as many, or {SCORED} or {SIZES} of sizes more"
        )
    return found, settings


def hash_of(encoder: TextEncoder) -> str:
    """A hash of the files of readers of texts, 16 hexadecimal digits."""
    return encoder.identity[:16]


def caption_shape(config: Any) -> tuple[int, ...]:
    """The shapes of a caption's condition side by side, of the readers of a config's captions.

    Raises ValueError, in one line, for readers that cannot be read.
    """
    settings = dataclasses.replace(_form(config), length=0)
    return _opened(config, settings).shape(settings)


def files_hash(config: Any) -> str:
    """`hash_of` the readers of a config's captions; ValueError as `caption_shape`."""
    return hash_of(_opened(config, dataclasses.replace(_form(config), length=0)))


def with_texts(splits: Splits, config: Any, folder: Path, log: Log) -> Splits:
    """Splits whose captions, if they have any, are their conditions, by the config's readers.

    They are computed once, and kept beside the data, or in `folder` for data that are in no file.
    Raises ValueError as `encoder_of`, and for a caption that is too long.
    """
    if not reads_texts(config):
        return splits
    train, test = (_told(images, config, folder, log) for images in (splits.train, splits.test))
    return dataclasses.replace(splits, train=train, test=test)


def _told(images: Images, config: Any, folder: Path, log: Log) -> Images:
    if images.captions is None or images.condition is not None:
        return images
    encoder, settings = encoder_of(config)
    place = _beside(config, folder)
    rows = stored_conditions(images.captions.tolist(), encoder, settings, place, log)
    return dataclasses.replace(images, condition=_shaped(config, encoder, rows))


def _beside(config: Any, folder: Path) -> Path:
    """The folder in which the data lie, or the workdir where there is none that can be written."""
    data = Path(config.data.data_dir).expanduser()
    own = bool(config.data.data_dir) and data.exists() and os.access(data.parent, os.W_OK)
    return data.parent if own else folder


def load_data(config: Any, folder: Path, log: Log) -> Splits:
    """`data_record.load`, and conditions of captions that frozen readers give."""
    return with_texts(data_record.load(config, folder, log), config, folder, log)


def untold(config: Any) -> Untold | None:
    """The replacement of captions in training by none, as samples compare with it.

    None for a model whose network hides them. Raises ValueError as `encoder_of`.
    """
    if not replaces_captions(config):
        return None
    rate = config.model.condition_dropout
    if not rate:
        return None
    row = build_condition(config).encode(text_rows(config, [None])).astype(np.float32)
    return Untold(rate, jnp.asarray(row))


def text_rows(config: Any, captions: Sequence[str | None], *, against: bool = False) -> Rows:
    """Conditions of captions as they are stored; None stands for no text.

    against: whether guidance compares samples with these. Raises ValueError as `encoder_of`, and
    for a caption that is too long.
    """
    encoder, settings = encoder_of(config)
    return _shaped(config, encoder, text_conditions(captions, encoder, settings), against)


def _shaped(config: Any, encoder: TextEncoder, rows: np.ndarray, against: bool = False) -> Rows:
    """Conditions of captions with sizes, if the network is given them, as they are stored."""
    kinds = of_config(config)
    if (more := sum(kinds.shape("vector")) - encoder.pooled) > 0 and encoder.pooled:
        told = sizes_of(config, scored=more == SCORED)
        told = told if more == SIZES else np.append(told[:4], told[4 + against])
        rows = np.concatenate([rows, np.tile(told, (len(rows), 1))], axis=1)
    shape = kinds.stored if len(kinds.names) == 1 else rows.shape[1:]
    return rows.reshape(len(rows), *shape)


def sizes_of(config: Any, scored: bool = False) -> Float[np.ndarray, " 6"]:
    """Height and width before resizing, top and left of the crop, and height and width.

    scored: instead of the last two, the scores of samples and of what guidance compares them with.
    """
    height, width, *_ = shape_of(config)
    usual = (height, width, 0, 0, *(SCORES if scored else (height, width)))
    return np.asarray(config.sampling.sizes or usual, np.float32)
