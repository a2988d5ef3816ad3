"""The 39 published configurations of score_sde by their paths (Song et al., arXiv:2011.13456).

    python main.py --config configs/score_sde.py:ve/cifar10_ncsnpp_continuous \
        --mode train --workdir runs/ve
    python main.py --config configs/score_sde.py:ve/cifar10_ncsnpp_continuous,smoke ...  seconds

From Python: `get_config("ve/cifar10_ncsnpp_continuous")`. docs/models.md lists all of them with
their sizes and published results.

A configuration is a sum of tables, the later ones winning. A table says what differs from
`configs.schema`, whose defaults are the published CIFAR-10 values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from configs import schema, variants
from configs.names import did_you_mean

Table = Mapping[str, Any]

# Data, and how long to train on it --------------------------------------------------------------

CIFAR10: Table = {"eval.batch_size": 1024}
CELEBA: Table = {
    "data.dataset": "CELEBA",
    "data.image_size": 64,
    "data.crop": 140,
    "sde.sigma_max": 90.0,
    "sampling.snr": 0.17,
    "eval.batch_size": 1024,
}
# Published: LSUN prepared by TensorFlow, faces as TFRecords. Here: their pictures in data.data_dir.
LARGE: Table = {
    "data.dataset": "folder",
    "data.image_size": 256,
    "data.filter": "bicubic",
    "model.dropout": 0.0,
    "sde.num_scales": 2000,
    "sde.sigma_max": 378.0,
    "training.batch_size": 64,
    "training.n_iters": 2_400_001,
    "training.snapshot_freq_for_preemption": 5000,
    "sampling.snr": 0.075,
    "eval.batch_size": 512,
}
FACES_256: Table = {**LARGE, "sde.sigma_max": 348.0}
FACES_1024: Table = {
    **LARGE,
    "data.image_size": 1024,
    "sde.sigma_max": 1348.0,
    "training.batch_size": 8,
    "sampling.snr": 0.15,
    # Published: 1024, but so many images of this size are 13 GB.
    "eval.batch_size": 8,
}

# SDEs, objectives and samplers ------------------------------------------------------------------

VE: Table = {
    "sde.name": "ve",
    "model.ema_rate": 0.999,
    "model.scale_by_sigma": True,
    "training.reduce_mean": False,
    "sampling.predictor": "reverse_diffusion",
    "sampling.corrector": "langevin",
    # The published rule adapts to the score's norm; by each sample's own, not the batch's mean.
    "sampling.norm": "sample",
}
SMLD: Table = {**VE, "training.continuous": False}
VP: Table = {"sde.name": "vp", "data.centered": True}
SUBVP: Table = {**VP, "sde.name": "subvp"}
DDPM: Table = {
    **VP,
    "training.continuous": False,
    "sampling.predictor": "ancestral",
    "sampling.ancestral_variance": "kernel",
}
ANNEALED_LANGEVIN: Table = {"sampling.predictor": "none", "sampling.corrector": "ald"}

# Networks, and how they are optimized -----------------------------------------------------------

POSITIONAL: Table = {"model.embedding_type": "positional"}
DDPMPP_NET: Table = {**POSITIONAL, "model.name": "ncsnpp", "model.num_res_blocks": 4}
NCSNPP_NET: Table = {
    **DDPMPP_NET,
    "model.fir": True,
    "model.progressive_input": "residual",
    "model.embedding_type": "fourier",
}
PYRAMIDS: Table = {
    **NCSNPP_NET,
    "model.ch_mult": (1, 1, 2, 2, 2, 2, 2),
    "model.num_res_blocks": 2,
    "model.progressive": "output_skip",
    "model.progressive_input": "input_skip",
}
PYRAMIDS_1024: Table = {
    **PYRAMIDS,
    "model.nf": 16,
    "model.ch_mult": (1, 2, 4, 8, 16, 32, 32, 32),
    "model.num_res_blocks": 1,
    "model.ema_rate": 0.9999,
}
DEEP: Table = {"model.num_res_blocks": 8, "training.n_iters": 950_001}
DDPM_NET: Table = {"model.name": "ddpm", "model.num_res_blocks": 2}
DDPM_256: Table = {
    **DDPM_NET,
    "model.ch_mult": (1, 1, 2, 2, 4, 4),
    "sde.num_scales": 1000,
    "optim.lr": 2e-5,
}
NCSN_NET: Table = {
    **ANNEALED_LANGEVIN,
    "model.name": "ncsn",
    "model.normalization": "InstanceNorm++",
    "model.nonlinearity": "elu",
    "model.scale_by_sigma": False,
    "optim.lr": 1e-3,
    "optim.warmup": 0,
    "optim.grad_clip": -1.0,
}
NCSNV2_NET: Table = {
    **NCSN_NET,
    "model.name": "ncsnv2_64",
    "model.scale_by_sigma": True,
    "optim.lr": 1e-4,
}
NCSNV2_128: Table = {
    **NCSNV2_NET,
    "model.name": "ncsnv2_128",
    "model.ema_rate": 0.9999,
    "data.image_size": 128,
    "data.filter": "bilinear",
    "training.batch_size": 128,
    "sde.sigma_max": 190.0,
}

# The numbers in the names ncsn/*_124 are those of the techniques of Song & Ermon 2020
# (arXiv:2006.09011): 1, 2 and 4 are the choice of levels and steps, 5 is averaging.
FEW: Table = {"sde.num_scales": 10, "sde.sigma_max": 1.0}
FEW_STEPS: Table = {**FEW, "sampling.n_steps_each": 100, "sampling.snr": 0.316}
LEVELS_32: Table = {"sde.num_scales": 232, "sampling.n_steps_each": 5, "sampling.snr": 0.176}
LEVELS_64: Table = {"sde.num_scales": 500, "sampling.n_steps_each": 5, "sampling.snr": 0.128}
LEVELS_128: Table = {"sde.num_scales": 1086, "sampling.n_steps_each": 3, "sampling.snr": 0.095}
NO_AVERAGE: Table = {"model.ema_rate": 0.0}


def _sum(*tables: Table) -> Table:
    return {name: value for table in tables for name, value in table.items()}


CONFIGS: dict[str, Table] = {
    "ve/cifar10_ncsnpp": _sum(CIFAR10, SMLD, NCSNPP_NET, POSITIONAL),
    "ve/cifar10_ncsnpp_continuous": _sum(CIFAR10, VE, NCSNPP_NET),
    "ve/cifar10_ncsnpp_deep_continuous": _sum(CIFAR10, VE, NCSNPP_NET, DEEP),
    "ve/cifar10_ddpm": _sum(CIFAR10, SMLD, DDPM_NET),
    "ve/celeba_ncsnpp": _sum(CELEBA, SMLD, NCSNPP_NET, POSITIONAL),
    "ve/bedroom_ncsnpp_continuous": _sum(LARGE, VE, PYRAMIDS),
    "ve/church_ncsnpp_continuous": _sum(LARGE, VE, PYRAMIDS, {"sde.sigma_max": 380.0}),
    "ve/ffhq_256_ncsnpp_continuous": _sum(FACES_256, VE, PYRAMIDS),
    "ve/celebahq_256_ncsnpp_continuous": _sum(FACES_256, VE, PYRAMIDS),
    "ve/ffhq_ncsnpp_continuous": _sum(
        FACES_1024, VE, PYRAMIDS_1024, {"training.reduce_mean": True}
    ),
    "ve/celebahq_ncsnpp_continuous": _sum(FACES_1024, VE, PYRAMIDS_1024),
    "ve/ncsn/cifar10": _sum(CIFAR10, SMLD, NCSN_NET, FEW_STEPS, NO_AVERAGE),
    "ve/ncsn/cifar10_5": _sum(CIFAR10, SMLD, NCSN_NET, FEW_STEPS),
    "ve/ncsn/cifar10_124": _sum(CIFAR10, SMLD, NCSN_NET, LEVELS_32, NO_AVERAGE),
    "ve/ncsn/cifar10_1245": _sum(CIFAR10, SMLD, NCSN_NET, LEVELS_32),
    # Published with training.loss = "vesde" where training.sde was meant.
    "ve/ncsn/celeba": _sum(CELEBA, SMLD, NCSN_NET, FEW_STEPS, NO_AVERAGE),
    "ve/ncsn/celeba_5": _sum(CELEBA, SMLD, NCSN_NET, FEW_STEPS),
    "ve/ncsn/celeba_124": _sum(CELEBA, SMLD, NCSN_NET, LEVELS_64, NO_AVERAGE),
    "ve/ncsn/celeba_1245": _sum(CELEBA, SMLD, NCSN_NET, LEVELS_64),
    "ve/ncsnv2/cifar10": _sum(CIFAR10, SMLD, NCSNV2_NET, LEVELS_32),
    "ve/ncsnv2/celeba": _sum(CELEBA, SMLD, NCSNV2_NET, LEVELS_64),
    # Published with training.continuouse = False, and so, by the default, trained continuously,
    # which this network, whose label is the number of a level, does not support.
    "ve/ncsnv2/bedroom": _sum(LARGE, SMLD, NCSNV2_128, LEVELS_128),
    "vp/cifar10_ddpmpp": _sum(CIFAR10, DDPM, DDPMPP_NET),
    "vp/cifar10_ddpmpp_continuous": _sum(CIFAR10, VP, DDPMPP_NET),
    "vp/cifar10_ddpmpp_deep_continuous": _sum(CIFAR10, VP, DDPMPP_NET, DEEP),
    "vp/cifar10_ncsnpp": _sum(
        CIFAR10, DDPM, NCSNPP_NET, POSITIONAL, {"sampling.predictor": "reverse_diffusion"}
    ),
    "vp/cifar10_ncsnpp_continuous": _sum(CIFAR10, VP, NCSNPP_NET, POSITIONAL),
    "vp/cifar10_ncsnpp_deep_continuous": _sum(CIFAR10, VP, NCSNPP_NET, POSITIONAL, DEEP),
    "vp/ddpm/cifar10": _sum(CIFAR10, DDPM, DDPM_NET),
    "vp/ddpm/cifar10_continuous": _sum(CIFAR10, VP, DDPM_NET),
    "vp/ddpm/cifar10_unconditional": _sum(CIFAR10, DDPM, DDPM_NET, {"model.conditional": False}),
    "vp/ddpm/bedroom": _sum(LARGE, DDPM, DDPM_256),
    "vp/ddpm/church": _sum(LARGE, DDPM, DDPM_256),
    "vp/ddpm/celebahq": _sum(LARGE, DDPM, DDPM_256),
    "subvp/cifar10_ddpm_continuous": _sum(CIFAR10, SUBVP, DDPM_NET),
    "subvp/cifar10_ddpmpp_continuous": _sum(CIFAR10, SUBVP, DDPMPP_NET),
    "subvp/cifar10_ddpmpp_deep_continuous": _sum(CIFAR10, SUBVP, DDPMPP_NET, DEEP),
    "subvp/cifar10_ncsnpp_continuous": _sum(CIFAR10, SUBVP, NCSNPP_NET, POSITIONAL),
    "subvp/cifar10_ncsnpp_deep_continuous": _sum(CIFAR10, SUBVP, NCSNPP_NET, POSITIONAL, DEEP),
}


def get_config(argument: str = "") -> ConfigDict:
    """The configuration of a published path, with variants if any: "ve/cifar10_ddpm,smoke".

    Raises ValueError, with the nearest known names, for another name.
    """
    name, _, changes = argument.partition(",")
    if name not in CONFIGS:
        hint = did_you_mean(name, CONFIGS, most=3) or f": use {', '.join(CONFIGS)}"
        raise ValueError(f"the config's argument must be a published path, got {name!r}{hint}")
    config = schema.get_default()
    config.update_from_flattened_dict(CONFIGS[name])
    return variants.apply(config, changes, VARIANTS)


def smoke(config: ConfigDict) -> None:
    """Tiny sizes that every one of the networks can have."""
    width = config.model.nf // 4
    variants.smoke(config)
    config.model.nf = width
    config.model.ch_mult = config.model.ch_mult[:3]
    config.data.image_size = 32
    config.sampling.n_steps_each = 1


def deep(config: ConfigDict) -> None:
    """Double the residual blocks and set the published number of updates."""
    config.update_from_flattened_dict(DEEP)


VARIANTS = {"smoke": smoke, **variants.RECIPES}
CIFAR10_VARIANTS = {**VARIANTS, "deep": deep, "likelihood": variants.likelihood}
"""Variants of a config file; in `configs/score_sde.py` deep networks have their own paths."""
