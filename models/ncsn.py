"""NCSN: Song and Ermon, 2019, "Generative Modeling by Estimating Gradients of the Data
Distribution", arXiv:1907.05600.

Every normalization has parameters of its own for each of the `sde.num_scales` noise levels, so
the network's label is the number of the level, counted from the noisiest, and its number of
parameters grows with the number of levels. Its raw output is the score:
`model.scale_by_sigma=False`.
"""

from __future__ import annotations

from ml_collections import ConfigDict

import sde_lib
from models import refinenet
from models.checks import integer
from models.layers.instance_norm import LEVEL_NORMS, LevelInstanceNormPlus
from models.layers.windows import mean_pool
from models.refinenet import RefineNet
from sde_lib import DescendingLevelLabel


def build(config: ConfigDict) -> RefineNet:
    """The network that `config.model`, `config.data` and `config.sde` describe.

    Raises:
      ValueError: a key is missing, unknown or does not fit the others, or the label is not the
        number of a level.
    """
    levels = integer(config.sde, "sde.num_scales", least=2)
    if not isinstance(sde_lib.build_parametrization(config).conditioning, DescendingLevelLabel):
        raise ValueError(
            f"model.name='ncsn' needs the number of the noise level as its label, but "
            f"sde.name={config.sde.name!r} with training.continuous={config.training.continuous} "
            f"and model.conditioning={config.model.conditioning!r} give it another one: set "
            "sde.name='ve' and training.continuous=False, or model.conditioning='descending_level'"
        )
    blocks, norm = refinenet.SMALL, LevelInstanceNormPlus
    return refinenet.build(config, blocks, LEVEL_NORMS, norm, mean_pool, levels)
