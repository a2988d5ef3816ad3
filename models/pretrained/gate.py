"""Checks of the step and the settings that a file of weights states (`defaults.Setting.travels`).

Every format's settings are checked here before they are used, whatever its reader has checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from configs import defaults, rules, schema
from models.pretrained.base import Checkpoint
from models.pretrained.files.tensors import PretrainedError, Tensor
from untrusted import shown

NAMED = 6
"""Most settings left out that a message names; it counts the others."""


def admit(checkpoint: Checkpoint) -> tuple[Checkpoint, str]:
    """(the checkpoint without settings that a file may not set, one line on those left out).

    The line is empty if nothing but defaults was left out.

    Raises:
      PretrainedError: a setting that a file may set has an invalid value.
    """
    settings = schema.of_model(checkpoint.settings)
    for name, value in settings.items():
        try:
            schema.check_value(name, value)
        except ValueError as error:
            raise PretrainedError(f"the file has a setting no model can have: {error}") from error
    return replace(checkpoint, settings=settings), _left_out(checkpoint.settings)


def _left_out(settings: Mapping[str, Any]) -> str:
    private = sorted(
        name
        for name, value in settings.items()
        if name in defaults.SETTINGS
        and not defaults.SETTINGS[name].travels
        and value != defaults.SETTINGS[name].default
    )
    named, unknown = private[:NAMED], sum(name not in defaults.SETTINGS for name in settings)
    more = {"others": len(private) - len(named), "unknown names": unknown}
    told = [*named, *(f"{count} {what}" for what, count in more.items() if count)]
    return f"not taken from the file, which may not set them: {', '.join(told)}" if told else ""


def updates(step: Any) -> int:
    """The number of updates stated by a file, as an integer or a tensor of one number.

    0 if it states none (None). PretrainedError for anything else.
    """
    if step is None:
        return 0
    told = step
    if isinstance(step, Tensor | np.ndarray | np.generic) and step.size == 1:
        told = np.asarray(step).reshape(()).item()
    count = int(told) if isinstance(told, float) and told.is_integer() else told
    if type(count) is not int or not 0 <= count <= rules.INT32:
        raise PretrainedError(
            f"the file's step must be a whole number of updates from 0 to {rules.INT32:,}, "
            f"got {shown(told)}"
        )
    return count
