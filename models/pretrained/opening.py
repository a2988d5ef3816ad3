"""Opening of a published checkpoint: its format, its settings, and its weights as ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import models
import sde_lib
from models.pretrained import own_format, prior_folder, sr3_file
from models.pretrained.base import Checkpoint, Format, MismatchError, PretrainedError
from models.pretrained.diffusers import autoencoders, conditional, directory, pipelines
from models.pretrained.dit import authors, dit_folder
from models.pretrained.edm import snapshot
from models.pretrained.gate import admit
from models.pretrained.latent_diffusion import first_stage, single_file
from models.pretrained.matching import (
    adopted,
    check_said,
    config_of,
    disagreements,
    doubt,
    with_adopted,
)
from models.pretrained.openai import state_dict
from models.pretrained.score_sde import jax_checkpoint, torch_checkpoint
from models.score import template
from sde_lib import ModelScore
from untrusted import UntrustedError, check_regular, plain

FORMATS: dict[str, Format] = {
    pipelines.FAMILY: pipelines,
    directory.FAMILY: directory,
    conditional.FAMILY: conditional,
    dit_folder.FAMILY: dit_folder,
    prior_folder.FAMILY: prior_folder,
    autoencoders.FAMILY: autoencoders,
    single_file.FAMILY: single_file,
    first_stage.FAMILY: first_stage,
    own_format.FAMILY: own_format,
    authors.FAMILY: authors,
    sr3_file.FAMILY: sr3_file,
    state_dict.FAMILY: state_dict,
    torch_checkpoint.FAMILY: torch_checkpoint,
    snapshot.FAMILY: snapshot,
    jax_checkpoint.FAMILY: jax_checkpoint,
}
"""Formats, in the order in which they are tried on a file."""


class Opened(NamedTuple):
    """A checkpoint, its format, and its config, given or made from it.

    adopted: settings of a given config that the file's values replaced.
    left_out: settings that the file may not set, in a line for the user; empty for none.
    doubt: given settings that are not those of the published model of these shapes, likewise.
    """

    checkpoint: Checkpoint
    format: Format
    config: ConfigDict
    adopted: dict[str, Any]
    left_out: str
    doubt: str = ""


def open_checkpoint(
    path: Path | str,
    config: ConfigDict | None = None,
    override: Callable[[ConfigDict], None] = lambda config: None,
    given: Collection[str] = (),
    formats: Mapping[str, Format] = FORMATS,
) -> Opened:
    """Read a foreign checkpoint; no weights are converted yet.

    Args:
      path: the checkpoint.
      config: the config of its training; None: one is made from it.
      override: changes a config that is made from the checkpoint.
      given: names of the settings that `override` changes.
      formats: those that are tried.

    Raises:
      PretrainedError: of unknown format, damaged or hostile; or, without a config, with too few
        settings to determine its network.
      OSError: it cannot be read.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_dir():
        _check_file(path)
    for known in formats.values():
        if known.recognises(path):
            checkpoint, left_out = admit(known.read(path))
            if config is None:
                made = config_of(checkpoint, override, given)
                return Opened(checkpoint, known, made, {}, left_out)
            taken = adopted(checkpoint, config)
            whole = with_adopted(checkpoint, config)
            check_said(checkpoint, whole)
            return Opened(checkpoint, known, whole, taken, left_out, doubt(checkpoint, config))
    raise PretrainedError(
        f"{plain(path.name)} is a checkpoint of no known format: it must be one of "
        f"{', '.join(formats)}"
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
    if sde_lib.build(config).learned and form is not own_format:
        raise PretrainedError(
            f"a checkpoint of {checkpoint.family} has no noise schedule, and sde.name="
            f"{config.sde.name!r} learns one: give the SDE that it was trained with"
        )
    differences = disagreements(checkpoint, config)
    network = models.build_any(config)
    try:
        params = form.params(checkpoint.weights(ema), network, config)
    except MismatchError as error:
        told = [*differences.values(), *error.differences]
        raise MismatchError(told, error.misfits) from error
    facts = [text for name, text in differences.items() if name not in checkpoint.guessed]
    if facts:
        raise MismatchError(facts, [])
    return params


def load(path: Path | str, config: ConfigDict | None = None, ema: bool = True) -> ModelScore:
    """The score of a published model: score(x, t), score.denoise(x, t, condition).

    Args:
      path: a checkpoint of one of `FORMATS`.
      config: the config of its training; without one, the settings in the file, completed (image
        size, SDE, ...) by those of the nearest published configuration.
      ema: the averaged weights, or the raw ones.

    Raises:
      PretrainedError: a ValueError whose first line says why it cannot be used.
      OSError: it cannot be read.
    """
    opened = open_checkpoint(path, config)
    if models.is_classifier(opened.config):
        raise PretrainedError(
            "the file has the weights of a classifier, which has no score: import it "
            "(--mode import) and load it by modes.classifier.load_classifier"
        )
    return template(opened.config).with_params(params_of(opened, ema))
