"""A config's score, before it has parameters."""

from __future__ import annotations

from typing import Any, cast

from ml_collections import ConfigDict

import models
import sde_lib
from models.apply import Apply
from sde_lib import ModelScore


def template(config: ConfigDict) -> ModelScore:
    """The score that a config describes: its network, SDE and parametrization; params are None.

    Raises:
      ValueError: in the user's terms, for a setting from which none can be built.
    """
    sde, parametrization = sde_lib.build(config), sde_lib.build_parametrization(config)
    return ModelScore(Apply(models.build_any(config)), None, sde, parametrization)


def network_of(score: ModelScore) -> Any:
    """The network of a score that `template` made."""
    return cast(Apply, score.apply).network
