"""diffusers' directories of a UNet2DConditionModel, the network of Stable Diffusion and its kin.

    config.json, diffusion_pytorch_model.safetensors, and perhaps scheduler_config.json

The scheduler's file may also be in scheduler/, in the directory or beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from models.pretrained.base import Checkpoint, as_params, paths_and_shapes
from models.pretrained.diffusers.condition_config import CLASS, OPEN, least_tensors, settings
from models.pretrained.diffusers.condition_names import axes_of, name_of
from models.pretrained.diffusers.directory import folder_of, scheduler_of, weights_of
from models.pretrained.diffusers.scheduler import sde_settings
from models.pretrained.files.tensors import PretrainedError
from untrusted import UntrustedError, plain, read_json

FAMILY = "diffusers_conditional"


def recognises(path: Path | str) -> bool:
    """True if `path` is a directory with the config.json of a UNet2DConditionModel."""
    try:
        return folder_of(Path(path), (CLASS,), ()) is not None
    except UntrustedError:
        return False


def read(path: Path | str) -> Checkpoint:
    """The weights, by their present names, and the settings of a directory.

    The weights are taken to be the running average.

    Raises:
      PretrainedError: it is no such directory, a file in it is damaged, or an option has no
        counterpart here; the message names it.
      OSError: a file cannot be read.
    """
    folder = Path(path)
    try:
        if folder_of(folder, (CLASS,), ()) is None:
            raise PretrainedError(f"it must be a directory with the config.json of a {CLASS}")
        implied, weights = settings(read_json(folder / "config.json")), weights_of(folder)
        if len(weights) < least_tensors(implied):
            raise PretrainedError(
                f"its config.json speaks of {least_tensors(implied):,} tensors or more, and its "
                f"weights are {len(weights):,}: forged or mixed"
            )
        found, remark = sde_settings(scheduler_of(folder), False)
        return Checkpoint(FAMILY, implied | found, None, weights, guessed=OPEN, note=remark)
    except UntrustedError as error:
        raise PretrainedError(f"{plain(str(path), 200)}: {error}") from error


def params(weights: Mapping[str, Any], network: nn.Module, config: ConfigDict) -> dict[str, Any]:
    """The parameters of `network`, which `config` describes, from weights by diffusers' names.

    Raises:
      MismatchError: weights are missing, left over, or of other shapes.
    """
    wanted = paths_and_shapes(network, config)
    known = {path: name_of(config, path) for path in wanted}
    return as_params(weights, wanted, known, axes=axes_of(config))
