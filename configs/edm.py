"""EDM's training set-ups (Karras et al. 2022, arXiv:2206.00364, table 7 and the authors' README).

    python main.py --config configs/edm.py:cifar10-32x32-cond-vp --mode train --workdir runs/edm
    python main.py --config configs/edm.py:imagenet-64x64-cond-adm,smoke ...   to see that it runs

Published FID with this sampler, updates, and the authors' time on V100s (ImageNet: A100s):

    cifar10-32x32-cond-vp     1.79      390,625 of 512     8 for 2 days
    cifar10-32x32-cond-ve     1.79
    cifar10-32x32-uncond-vp   1.97
    cifar10-32x32-uncond-ve   1.98
    ffhq-64x64-uncond-vp      2.39      781,250 of 256     8 for 4 days
    ffhq-64x64-uncond-ve      2.53
    afhqv2-64x64-uncond-vp    1.96      781,250 of 256     8 for 4 days
    afhqv2-64x64-uncond-ve    2.16
    imagenet-64x64-cond-adm   1.36 *    610,352 of 4,096   32 for 13 days

vp and ve name the network (DDPM++, NCSN++); preconditioning, loss and sampler are EDM's in all.
FFHQ, AFHQv2 and ImageNet are folders of pictures, data.data_dir; ImageNet's has one per class.

All but ImageNet are augmented by geometric transformations whose nine parameters the network is
told (`train_lib/augment.py`). What differs: ImageNet is computed in bfloat16, not float16.
(*) with 511 evaluations of the stochastic sampler, not the 79 of the deterministic one here.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ml_collections import ConfigDict

from configs import variants
from configs.schema import get_default
from configs.variants import Variant


class Dataset(NamedTuple):
    """A dataset and the settings that go with it."""

    dataset: str
    size: int
    classes: int
    augment: float
    """Probability of each transformation."""
    heun_steps: int
    """Steps of the sampler, of two evaluations each; the denoised end takes one more."""


class Setup(NamedTuple):
    """One row of the authors' table."""

    data: Dataset
    conditional: bool
    network: Callable[[ConfigDict], None]
    dropout: float
    batch: int = 512
    lr: float = 1e-3
    mimg: int = 200
    """Millions of images seen."""
    half_life_mimg: float = 0.5
    """Half-life of the averaged weights, in millions of images."""


RAMP_IMAGES = 10_000_000
"""Images over which the learning rate rises."""

CIFAR10 = Dataset("CIFAR10", 32, 10, augment=0.12, heun_steps=17)
PICTURES = Dataset("folder", 64, 0, augment=0.15, heun_steps=39)
IMAGENET = Dataset("folder", 64, 1000, augment=0.0, heun_steps=39)


def _song(model: ConfigDict, size: int) -> None:
    model.name = "songunet"
    model.nf = 128
    model.ch_mult = (2, 2, 2) if size == 32 else (1, 2, 2, 2)
    model.num_res_blocks = 4
    model.attn_resolutions = (16,)
    model.augment_dim = 9


def ddpmpp(config: ConfigDict) -> None:
    """DDPM++: 55,735,299 parameters at 32x32 with classes, 61,805,571 at 64x64."""
    _song(config.model, config.data.image_size)
    config.model.embedding_type = "positional"
    config.model.ch_mult_noise = 1
    config.model.progressive_input = "none"
    config.model.fir = False
    config.model.fir_kernel = (1, 1)


def ncsnpp(config: ConfigDict) -> None:
    """NCSN++: 56,400,771 parameters at 32x32 with classes, 62,761,219 at 64x64."""
    _song(config.model, config.data.image_size)
    config.model.embedding_type = "fourier"
    config.model.ch_mult_noise = 2
    config.model.progressive_input = "residual"
    config.model.fir = True
    config.model.fir_kernel = (1, 3, 3, 1)


def adm(config: ConfigDict) -> None:
    """ADM: 295,899,267 parameters."""
    model = config.model
    model.name = "adm"
    model.nf = 192
    model.ch_mult = (1, 2, 3, 4)
    model.num_res_blocks = 3
    model.attn_resolutions = (32, 16, 8)
    model.augment_dim = 0
    model.dtype = "bfloat16"


FFHQ = partial(Setup, PICTURES, False, dropout=0.05, batch=256, lr=2e-4)
AFHQV2 = partial(Setup, PICTURES, False, dropout=0.25, batch=256, lr=2e-4)
SETUPS = {
    "cifar10-32x32-cond-vp": Setup(CIFAR10, True, ddpmpp, dropout=0.13),
    "cifar10-32x32-cond-ve": Setup(CIFAR10, True, ncsnpp, dropout=0.13),
    "cifar10-32x32-uncond-vp": Setup(CIFAR10, False, ddpmpp, dropout=0.13),
    "cifar10-32x32-uncond-ve": Setup(CIFAR10, False, ncsnpp, dropout=0.13),
    "ffhq-64x64-uncond-vp": FFHQ(ddpmpp),
    "ffhq-64x64-uncond-ve": FFHQ(ncsnpp),
    "afhqv2-64x64-uncond-vp": AFHQV2(ddpmpp),
    "afhqv2-64x64-uncond-ve": AFHQV2(ncsnpp),
    "imagenet-64x64-cond-adm": Setup(
        IMAGENET, True, adm, dropout=0.1, batch=4096, lr=1e-4, mimg=2500, half_life_mimg=50
    ),
}
DEFAULT = "cifar10-32x32-cond-vp"


def base() -> ConfigDict:
    """Settings common to all set-ups."""
    config = get_default()
    sde, model, training, optim = config.sde, config.model, config.training, config.optim
    sde.name = "edm"
    sde.sigma_min, sde.sigma_max = 0.002, 80.0
    model.sigma_data = 0.5
    config.data.centered = True
    config.data.random_flip = False
    training.time_law = "lognormal_sigma"
    training.sigma_mean, training.sigma_std = -1.2, 1.2
    training.weighting = "edm"
    training.reduce_mean = False
    training.ema_rampup = 0.05
    optim.grad_clip = 0.0
    sampling = config.sampling
    sampling.predictor = "heun"
    sampling.corrector = "none"
    sampling.grid = "karras"
    return config


def put(setup: Setup, config: ConfigDict) -> None:
    """Change `config` into that of a set-up."""
    data, model, training, optim = config.data, config.model, config.training, config.optim
    data.dataset, data.image_size = setup.data.dataset, setup.data.size
    setup.network(config)
    model.num_classes = setup.data.classes if setup.conditional else 0
    model.dropout = setup.dropout
    model.ema_rate = 0.5 ** (setup.batch / (setup.half_life_mimg * 1e6))
    training.batch_size = setup.batch
    training.augment = setup.data.augment
    training.n_iters = -(-setup.mimg * 1_000_000 // setup.batch)
    optim.lr = setup.lr
    optim.warmup = round(RAMP_IMAGES / setup.batch)
    config.sampling.num_steps = setup.data.heun_steps


def fid(config: ConfigDict) -> None:
    """Settings of `--mode eval` for the published FID, the least of three times 50,000 samples."""
    variants.fid(config)
    config.eval.repeats = 3


VARIANTS: dict[str, Variant] = {
    **{name: partial(put, setup) for name, setup in SETUPS.items()},
    "smoke": variants.smoke,
    "fid": fid,
}


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    config = base()
    put(SETUPS[DEFAULT], config)
    return variants.apply(config, argument, VARIANTS)
