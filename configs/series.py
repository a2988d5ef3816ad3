"""Signals and time series, given a vector: records of two channels that ring and die away.

    python main.py --config configs/series.py --mode train --workdir runs/series
    python main.py --config configs/series.py:transformer ...   another network
    python main.py --config configs/series.py:smoke ...         seconds, to see that it runs
    python main.py --config configs/series.py ... --config.data.dataset=array \
        --config.data.data_dir=records.npz --config.data.shape=1000,2   data and condition of a file

The signals are simulated (`data_lib/signals.py`); given the condition, two frequencies and a decay
time, they are Gaussian with a known covariance, with which samples can be compared.
"""

from ml_collections import ConfigDict

from configs import arrays, variants


def base() -> ConfigDict:
    """A small U-Net along time."""
    config = arrays.base()
    data, model = config.data, config.model
    data.dataset = "signals"
    data.shape = (128, 2)
    model.name = "unet"
    model.condition = "vector"
    model.nf = 32
    model.num_res_blocks = 1
    config.training.batch_size = 128
    arrays.periods(config, 4000)
    config.sampling.num_samples = config.sampling.batch_size = 64
    return config


def transformer(config: ConfigDict) -> None:
    """A small transformer, every few points of time a token."""
    config.model.name = "transformer"
    config.model.nf = 64
    config.model.num_res_blocks = 4


VARIANTS = {"smoke": arrays.smoke, "transformer": transformer}


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    return variants.apply(base(), argument, VARIANTS)
