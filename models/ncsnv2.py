"""NCSNv2: Song and Ermon, 2020, "Improved Techniques for Training Score-Based Generative Models",
arXiv:2006.09011, in the sizes for images of less than 96, of 96 to 128 and of up to 256 pixels.

The noise level is not an input. The raw output is sigma times the score (technique 3), to which
the parametrization is set: `model.scale_by_sigma=True`.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from models import refinenet
from models.checks import choice
from models.layers.instance_norm import NORMS, NoNorm
from models.layers.windows import max_pool_5x5
from models.refinenet import Blocks, RefineNet, Stage

MIDDLE = (4, 2, 2, 1, 1)
LARGE = (4, 2, 2, 2, 1, 1)
WIDENED = (Stage(4, dilation=2), Stage(4, dilation=4))
HALVED = Stage(2, halve=True)
SIZES = {
    "ncsnv2_64": refinenet.SMALL,
    "ncsnv2_128": Blocks(
        (Stage(1), HALVED, HALVED, *WIDENED), {"score_sde": MIDDLE, "original": MIDDLE}
    ),
    "ncsnv2_256": Blocks(
        (Stage(1), HALVED, HALVED, HALVED, *WIDENED), {"score_sde": LARGE, "original": LARGE}
    ),
}


def build(config: ConfigDict) -> RefineNet:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing, unknown or does not fit the others.
    """
    blocks = choice(config.model, "model.name", SIZES)
    return refinenet.build(config, blocks, NORMS, NoNorm, max_pool_5x5, levels=0)
