"""diffusers directories: a UNet2DModel with its scheduler, read and written.

    unet/config.json, unet/diffusion_pytorch_model.safetensors (or .bin), unet_ema/ likewise,
    scheduler/scheduler_config.json, model_index.json

or the first two and the scheduler's file in one directory, as the published DDPM models are.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import Checkpoint, as_params, by_place, paths_and_shapes
from models.pretrained.diffusers.config import described
from models.pretrained.diffusers.layout import layout
from models.pretrained.diffusers.names import REPEATED, axes, modernized, names, to_theirs
from models.pretrained.files.folders import read_folder
from models.pretrained.files.safetensors_file import write_tensors
from models.pretrained.files.tensors import Arrays, PretrainedError
from untrusted import UntrustedError, check_folder, ours, plain, read_json

FAMILY = "diffusers"
UNETS = ("UNet2DModel",)
STEM = "diffusion_pytorch_model"
"""Name of the files of weights, without what follows the first dot."""


def recognises(path: Path | str) -> bool:
    """True if `path` is a directory with the config.json of a UNet2DModel, or a pipeline's.

    Also True if that file cannot be read; `read` then says why.
    """
    try:
        return folder_of(Path(path), UNETS, ("unet",)) is not None
    except UntrustedError:
        return True


def read(path: Path | str) -> Checkpoint:
    """The weights and settings of a pipeline or of its unet.

    The weights are named as diffusers names them today. With a unet_ema beside the unet, these
    are the running average and the raw weights; otherwise they are taken to be the average.

    Raises:
      PretrainedError: it is no such directory, a file in it is damaged, or an option has no
        counterpart here; the message names it.
      OSError: a file cannot be read.
    """
    try:
        folder = folder_of(Path(path), UNETS, ("unet",))
        if folder is None:
            raise PretrainedError(
                "it must be a diffusers directory, with the config.json of a UNet2DModel in it or "
                "in its unet/"
            )
        implied, note = described(read_json(folder / "config.json"), scheduler_of(folder))
        weights = weights_of(folder)
        averaged = folder.with_name("unet_ema")
        if folder.name == "unet" and _is_there(averaged):
            return Checkpoint(FAMILY, implied, weights, weights_of(averaged), note=note)
        return Checkpoint(FAMILY, implied, None, weights, note=note)
    except UntrustedError as error:
        raise PretrainedError(f"{plain(str(path), 200)}: {error}") from error


def params(
    weights: Mapping[str, Any], network: nn.Module, config: ConfigDict
) -> dict[str, dict[str, Any]]:
    """The parameters of `network`, which `config` describes, from weights by diffusers' names.

    Raises:
      MismatchError: weights are missing, left over, or of other shapes.
    """
    wanted = paths_and_shapes(network, config)
    places = {"/".join(path): path for path in wanted}
    known = {places[place]: name for place, name in names(config, places).items()}
    return as_params(weights, wanted, known, axes=axes)


def write_pipeline(config: ConfigDict, params: Mapping[str, Any], folder: Path | str) -> list[str]:
    """Write a diffusers pipeline: unet/, scheduler/ and model_index.json.

    Args:
      config: settings of the model.
      params: its parameters.
      folder: the pipeline's directory, which must not exist or be empty.

    Returns:
      Remarks for users of the pipeline, a sentence each.

    Raises:
      PretrainedError: diffusers has no such network, or lacks an option that would be needed.
      FileExistsError: there is something already.
      OSError: it cannot be written; nothing is then left behind.
    """
    files, folder = layout(config), Path(folder)
    if ours.is_taken(folder):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
    flat = by_place(params)
    arrays = {name: to_theirs(name, flat[path]) for path, name in names(config, flat).items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = ours.temporary(folder)
    temporary.mkdir()
    try:
        for name, content in (
            ("unet/config.json", files.unet),
            ("scheduler/scheduler_config.json", files.scheduler),
            ("model_index.json", files.pipeline),
        ):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        weights = temporary / "unet" / "diffusion_pytorch_model.safetensors"
        write_tensors(weights, arrays, {"format": "pt"})
        ours.put_new_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return files.notes


def folder_of(path: Path, classes: Collection[str], inside: Sequence[str]) -> Path | None:
    """The directory, or one of those `inside` it, whose config.json is of one of these classes.

    Raises:
      UntrustedError: a config.json is damaged or hostile.
    """
    if not path.is_dir():
        return None
    for folder in (path, *(path / name for name in inside)):
        # The user named `path`, which may be a link; what is in it may not.
        file = folder / "config.json"
        there = (folder == path or _is_there(folder)) and os.path.lexists(file)
        if there and read_json(file).get("_class_name") in classes:
            return folder
    return None


def _is_there(folder: Path) -> bool:
    """True if there is a folder of that name; UntrustedError for a link or a file."""
    if not os.path.lexists(folder):
        return False
    check_folder(folder)
    return True


def scheduler_of(folder: Path) -> dict[str, Any] | None:
    """The scheduler's file in the directory of a network, or in that beside it; None without one.

    Raises:
      UntrustedError: it is damaged or hostile.
    """
    beside = folder.parent / "scheduler" if folder.name == "unet" else folder / "scheduler"
    for place in (folder, beside):
        here = place == folder or _is_there(place)
        if here and os.path.lexists(place / "scheduler_config.json"):
            return read_json(place / "scheduler_config.json", endless=True)
    return None


def weights_of(folder: Path) -> Arrays:
    """The weights in a directory, by diffusers' present names."""
    weights = read_folder(folder, (STEM,))
    renamed = {modernized(key): weights.tensors[key] for key in weights}
    if "time_proj.weight" in renamed:
        renamed.pop(REPEATED, None)
    return Arrays(renamed)
