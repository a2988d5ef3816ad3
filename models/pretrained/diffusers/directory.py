"""diffusers directories: a UNet2DModel with its scheduler, read and written.

    unet/config.json, unet/diffusion_pytorch_model.safetensors (or .bin), unet_ema/ likewise,
    scheduler/scheduler_config.json, model_index.json

or the first two and the scheduler's file in one directory, as the published DDPM models are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import Checkpoint, as_params, paths_and_shapes
from models.pretrained.diffusers.config import settings
from models.pretrained.diffusers.layout import layout
from models.pretrained.diffusers.names import REPEATED, axes, modernized, names, to_theirs
from models.pretrained.files import safetensors_file, torch_files
from models.pretrained.files.tensors import PretrainedError

FAMILY = "diffusers"
LARGEST_JSON = 1 << 20
WEIGHTS = {
    "diffusion_pytorch_model.safetensors": lambda path: safetensors_file.read_tensors(path)[0],
    "diffusion_pytorch_model.fp16.safetensors": lambda path: safetensors_file.read_tensors(path)[0],
    "diffusion_pytorch_model.bin": torch_files.read,
    "diffusion_pytorch_model.fp16.bin": torch_files.read,
}
"""Names of a file of weights -> its reader; the first that is there is taken."""


def recognises(path: Path | str) -> bool:
    """Whether `path` is a directory with the config.json of a UNet2DModel, or a pipeline's."""
    return _unet_folder(Path(path)) is not None


def read(path: Path | str) -> Checkpoint:
    """The weights and settings of a pipeline or of its unet.

    The weights are named as diffusers names them today. With a unet_ema beside the unet, these
    are the running average and the raw weights; otherwise they are taken to be the average.

    Raises:
      PretrainedError: it is no such directory, a file in it is damaged, or an option has no
        counterpart here; the message names it.
      OSError: a file cannot be read.
    """
    folder = _unet_folder(Path(path))
    if folder is None:
        raise PretrainedError(
            f"{path} must be a diffusers directory, with the config.json of a UNet2DModel in it "
            "or in its unet/"
        )
    try:
        implied = settings(_json(folder / "config.json"), _scheduler(folder))
        weights = _weights(folder)
        averaged = folder.with_name("unet_ema")
        if folder.name == "unet" and averaged.is_dir():
            return Checkpoint(FAMILY, implied, weights, _weights(averaged))
        return Checkpoint(FAMILY, implied, None, weights)
    except PretrainedError as error:
        raise PretrainedError(f"{path}: {error}") from error


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


def export(config: ConfigDict, params: Mapping[str, Any], folder: Path | str) -> list[str]:
    """Writes a diffusers pipeline: unet/, scheduler/ and model_index.json.

    Args:
      config: of the model.
      params: its parameters.
      folder: the pipeline's directory, which must not exist or be empty.

    Returns:
      What whoever uses it should know, a sentence each.

    Raises:
      PretrainedError: diffusers has no such network, or an option of it that would be needed.
      OSError: it cannot be written; nothing is then left behind.
    """
    files, folder = layout(config), Path(folder)
    if (folder.is_dir() and any(folder.iterdir())) or folder.is_file():
        raise PretrainedError(f"{folder} is there already: give a path that is not")
    flat = safetensors_file.flatten(params)
    arrays = {name: to_theirs(name, flat[path]) for path, name in names(config, flat).items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for name, content in (
            ("unet/config.json", files.unet),
            ("scheduler/scheduler_config.json", files.scheduler),
            ("model_index.json", files.pipeline),
        ):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        weights = temporary / "unet" / "diffusion_pytorch_model.safetensors"
        safetensors_file.write_tensors(weights, arrays, {"format": "pt"})
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return files.notes


def _unet_folder(path: Path) -> Path | None:
    for folder in (path, path / "unet"):
        try:
            if _json(folder / "config.json").get("_class_name") == "UNet2DModel":
                return folder
        except (OSError, PretrainedError):
            continue
    return None


def _scheduler(folder: Path) -> dict[str, Any] | None:
    beside = folder.parent / "scheduler" if folder.name == "unet" else folder / "scheduler"
    for place in (folder, beside):
        if (place / "scheduler_config.json").is_file():
            return _json(place / "scheduler_config.json")
    return None


def _json(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        text = file.read(LARGEST_JSON + 1)
    try:
        value = json.loads(text) if len(text) <= LARGEST_JSON else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise PretrainedError(f"{path.name} is no JSON object: damaged")
    return value


def _weights(folder: Path) -> dict[str, Any]:
    for name, reader in WEIGHTS.items():
        if (folder / name).is_file():
            weights = reader(folder / name)
            if not isinstance(weights, Mapping) or not all(
                isinstance(k, str) and hasattr(v, "shape") for k, v in weights.items()
            ):
                raise PretrainedError(f"{name} must hold weights by name")
            renamed = {modernized(key): weight for key, weight in weights.items()}
            if "time_proj.weight" in renamed:
                renamed.pop(REPEATED, None)
            return renamed
    raise PretrainedError(f"there is none of {', '.join(WEIGHTS)} in {folder}")
