"""Published configurations, as far as a network reads them, and their parameter counts."""

from __future__ import annotations

from ml_collections import ConfigDict

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
DDPMPP = {"fir": False, "progressive_input": "none", "embedding_type": "positional"}
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
PYRAMIDS = {"progressive": "output_skip", "progressive_input": "input_skip"}
CHURCH = {**PYRAMIDS, "ch_mult": (1, 1, 2, 2, 2, 2, 2), "num_res_blocks": 2}
FFHQ_1024 = {
    **PYRAMIDS,
    "nf": 16,
    "ch_mult": (1, 2, 4, 8, 16, 32, 32, 32),
    "num_res_blocks": 1,
}
DATA = {"image_size": 32, "num_channels": 3, "centered": False}
CENTERED = {"centered": True}
DISCRETE = {"embedding_type": "positional"}

CONFIGS = {
    "ve/cifar10_ncsnpp": (62_693_251, NCSNPP, DISCRETE, {}),
    "ve/cifar10_ncsnpp_continuous": (62_758_915, NCSNPP, {}, {}),
    "ve/cifar10_ncsnpp_deep_continuous": (107_587_075, NCSNPP, {"num_res_blocks": 8}, {}),
    "ve/cifar10_ddpm": (35_218_947, DDPM, {}, {}),
    "ve/church_ncsnpp_continuous": (65_574_549, NCSNPP, CHURCH, {"image_size": 256}),
    "ve/ffhq_ncsnpp_continuous": (105_785_896, NCSNPP, FFHQ_1024, {"image_size": 1024}),
    "vp/cifar10_ddpmpp_continuous": (61_804_419, NCSNPP, DDPMPP, CENTERED),
    "vp/cifar10_ddpmpp_deep_continuous": (
        106_632_579,
        NCSNPP,
        {**DDPMPP, "num_res_blocks": 8},
        CENTERED,
    ),
    "vp/cifar10_ncsnpp_deep_continuous": (
        107_521_411,
        NCSNPP,
        {**DISCRETE, "num_res_blocks": 8},
        CENTERED,
    ),
    "vp/ddpm/cifar10_continuous": (35_218_947, DDPM, {}, CENTERED),
    "vp/ddpm/cifar10_unconditional": (32_329_347, DDPM, {"conditional": False}, CENTERED),
    "vp/ddpm/church": (
        111_569_923,
        DDPM,
        {"ch_mult": (1, 1, 2, 2, 4, 4)},
        {**CENTERED, "image_size": 256},
    ),
}


def make(base: dict, model: dict | None = None, data: dict | None = None) -> ConfigDict:
    """A config of `base` with keys of `model` and `data` replaced or added."""
    return ConfigDict({"model": {**base, **(model or {})}, "data": {**DATA, **(data or {})}})


def published(name: str, overrides: dict | None = None) -> ConfigDict:
    """A published config by its path, with "model.key" overrides."""
    _, base, model, data = CONFIGS[name]
    changes = {k.removeprefix("model."): v for k, v in (overrides or {}).items()}
    return make(base, {**model, **changes}, data)
