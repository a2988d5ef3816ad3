"""Handwritten 8x8 digits (scikit-learn), VP SDE.

    python main.py --config configs/vp_digits.py --mode train --workdir runs/digits
    python main.py --config configs/vp_digits.py:smoke ...   seconds, to see that it runs
    python main.py --config configs/vp_digits.py:classifier --mode train --workdir runs/judge

Time: about 6 minutes on two CPU cores. Quality: benchmarks/README.md.
"""

from ml_collections import ConfigDict

from configs import digits, variants


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    config = digits.base()
    config.sde.name = "vp"
    return variants.apply(config, argument, digits.VARIANTS)
