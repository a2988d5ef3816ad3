"""Handwritten 8x8 digits (scikit-learn), Improved DDPM: a discrete model with a learned variance.

    python main.py --config configs/iddpm_digits.py:hybrid --mode train --workdir runs/iddpm
    python main.py --config configs/iddpm_digits.py:vlb ...          trained for likelihood
    python main.py --config configs/iddpm_digits.py:vlb,smoke ...    seconds, to see that it runs

(Nichol & Dhariwal 2021, arXiv:2102.09672, but with EDM's preconditioning: of a prediction of the
noise the error at the last levels would cost this network more bits than all else.) `hybrid`, the
default, makes the better samples, `vlb` the better likelihood, which `--mode likelihood` measures
by the model's own bound.
"""

from ml_collections import ConfigDict

from configs import digits, variants


def hybrid(config: ConfigDict) -> None:
    """L_hybrid, with classes."""
    config.training.objective = "hybrid"


def vlb(config: ConfigDict) -> None:
    """L_vlb with importance-sampled levels, without classes, as `digits.likelihood` has it."""
    digits.likelihood(config)
    config.data.uniform_dequantization = False
    config.training.objective = "vlb"
    config.training.time_law = "loss_second_moment"
    config.training.weighting = "noise"


VARIANTS = {"smoke": variants.smoke, "hybrid": hybrid, "vlb": vlb}


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    config = digits.base()
    config.sde.name = "iddpm"
    config.sde.num_scales = 100  # the least level is then half as wide as the bin of a gray level
    config.model.rescale_timesteps = True
    config.data.gray_levels = 17
    config.model.conditioning = "published"
    config.model.embedding_type = "positional"
    config.model.learn_variance = True
    config.training.continuous = False
    config.training.objective = "hybrid"
    config.training.time_law = "uniform"
    config.training.weighting = "noise"
    config.sampling.predictor = "ancestral"
    config.sampling.ancestral_variance = "learned"
    config.sampling.grid = "respaced"
    config.sampling.num_steps = 49
    config.sampling.clip = True
    config.eval.likelihood = "discrete_bound"
    config.eval.dequantization = "none"
    config.eval.bins = "nearest"
    return variants.apply(config, argument, VARIANTS)
