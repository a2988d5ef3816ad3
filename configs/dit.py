"""DiT in latents, by the names of its authors' models (Peebles & Xie 2023, arXiv:2212.09748).

    python main.py --mode import --import_from DiT-XL-2-256x256.pt --workdir runs/dit    needs none
    python main.py --config configs/dit.py:XL_2 --mode train --workdir runs/dit
    python main.py --config configs/dit.py:S_2,smoke ...   to see that it runs

    parameters      with the fixed places, as the files have them; trained ones
    S_2             32,963,360    32,865,056
    B_2             130,512,416   130,315,808
    B_4             130,475,648   130,426,496
    L_2             458,102,816   457,840,672
    XL_2            675,129,632   674,834,720     FID 2.27 at 256 pixels, guidance 1.5
    XL_2_512        676,014,368   674,834,720     FID 3.04 at 512

The latents are those of Stable Diffusion's autoencoder, 4 channels at an eighth of the picture's
side, times 0.18215: these configs are given an array of them, data.dataset=array. The published
FIDs are with guidance on three of four channels (sampling.guidance_kind=first_channels).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from configs import variants
from configs.schema import get_default
from configs.variants import Variant


class DiTSize(NamedTuple):
    """Features of a token, number of blocks, and heads of attention."""

    features: int
    blocks: int
    heads: int


SIZES: Mapping[str, DiTSize] = {
    "S": DiTSize(384, 12, 6),
    "B": DiTSize(768, 12, 12),
    "L": DiTSize(1024, 24, 16),
    "XL": DiTSize(1152, 28, 16),
}
MODELS: Mapping[str, tuple[str, int, int]] = {
    "S_2": ("S", 2, 32), "B_2": ("B", 2, 32), "B_4": ("B", 4, 32), "L_2": ("L", 2, 32),
    "XL_2": ("XL", 2, 32), "XL_2_512": ("XL", 2, 64),
}  # fmt: skip
"""Name -> size, side of a patch, and side of the latents."""
CHANNELS = 4
CLASSES = 1000


def common() -> dict[str, Any]:
    """Settings of all published models: noise levels, training and sampling."""
    return {
        "sde.name": "iddpm",
        "sde.schedule": "linear",
        "sde.num_scales": 1000,
        "data.codec": "identity",
        "data.dataset": "array",
        "data.random_flip": False,
        "model.label_dropout": 0.1,
        "model.dropout": 0.0,
        "model.ema_rate": 0.9999,
        "model.norm_eps": 1e-6,
        "model.freq_shift": 0,
        "training.continuous": False,
        "training.reduce_mean": True,
        "training.objective": "hybrid",
        "training.batch_size": 256,
        "training.n_iters": 7_000_000,
        "optim.optimizer": "AdamW",
        "optim.weight_decay": 0.0,
        "optim.lr": 1e-4,
        "optim.warmup": 0,
        "optim.grad_clip": 0.0,
        "sampling.predictor": "ancestral",
        "sampling.ancestral_variance": "learned",
        "sampling.grid": "respaced",
        "sampling.respacing": "250",
        "sampling.clip": False,
    }


def put(name: str, config: ConfigDict) -> None:
    """Change `config`, whatever it was, into that of a published model."""
    size, patch, side = MODELS[name]
    model = config.model
    model.name = "dit"
    model.nf, model.num_res_blocks, model.num_heads = SIZES[size]
    model.patch = (patch, patch)
    model.num_classes = CLASSES
    model.learn_variance = True
    config.data.shape = (side, side, CHANNELS)


def smoke(config: ConfigDict) -> None:
    """Tiny sizes that the heads still divide."""
    variants.smoke(config)
    config.model.nf, config.model.num_heads = 16, 2


VARIANTS: dict[str, Variant] = {
    **{name: partial(put, name) for name in MODELS},
    "smoke": smoke,
}


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    config = get_default()
    config.update_from_flattened_dict(common())
    put("XL_2", config)
    return variants.apply(config, argument, VARIANTS)
