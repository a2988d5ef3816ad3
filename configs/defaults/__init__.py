"""Every setting of a config: its default, its rule, and its meaning, a file for each section.

A meaning that lists names says, after "all:", in which table every name is, those added since
included.
"""

from typing import Any

from configs.defaults import (
    data,
    edit,
    evaluation,
    inverse,
    machine,
    model,
    networks,
    optim,
    sampling,
    sde,
    training,
)
from configs.defaults.choices import CHOICES
from configs.rules import SEED
from configs.setting import Setting

__all__ = ["AUTO", "CHOICES", "FROM_DATA", "RETIRED", "SETTINGS", "Setting"]

AUTO = "auto"
"""The text that stands for a value in `FROM_DATA` on a command line."""

SETTINGS: dict[str, Setting] = {
    "seed": Setting(42, SEED, "seed of all random draws: order of the data, training, sampling"),
    **sde.SETTINGS,
    **model.SETTINGS,
    **networks.SETTINGS,
    **data.SETTINGS,
    **training.SETTINGS,
    **optim.SETTINGS,
    **sampling.SETTINGS,
    **evaluation.SETTINGS,
    **inverse.SETTINGS,
    **edit.SETTINGS,
    **machine.SETTINGS,
}

RETIRED = {
    "cpu_devices": ", which is no more: set JAX_NUM_CPU_DEVICES in the environment instead",
}
"""Settings of earlier versions, which older workdirs name -> what to do instead."""


FROM_DATA: dict[str, Any] = {
    "data.autoencoder": "",
    "data.autoencoder_hash": "",
    "data.latent_shape": (),
    "data.latent_shift": (),
    "data.latent_scale": (),
    "data.shape": (0,),
    "data.words": "",
    "data.mean": (),
    "data.std": (),
    "data.text_encoder_hash": "",
    "data.condition": (),
    "data.condition_mean": (),
    "data.condition_std": (),
    "sde.sigma_max": 0.0,
    "model.vocabulary": 0,
    "model.sigma_data": 0.0,
}
"""Setting -> the value that stands for one which is taken from the training data."""
