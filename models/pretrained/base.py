"""What a reader of foreign checkpoints gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a network and what the file says about it.

    Attributes:
      family: the format.
      settings: what the file implies about a config, as "section.key" -> value.
      raw: the trained weights by their names in the file, or None.
      ema: their running average, likewise. Where a file has one set of weights and does not say
        which, it is this one: what others give away is what they draw samples with.
      step: updates made; 0 where the file does not say.
    """

    family: str
    settings: dict[str, Any]
    raw: Mapping[str, np.ndarray] | None
    ema: Mapping[str, np.ndarray] | None
    step: int = 0
