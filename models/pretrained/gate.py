"""What a file may set beside its weights: a step, and settings that travel (`schema.Setting`).

Every format's settings pass here before anything is made of them, whatever its reader let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from configs import schema
from models.pretrained.base import Checkpoint
from models.pretrained.files.tensors import PretrainedError, Tensor
from untrusted import shown

NAMED = 6
"""Settings left out that a message names; of more it gives the number."""


def admit(checkpoint: Checkpoint) -> tuple[Checkpoint, str]:
    """(the checkpoint with no other settings than a file may set, what was left out in a line).

    The line is empty where nothing was, or no more than defaults.

    Raises:
      PretrainedError: a setting that a file may set has a value that it cannot have.
    """
    settings = schema.of_model(checkpoint.settings)
    for name, value in settings.items():
        try:
            schema.check_value(name, value)
        except ValueError as error:
            raise PretrainedError(f"the file says what no model can have: {error}") from error
    return replace(checkpoint, settings=settings), _left_out(checkpoint.settings)


def _left_out(settings: Mapping[str, Any]) -> str:
    private = sorted(
        name
        for name, value in settings.items()
        if name in schema.SETTINGS
        and not schema.SETTINGS[name].travels
        and value != schema.SETTINGS[name].default
    )
    named, unknown = private[:NAMED], sum(name not in schema.SETTINGS for name in settings)
    more = {"others": len(private) - len(named), "unknown names": unknown}
    told = [*named, *(f"{count} {what}" for what, count in more.items() if count)]
    return f"left out of the file, which may not set them: {', '.join(told)}" if told else ""


def updates(step: Any) -> int:
    """The number of updates that a file says were made, as an integer or a tensor of one number.

    0 where it does not say (None). PretrainedError for what is no such number.
    """
    if step is None:
        return 0
    told = step
    if isinstance(step, Tensor | np.ndarray | np.generic) and step.size == 1:
        told = np.asarray(step).reshape(()).item()
    count = int(told) if isinstance(told, float) and told.is_integer() else told
    if type(count) is not int or not 0 <= count <= schema.INT32:
        raise PretrainedError(
            f"the file's step must be a whole number of updates from 0 to {schema.INT32:,}, "
            f"got {shown(told)}"
        )
    return count
