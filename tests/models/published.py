"""Published configurations, as far as a network reads them."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import score_sde

NCSNPP = {
    "name": "ncsnpp",
    "normalization": "GroupNorm",
    "nonlinearity": "swish",
    "nf": 128,
    "ch_mult": (1, 2, 2, 2),
    "num_res_blocks": 4,
    "attn_resolutions": (16,),
    "dropout": 0.1,
    "resamp_with_conv": True,
    "conditional": True,
    "fir": True,
    "fir_kernel": (1, 3, 3, 1),
    "skip_rescale": True,
    "resblock_type": "biggan",
    "progressive": "none",
    "progressive_input": "residual",
    "progressive_combine": "sum",
    "init_scale": 0.0,
    "embedding_type": "fourier",
    "fourier_scale": 16,
}
DDPM = {
    "name": "ddpm",
    "normalization": "GroupNorm",
    "nonlinearity": "swish",
    "nf": 128,
    "ch_mult": (1, 2, 2, 2),
    "num_res_blocks": 2,
    "attn_resolutions": (16,),
    "dropout": 0.1,
    "resamp_with_conv": True,
    "conditional": True,
}
DATA = {"image_size": 32, "num_channels": 3, "centered": False}


def make(base: dict, model: dict | None = None, data: dict | None = None) -> ConfigDict:
    """A config of `base` with keys of `model` and `data` replaced or added."""
    return ConfigDict({"model": {**base, **(model or {})}, "data": {**DATA, **(data or {})}})


def published(name: str, overrides: dict | None = None) -> ConfigDict:
    """A published config by its path, with overrides of `model`, its keys with or without that."""
    config = score_sde.get_config(name)
    for key, value in (overrides or {}).items():
        config.model[key.removeprefix("model.")] = value
    return config
