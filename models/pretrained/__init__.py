"""Published weights, ready for every sampler.

    from models.pretrained import load
    score = load("checkpoint_24.pth", config=config, ema=True)
    score(x, t); score.denoise(x, t, condition)          # x [B, H, W, C]

A new family is a module with `recognises`, `read` and `params` (`base.Format`) and a line in
`FORMATS`. No file runs code: see `pickles` and docs/import.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import models
import sde_lib
from models.pretrained.base import Checkpoint, Format, MismatchError, PretrainedError
from models.pretrained.diffusers import directory as diffusers
from models.pretrained.edm import snapshot as edm
from models.pretrained.files import safetensors_file
from models.pretrained.gate import admit
from models.pretrained.matching import adopted, config_of, disagreements, with_adopted
from models.pretrained.score_sde import jax_checkpoint as score_sde_jax
from models.pretrained.score_sde import torch_checkpoint as score_sde
from models.score import template
from sde_lib import ModelScore
from untrusted import UntrustedError, check_regular, plain

__all__ = ["FORMATS", "Checkpoint", "Format", "MismatchError", "Opened", "PretrainedError", "load",
           "open_checkpoint", "params_of"]  # fmt: skip

FORMATS: dict[str, Format] = {
    diffusers.FAMILY: diffusers,
    safetensors_file.FAMILY: safetensors_file,
    score_sde.FAMILY: score_sde,
    edm.FAMILY: edm,
    score_sde_jax.FAMILY: score_sde_jax,
}
"""Asked in this order whose a file is."""


class Opened(NamedTuple):
    """A checkpoint, its format, and the config that was made of it, or given.

    adopted: settings that a given config has taken from the file.
    left_out: what the file may not set, in a line for the user; empty for nothing.
    """

    checkpoint: Checkpoint
    format: Format
    config: ConfigDict
    adopted: dict[str, Any]
    left_out: str


def open_checkpoint(path: Path | str, config: ConfigDict | None = None) -> Opened:
    """Read a foreign checkpoint; no weights are converted yet.

    Raises:
      PretrainedError: it is of no known format, damaged or hostile; or, without a config, does not
        say enough of its network.
      OSError: it cannot be read.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_dir():
        _check_file(path)
    for known in FORMATS.values():
        if known.recognises(path):
            checkpoint, left_out = admit(known.read(path))
            if config is None:
                return Opened(checkpoint, known, config_of(checkpoint), {}, left_out)
            taken = adopted(checkpoint, config)
            return Opened(checkpoint, known, with_adopted(checkpoint, config), taken, left_out)
    raise PretrainedError(
        f"{plain(path.name)} is a checkpoint of no known format: it must be one of "
        f"{', '.join(FORMATS)}"
    )


def _check_file(path: Path) -> None:
    try:
        check_regular(path, named=True)
    except FileNotFoundError as error:
        raise PretrainedError(f"there is no file {plain(str(path), 200)}") from error
    except UntrustedError as error:
        raise PretrainedError(str(error)) from error


def params_of(opened: Opened, ema: bool) -> Any:
    """The averaged or raw weights as our parameters.

    Raises:
      MismatchError: checkpoint and config do not belong together.
      PretrainedError: it has no such weights, or not the noise schedule of the config.
    """
    checkpoint, form, config, *_ = opened
    if sde_lib.build(config).learned and form is not safetensors_file:
        raise PretrainedError(
            f"a checkpoint of {checkpoint.family} has no noise schedule, and sde.name="
            f"{config.sde.name!r} learns one: give the SDE that it was trained with"
        )
    differences = disagreements(checkpoint, config)
    network = models.build(config)
    try:
        params = form.params(checkpoint.weights(ema), network, config)
    except MismatchError as error:
        raise MismatchError([*differences, *error.differences], error.rows) from error
    if differences:
        raise MismatchError(differences, [])
    return params


def load(path: Path | str, config: ConfigDict | None = None, ema: bool = True) -> ModelScore:
    """The score of a published model: score(x, t), score.denoise(x, t, condition).

    Args:
      path: a checkpoint of one of `FORMATS`.
      config: what it was trained with; without one, what the file says, and for the rest (the
        image size, the SDE, ...) the nearest published configuration.
      ema: the averaged weights, or the raw ones.

    Raises:
      PretrainedError: a ValueError whose first line says why it cannot be used.
      OSError: it cannot be read.
    """
    opened = open_checkpoint(path, config)
    return template(opened.config).with_params(params_of(opened, ema))
