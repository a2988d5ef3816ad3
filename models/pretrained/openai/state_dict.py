"""OpenAI's bare state dicts: Improved DDPM, guided diffusion and its classifiers, GLIDE.

A published model is one file, NAME.pt. Training writes modelNNNNNN.pt and, beside it, an average
ema_RATE_NNNNNN.pt for each rate; of these two, given one, the other is found.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from flax import linen as nn
from ml_collections import ConfigDict

from models.noisy_classifier import NoisyClassifier
from models.pretrained.base import Checkpoint, Weights, as_params, paths_and_shapes
from models.pretrained.files import torch_files
from models.pretrained.files.tensors import Arrays, PretrainedError, Tensor, shapes
from models.pretrained.gate import updates
from models.pretrained.openai import layout, names, published
from untrusted import limits, plain

FAMILY = "openai"
BEGINNING = 1 << 20
"""Bytes in which the name of a state dict's first tensors is."""
MARKS = tuple(
    before + len(layout.MARK).to_bytes(size, "little") + layout.MARK.encode()
    for before, size in ((b"X", 4), (b"\x8c", 1))
)
"""The name as pickles have it: before protocol 4, and since."""
WRITTEN = re.compile(
    r"(?P<prefix>.*?)(?:model|ema_(?P<rate>[0-9.e-]{1,20})_)(?P<step>\d{1,12})\.pt"
)
"""Names of the files that training writes."""


class Written(NamedTuple):
    """A file of training: the beginning of its name, its step, and the average's rate or None."""

    prefix: str
    step: str
    rate: float | None


def recognises(path: Path) -> bool:
    """True if `path` is a file of PyTorch with a network of OpenAI's; see `base.Format`."""
    if not torch_files.is_torch(path):
        return False
    start = torch_files.head(path, BEGINNING)
    return any(mark in start for mark in MARKS)


def read(path: Path) -> Checkpoint:
    """A state dict, its raw or averaged counterpart, and the settings that its shapes imply."""
    weights, about = _weights(path, named=True), _written(path.name)
    told = layout.infer(shapes(weights))
    found = published.complete(told, path)
    raw, ema = (None, weights) if about is None else _both(path, about, weights)
    facts: dict[str, Any] = {**told.settings, **found.facts}
    if about and about.rate is not None:
        facts["model.ema_rate"] = about.rate
    return Checkpoint(
        FAMILY,
        facts,
        raw,
        ema,
        updates(int(about.step)) if about else 0,
        told.attention,
        found.assumed,
        found.note,
        guessed=frozenset(told.settings) | {"model.attn_resolutions"},
        unknown=told.unknown,
        unsaid=found.unsaid,
    )


def params(weights: Weights, network: nn.Module, config: ConfigDict) -> Any:
    """Our parameters; see `base.Format`."""
    if (name := config.model.name.lower()) not in ("guided_unet", "noisy_classifier"):
        raise PretrainedError(
            f"the file is of a network of OpenAI's, model.name=guided_unet or noisy_classifier, "
            f"and the config has model.name={name!r}"
        )
    _check_kind(weights, network)
    order = config.model.attention_order
    if order == "unsaid":
        raise PretrainedError(
            "model.attention_order must be heads_first (OpenAI's legacy order, as all published "
            "models but 64x64_diffusion) or parts_first (use_new_attention_order): the file does "
            "not say it, and the other one would fit"
        )
    wanted, tower = paths_and_shapes(network, config), names.tower_of(network)
    heads = config.model.text_heads if config.model.condition == "text" else 0
    blocks, outer = names.entries(tower), dict(names.OUTER)
    if isinstance(network, NoisyClassifier):
        outer |= names.HEADS[network.pool]
    return as_params(
        weights,
        wanted,
        {path: names.name(path, blocks, outer) for path in wanted},
        axes=names.axes,
        rows=lambda path: names.rows(path, wanted[path], tower, order, heads),
    )


def _check_kind(weights: Weights, network: nn.Module) -> None:
    """Raise PretrainedError for a classifier's weights with a network, or the reverse."""
    has_way_up = any(name.startswith("output_blocks.") for name in weights)
    if isinstance(network, NoisyClassifier) == has_way_up:
        found, wanted = ("network of the data", "noisy_classifier")
        if not has_way_up:
            found, wanted = ("classifier", "guided_unet")
        raise PretrainedError(
            f"the file has the weights of a {found}, and the config is of model.name={wanted!r}: "
            "give the other file, or another --config"
        )


def _weights(path: Path, *, named: bool) -> Arrays:
    content, told = torch_files.read(path, named=named), plain(path.name)
    if not isinstance(content, dict) or layout.MARK not in content:
        raise PretrainedError(f"{told} is not a state dict of OpenAI's, which has {layout.MARK}")
    if len(content) > limits.TENSORS:
        raise PretrainedError(f"{told} has more than {limits.TENSORS:,} tensors: refused")
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise PretrainedError(f"{told} holds more than tensors, as no state dict does")
    return Arrays(content)


def _written(name: str) -> Written | None:
    match = WRITTEN.fullmatch(name)
    if not match:
        return None
    try:
        rate = None if match["rate"] is None else float(match["rate"])
    except ValueError:
        return None
    return Written(match["prefix"], match["step"], rate) if rate is None or 0 <= rate < 1 else None


def _both(path: Path, about: Written, weights: Weights) -> tuple[Weights | None, Weights | None]:
    """(raw, averaged) weights, of which the file is one; of several averages the slowest."""
    kin = {
        told.rate: path.with_name(name)
        for name in sorted(os.listdir(path.parent))
        if (told := _written(name)) and told[:2] == about[:2]
    }
    if about.rate is None:
        rates = [rate for rate in kin if rate is not None]
        return weights, _other(kin[max(rates)], weights) if rates else None
    return (_other(kin[None], weights) if None in kin else None), weights


def _other(path: Path, weights: Weights) -> Weights:
    found = _weights(path, named=False)
    if shapes(found) != shapes(weights):
        raise PretrainedError(
            f"{plain(path.name)}, beside it and of the same step, has tensors of other shapes: "
            "move it away"
        )
    return found
