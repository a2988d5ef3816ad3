"""Periodic fields given a coarse one: downscaling, as of weather or cosmological simulations.

    python main.py --config configs/fields.py --mode train --workdir runs/fields
    python main.py --config configs/fields.py:smoke ...   seconds, to see that it runs
    python main.py --config configs/fields.py ... --config.data.dataset=array \
        --config.data.data_dir=fields.npz --config.data.shape=64,96,7   data and condition of a file

The fields are simulated (`data_lib/gaussian_fields.py`): 16 x 24 points and two correlated
channels, periodic along both axes, Gaussian with a known spectrum; the condition is the blurred
field on every fourth point. So what a model has learned can be compared with closed forms.
"""

from ml_collections import ConfigDict

from configs import arrays, variants


def base() -> ConfigDict:
    """A small U-Net that knows that both axes are periodic."""
    config = arrays.base()
    data, model = config.data, config.model
    data.dataset = "gaussian_fields"
    data.shape = (16, 24, 2)
    model.name = "unet"
    model.condition = "image"
    model.periodic = (0, 1)
    model.nf = 32
    model.ch_mult = (1, 2)
    model.num_res_blocks = 1
    config.training.batch_size = 64
    arrays.periods(config, 4000)
    config.sampling.num_samples = config.sampling.batch_size = 64
    return config


VARIANTS = {"smoke": arrays.smoke}


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    return variants.apply(base(), argument, VARIANTS)
