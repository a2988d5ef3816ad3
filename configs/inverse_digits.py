"""One inverse problem, the right half of a digit from the left one, solved in two ways.

A model of digits that is told of the measurement while it draws, whatever the measurement is:

    python main.py --config configs/inverse_digits.py --mode train --workdir runs/prior
    python main.py --config configs/inverse_digits.py --mode reconstruct --workdir runs/prior \
        --measure inpaint --mask left --config.inverse.noise=0.05

A model that is trained with measurements of this kind as its condition:

    python main.py --config configs/inverse_digits.py --mode measure --workdir runs/pairs \
        --measure inpaint --mask left --config.inverse.noise=0.05
    python main.py --config configs/inverse_digits.py:conditional --mode train --workdir runs/told \
        --config.data.data_dir=runs/pairs/pairs.npz
    python main.py --config configs/inverse_digits.py:conditional --mode reconstruct \
        --workdir runs/told --config.data.data_dir=runs/pairs/pairs.npz \
        --measure inpaint --mask left --config.inverse.noise=0.05 --config.inverse.method=trained

:smoke is a size that runs in seconds. Time: 6 minutes each on two CPU cores. Quality:
benchmarks/README.md.
"""

from ml_collections import ConfigDict

from configs import digits, variants
from configs.defaults import FROM_DATA


def base() -> ConfigDict:
    """The digits without classes, by steps of one evaluation; noise in them serves MMPS best."""
    config = digits.base()
    config.sde.name = "vp"
    config.model.num_classes = 0
    config.model.label_dropout = 0.0
    config.sampling.predictor = "ddim"
    config.sampling.eta = 1.0
    config.sampling.num_steps = 50
    return config


def conditional(config: ConfigDict) -> None:
    """A model given the measurement of each example, from the file of `--mode measure`."""
    config.data.dataset = "array"
    config.data.condition = FROM_DATA["data.condition"]
    config.model.condition = "image"
    config.sampling.eta = 0.0


VARIANTS = {"conditional": conditional, "smoke": digits.smoke}


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    return variants.apply(base(), argument, VARIANTS)
