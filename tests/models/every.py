"""A tiny config of every network, of all that a network can be made of, and its training loss."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

import models
from configs import schema

UNET = {"nf": 8, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (4,)}
SKIPS = {"progressive": "output_skip", "progressive_input": "input_skip"}
PYRAMIDS = {"progressive": "residual", "progressive_input": "residual", "resblock_type": "ddpm"}
REFINENET = {"nf": 4, "normalization": "InstanceNorm++"}
TOLD = {
    "nf": 8, "ch_mult": (1, 2), "num_res_blocks": 1, "norm_num_groups": 4, "num_heads": 2,
    "transformer_depth": (1, 0), "num_classes": 3, "condition": "tokens",
    "data__condition": (3, 6),
}  # fmt: skip
NETWORKS = {
    "ncsnpp": {**UNET, "num_classes": 3, "label_dropout": 0.1},
    "ncsnpp skips": {**UNET, **SKIPS, "embedding_type": "fourier", "fir": True},
    "ncsnpp residual": {**UNET, **PYRAMIDS, "nonlinearity": "elu"},
    "ncsnpp small": {**UNET, "ch_mult": (1,), "attn_resolutions": (), "init_scale": 1.0},
    "ddpm": {**UNET, "nf": 32},
    "ddpm_ho": {**UNET, "norm_num_groups": 4, "attention_head_dim": 4},
    "songunet": {**UNET, "num_classes": 3, "augment_dim": 2},
    "adm": {**UNET, "nf": 32, "num_classes": 3},
    "guided_unet": {**UNET, "nf": 32, "num_heads": 2, "num_classes": 3},
    "guided_unet plain": {
        **UNET,
        "nf": 32,
        "num_heads": 2,
        "scale_shift": False,
        "resblock_updown": False,
    },
    "unet": {**UNET, "num_classes": 3},
    "unet_condition": {**TOLD, "scale_shift": False, "resblock_updown": False},
    "unet_condition joint": {**TOLD, "token_attention": "joint", "pool_heads": 2},
    "transformer": {"nf": 8, "num_res_blocks": 2, "num_classes": 3, "attention_head_dim": 4},
    "dit": {"nf": 8, "num_res_blocks": 2, "num_classes": 3, "num_heads": 2, "patch": (2, 2)},
    "ncsn": REFINENET,
    "ncsnv2_64": REFINENET,
    "ncsnv2_128": {**REFINENET, "refinenet": "original"},
    "ncsnv2_256": {**REFINENET, "normalization": "VarianceNorm"},
}
IMAGES = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
LABELS = jnp.array([1.0, 3.0])


def config_of(case: str, **model: object) -> ConfigDict:
    """The config of a case, with further settings of `model`."""
    config = schema.get_default()
    config.data.image_size = 8
    for name, value in {**NETWORKS[case], "name": case.split()[0], **model}.items():
        section, _, key = name.rpartition("__")
        config[section or "model"][key] = value
    if case == "ncsn":
        config.sde.name, config.sde.num_scales, config.training.continuous = "ve", 5, False
    schema.check(config)
    return config


class Training(NamedTuple):
    """A network and a loss of it."""

    config: ConfigDict
    network: nn.Module

    def params(self, key):
        return models.init(self.network, key, self.config)

    def shapes(self):
        return jax.eval_shape(self.params, jax.random.key(0))

    def loss(self, params, x):
        """Loss of two images x, and what the network's modules gave."""
        classes = jnp.array([0, 2]) if self.config.model.num_classes else None
        settings = {"rngs": {"dropout": jax.random.key(7)}, "capture_intermediates": True}
        apply = self.network.apply
        raw, seen = apply({"params": params}, x, LABELS, classes, train=True, **settings)
        return jnp.square(raw - x).mean(), seen["intermediates"]


def training(case: str, **model: object) -> Training:
    """The network of a case, with further settings of `model`."""
    config = config_of(case, **model)
    return Training(config, models.build(config))
