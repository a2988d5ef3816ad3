"""The files of DiT's authors: a bare state dict, or {model, ema, opt, args} of a training.

Of a training's file the arguments (an argparse.Namespace) say the published model that it is; it
is named after its update, as 0050000.pt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import Checkpoint, Weights, as_params, paths_and_shapes
from models.pretrained.dit import names
from models.pretrained.dit.published import settings
from models.pretrained.files import torch_files
from models.pretrained.files.pickles import Object
from models.pretrained.files.tensors import Arrays, PretrainedError, Tensor, shapes
from models.pretrained.gate import updates
from untrusted import limits, plain

FAMILY = "dit"
BEGINNING = 1 << 20
"""Bytes in which the name of the first tensors is."""
MARK = "x_embedder.proj.weight"
"""The name of a tensor that no other family has."""
STEP = re.compile(r"\d{7}")
"""The name of a training's file: its number of updates."""


def recognises(path: Path) -> bool:
    """True if `path` is a file of PyTorch with a DiT; see `base.Format`."""
    return torch_files.is_torch(path) and MARK.encode() in torch_files.head(path, BEGINNING)


def read(path: Path) -> Checkpoint:
    """The weights of a file, and the settings that their shapes and its arguments imply."""
    content = torch_files.read(path)
    if not isinstance(content, dict):
        raise PretrainedError(f"{plain(path.name)} is no state dict of DiT's")
    trained = MARK not in content
    raw = _weights(content.get("model"), path) if trained else None
    ema = _weights(content.get("ema") if trained else content, path)
    if raw is not None and shapes(raw) != shapes(ema):
        raise PretrainedError(f"{plain(path.name)} has other averaged than raw weights: damaged")
    facts, assumed, note, unsaid = settings(shapes(ema), _model(content.get("args")))
    step = int(path.stem) if trained and STEP.fullmatch(path.stem) else 0
    return Checkpoint(
        FAMILY, facts, raw, ema, updates(step), assumed=assumed, note=note, unsaid=unsaid,
        guessed=frozenset(facts),
    )  # fmt: skip


def params(weights: Weights, network: nn.Module, config: ConfigDict) -> Any:
    """Our parameters; see `base.Format`."""
    check_name(config)
    wanted = paths_and_shapes(network, config)
    return as_params(
        weights,
        wanted,
        names.authors_names(wanted),
        axes=names.axes,
        rows=lambda path: names.rows(path, config.model.nf),
    )


def check_name(config: ConfigDict) -> None:
    """Raise PretrainedError for the config of another network."""
    if (name := config.model.name.lower()) != "dit":
        raise PretrainedError(
            f"the file is of DiT, model.name=dit, and the config has model.name={name!r}"
        )


def _weights(content: Any, path: Path) -> Arrays:
    told = plain(path.name)
    if not isinstance(content, dict) or MARK not in content:
        raise PretrainedError(f"{told} is no state dict of DiT's, which has {MARK}")
    if len(content) > limits.TENSORS:
        raise PretrainedError(f"{told} has more than {limits.TENSORS:,} tensors: refused")
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise PretrainedError(f"{told} holds more than tensors, as no state dict does")
    return Arrays(content)


def _model(args: Any) -> str:
    """The published model that the arguments of a training name, as DiT-XL/2; empty for none."""
    state = args.get("state") if isinstance(args, Object) else None
    found = state.get("model") if isinstance(state, Mapping) else None
    return found if isinstance(found, str) else ""
