"""Published weights, ready for every sampler.

    from models.pretrained import load
    score = load("checkpoint_24.pth", config=config, ema=True)
    score(x, t); score.denoise(x, t, condition)          # x [B, H, W, C]

A new family is a module with `recognises`, `read` and `params` (`base.Format`) and a line in
`FORMATS`. No file runs code: see `pickles` and docs/import.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import models
import sde_lib
from models.pretrained import diffusers, edm, safetensors_file, score_sde, score_sde_jax
from models.pretrained.base import Checkpoint, Format, MismatchError, PretrainedError
from models.pretrained.matching import adopted, config_of, disagreements, with_adopted
from models.score import template
from sde_lib import ModelScore

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
    """

    checkpoint: Checkpoint
    format: Format
    config: ConfigDict
    adopted: dict[str, Any]


def open_checkpoint(path: Path | str, config: ConfigDict | None = None) -> Opened:
    """Read a foreign checkpoint; no weights are converted yet.

    Raises:
      PretrainedError: it is of no known format, damaged or hostile; or, without a config, does not
        say enough of its network.
      OSError: it cannot be read.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise PretrainedError(f"there is no file {path}")
    for known in FORMATS.values():
        if known.recognises(path):
            checkpoint = known.read(path)
            if config is None:
                return Opened(checkpoint, known, config_of(checkpoint), {})
            taken = adopted(checkpoint, config)
            return Opened(checkpoint, known, with_adopted(checkpoint, config), taken)
    raise PretrainedError(
        f"{path.name} is a checkpoint of no known format: it must be one of {', '.join(FORMATS)}"
    )


def params_of(opened: Opened, ema: bool) -> Any:
    """The averaged or raw weights as our parameters.

    Raises:
      MismatchError: checkpoint and config do not belong together.
      PretrainedError: it has no such weights, or not the noise schedule of the config.
    """
    checkpoint, form, config, _ = opened
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
        told = [*differences.values(), *error.differences]
        raise MismatchError(told, error.rows) from error
    facts = [text for name, text in differences.items() if name not in checkpoint.guessed]
    if facts:
        raise MismatchError(facts, [])
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
