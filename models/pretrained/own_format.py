"""Our own format of trained models: a safetensors file with the settings in its header.

The header has, beside the list of arrays, texts under these names:

    format   "score-sde-jax"         version  of this layout, 1
    config   settings, as JSON       step     updates made
    weights  "raw", "ema" or "raw,ema"

and its arrays are named by their set and their place in the network, as
"ema/down_0_block_0/conv_0/kernel", or, of a model with a learned noise schedule,
"ema/network/down_0_block_0/conv_0/kernel" and "ema/schedule/a". Others' tools read them as they
are: kernels are laid out [height, width, in, out] and [in, out].
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

import sde_lib
from models.pretrained.base import Checkpoint, as_params, by_place, paths_and_shapes
from models.pretrained.files.safetensors_file import read_tensors, write_tensors
from models.pretrained.files.tensors import Arrays, PretrainedError
from models.pretrained.gate import updates
from untrusted import UntrustedError, is_regular, parse_json, plain, shown

FAMILY = FORMAT = "score-sde-jax"
VERSION = 1


def save(
    path: Path | str,
    config: Mapping[str, Any],
    step: int,
    raw: Mapping[str, Any] | None = None,
    ema: Mapping[str, Any] | None = None,
) -> None:
    """Write a trained model, to be read again by `read`.

    Args:
      path: the file; its folder exists.
      config: settings, as {"section.key": value}; anyone who has the file can read all of them.
      step: updates made.
      raw: the trained parameters, or None.
      ema: their running average, or None.

    Raises:
      ValueError: neither raw nor ema is given.
      FileExistsError: there is something already.
      OSError: the file cannot be written; nothing is then left behind.
    """
    sets = {name: tree for name, tree in (("raw", raw), ("ema", ema)) if tree is not None}
    if not sets:
        raise ValueError("there is nothing to save: give raw or ema parameters, or both")
    arrays = {f"{name}/{path}": array for name, tree in sets.items() for path, array in
              by_place(tree).items()}  # fmt: skip
    texts = {"format": FORMAT, "version": str(VERSION), "step": str(step),
             "config": json.dumps(dict(config), sort_keys=True),
             "weights": ",".join(sets)}  # fmt: skip
    write_tensors(path, arrays, texts)


def recognises(path: Path | str) -> bool:
    """True if `path` is a safetensors file by its name, or was written by `save`."""
    if not is_regular(path, named=True):
        return False
    if Path(path).suffix == ".safetensors":
        return True
    try:
        return read_tensors(path)[1].get("format") == FORMAT
    except (UntrustedError, OSError):
        return False


def read(path: Path | str) -> Checkpoint:
    """Content of a file of `save`: settings, the step, and weights by place in the network.

    Raises:
      PretrainedError: `path` is not such a file, is damaged, or is of a later version.
      OSError: it cannot be read.
    """
    arrays, texts = read_tensors(path)
    name = plain(Path(path).name)
    if texts.get("format") != FORMAT:
        raise PretrainedError(
            f"{name} is a safetensors file, but its header is not one of ours: it says nothing "
            "about the network (was it exported with --mode export?)"
        )
    if texts.get("version") != str(VERSION):
        raise PretrainedError(
            f"{name} has version {shown(texts.get('version'))} of the layout, must be "
            f"{VERSION}: read it with the version of this library that wrote it, or a later one"
        )
    try:
        settings = parse_json(texts["config"])
        step, sets = int(texts["step"]), texts["weights"].split(",")
        entries = {key: _as_setting(value) for key, value in settings.items()}
    except (KeyError, ValueError) as error:
        why = plain(str(error), 100)
        raise PretrainedError(f"{name}: its header is damaged ({why})") from error
    found = {key.partition("/")[0] for key in arrays}
    if found != set(sets) or not found <= {"raw", "ema"}:
        raise PretrainedError(f"{name}: its header does not agree with its arrays: damaged")
    return Checkpoint(FORMAT, entries, _part(arrays, "raw"), _part(arrays, "ema"), updates(step))


def params(weights: Mapping[str, np.ndarray], network: nn.Module, config: ConfigDict) -> Any:
    """All trained parameters of a config's model, from weights by their place in it.

    The parameters of `network` and, with a learned noise schedule, the schedule's.

    Raises:
      MismatchError: weights are missing, left over, or of other shapes.
    """
    wanted = paths_and_shapes(network, config, sde_lib.build(config).join)
    return as_params(weights, wanted, {path: "/".join(path) for path in wanted})


def _as_setting(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _part(arrays: Arrays, name: str) -> Arrays | None:
    prefix = f"{name}/"
    part = {k.removeprefix(prefix): v for k, v in arrays.tensors.items() if k.startswith(prefix)}
    return Arrays(part) if part else None
