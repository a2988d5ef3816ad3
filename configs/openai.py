"""OpenAI's published models, by the names of their checkpoints.

    python main.py --config configs/openai.py:64x64_diffusion --mode train --workdir runs/adm
    python main.py --config configs/openai.py:64x64_classifier --mode train --workdir runs/judge
    python main.py --config configs/openai.py:64x64_diffusion,smoke ...   to see that it runs
    python main.py --mode import --import_from 64x64_diffusion.pt --workdir runs/adm   needs none

Improved DDPM (Nichol & Dhariwal 2021, arXiv:2102.09672, and the authors' README), with the bits/dim
and FID that they report:

    cifar10_uncond_50M_500K          L_hybrid            3.17 bits/dim at 500,000 updates, FID 3.19
    cifar10_uncond_vlb_50M_500K      L_vlb               2.94, 11.47
    imagenet64_uncond_100M_1500K     L_hybrid            3.57, 19.2
    imagenet64_uncond_vlb_100M_1500K L_vlb               3.53, 40.1
    imagenet64_cond_270M_250K        L_hybrid            FID 2.92
    upsample_cond_500K               from 64 to 256 pixels
    lsun_uncond_100M_1200K_bs128, lsun_uncond_100M_2400K_bs64   bedrooms

Guided diffusion (ADM; Dhariwal & Nichol 2021, arXiv:2105.05233), FID guided by the classifier:

    64x64_diffusion 2.07   128x128_diffusion 2.97   256x256_diffusion 4.59   512x512_diffusion 7.72
    256x256_diffusion_uncond   64_256_upsampler   128_512_upsampler
    lsun_bedroom 1.90 (unguided)   lsun_cat 5.57   lsun_horse 2.57   lsun_horse_nodropout
    64x64_classifier   128x128_classifier   256x256_classifier   512x512_classifier

All but CIFAR-10 are folders of pictures, data.data_dir; ImageNet's has one per class. An upsampler
is given the small picture as an image condition (docs/import.md). What differs from the
authors: activations are float32 (model.dtype), not float16.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from ml_collections import ConfigDict

from configs import variants
from configs.schema import get_default
from configs.variants import Variant


class Origin(NamedTuple):
    """One checkpoint: what its file cannot say, and its training."""

    size: int
    """Height and width of a picture."""
    nf: int
    mult: tuple[float, ...]
    blocks: int
    parameters: int
    schedule: str = "linear"
    levels: int = 1000
    rescale: bool = False
    """True if the network is told t 1000 / N instead of t."""
    attention: tuple[int, ...] = (32, 16, 8)
    heads: int = 0
    wide: int = 64
    """Channels of a head, where their number is not given."""
    order: str = "heads_first"
    scale_shift: bool = True
    updown: bool = True
    classes: int = 0
    small: int = 0
    """Size of the picture that an upsampler is given."""
    dropout: float = 0.0
    loss: str = "hybrid"
    rescaled: bool = False
    """L_hybrid: True if L_vlb has the weight 0.001, as in the paper; if not, 1 / N."""
    batch: int = 256
    lr: float = 1e-4
    updates: int = 500_000
    classifier: bool = False


IMAGENET = 1000
SMALL, LARGE = (1, 2, 3, 4), (1, 1, 2, 2, 4, 4)
"""Multiples of the channels at 64 and at 256 pixels."""
Improved = partial(Origin, attention=(16, 8), heads=4, updown=False, batch=128, updates=500_000)
Cosine = partial(Improved, schedule="cosine", levels=4000, rescale=True, rescaled=True)
Bedroom = partial(
    Improved, 256, 128, LARGE, 2, 113_676_678, attention=(16,), heads=1, scale_shift=False
)
LSUN = partial(Origin, 256, 256, LARGE, 2, 552_814_086, dropout=0.1)
Upsampler = partial(Origin, nf=192, mult=LARGE, blocks=2, classes=IMAGENET)
Classifier = partial(Origin, nf=128, classes=IMAGENET, classifier=True, lr=3e-4, updates=300_000)
PUBLISHED: Mapping[str, Origin] = {
    "cifar10_uncond_50M_500K": Cosine(32, 128, (1, 2, 2, 2), 3, 52_546_438, dropout=0.3),
    "cifar10_uncond_vlb_50M_500K": Cosine(
        32, 128, (1, 2, 2, 2), 3, 52_546_438, dropout=0.3, loss="vlb"
    ),
    "imagenet64_uncond_100M_1500K": Cosine(64, 128, SMALL, 3, 121_063_942, updates=1_500_000),
    "imagenet64_uncond_vlb_100M_1500K": Cosine(
        64, 128, SMALL, 3, 121_063_942, updates=1_500_000, loss="vlb"
    ),
    "imagenet64_cond_270M_250K": Cosine(
        64, 192, SMALL, 3, 273_049_350, rescale=False, rescaled=False, classes=IMAGENET,
        batch=2048, lr=3e-4, updates=250_000,
    ),
    "upsample_cond_500K": Improved(
        256, 192, LARGE, 2, 279_792_390, levels=4000, classes=IMAGENET, small=64,
        batch=256, lr=3e-4,
    ),
    "lsun_uncond_100M_1200K_bs128": Bedroom(updates=1_200_000),
    "lsun_uncond_100M_2400K_bs64": Bedroom(updates=2_400_000, batch=64, lr=2e-5),
    "64x64_diffusion": Origin(
        64, 192, SMALL, 3, 295_904_454, "cosine", order="parts_first", classes=IMAGENET,
        dropout=0.1, batch=2048, lr=3e-4, updates=540_000,
    ),
    "128x128_diffusion": Origin(
        128, 256, (1, 1, 2, 3, 4), 2, 421_529_606, heads=4, classes=IMAGENET, updates=4_360_000
    ),
    "256x256_diffusion": Origin(
        256, 256, LARGE, 2, 553_838_086, classes=IMAGENET, updates=1_980_000
    ),
    "256x256_diffusion_uncond": Origin(
        256, 256, LARGE, 2, 552_814_086, updates=1_980_000
    ),
    "512x512_diffusion": Origin(
        512, 256, (0.5, *LARGE), 2, 558_997_638, classes=IMAGENET, updates=1_940_000
    ),
    "64_256_upsampler": Upsampler(256, parameters=311_795_910, heads=4, small=64),
    "128_512_upsampler": Upsampler(
        512, parameters=308_835_270, attention=(32, 16), small=128, updates=1_050_000
    ),
    "lsun_bedroom": LSUN(),
    "lsun_cat": LSUN(),
    "lsun_horse": LSUN(),
    "lsun_horse_nodropout": LSUN(dropout=0.0),
    "64x64_classifier": Classifier(
        64, mult=SMALL, blocks=4, parameters=65_438_568, schedule="cosine", batch=1024, lr=6e-4
    ),
    "128x128_classifier": Classifier(128, mult=(1, 1, 2, 3, 4), blocks=2, parameters=42_568_040),
    "256x256_classifier": Classifier(256, mult=LARGE, blocks=2, parameters=54_096_360),
    "512x512_classifier": Classifier(512, mult=(0.5, *LARGE), blocks=2, parameters=54_448_360),
}  # fmt: skip
DEFAULT = "cifar10_uncond_50M_500K"


def base() -> ConfigDict:
    """Settings common to all models."""
    config = get_default()
    data, training, optim = config.data, config.training, config.optim
    config.sde.name = "iddpm"
    data.centered = True
    data.random_flip = True
    config.model.ema_rate = 0.9999
    training.continuous = False
    training.reduce_mean = True
    optim.warmup = 0
    optim.grad_clip = 0.0
    sampling = config.sampling
    sampling.predictor = "ancestral"
    sampling.clip = True
    sampling.grid = "respaced"
    sampling.respacing = "250"
    return config


def put(published: Origin, config: ConfigDict) -> None:
    """Change `config`, whatever it was, into that of a published model."""
    config.update(base())
    data, model, training = config.data, config.model, config.training
    data.image_size = published.size
    data.dataset = "CIFAR10" if published.size == 32 else "folder"
    if published.size > 32:
        data.filter = "bicubic"
    config.sde.num_scales = published.levels
    config.sde.schedule = published.schedule
    _network(published, model)
    if published.small:
        model.condition = "image"
        model.condition_known = False
        data.condition = (published.small, published.small, data.num_channels)
        data.condition_codec = "identity"
    training.batch_size = published.batch
    training.n_iters = published.updates
    config.optim.lr = published.lr
    (_classifier if published.classifier else _losses)(published, config)


def _network(published: Origin, model: ConfigDict) -> None:
    model.name = "noisy_classifier" if published.classifier else "guided_unet"
    model.nf = published.nf
    model.ch_mult = tuple(published.mult)
    model.num_res_blocks = published.blocks
    model.attn_resolutions = published.attention
    model.num_heads = published.heads
    model.attention_head_dim = 0 if published.heads else published.wide
    model.attention_order = published.order
    model.scale_shift = published.scale_shift
    model.resblock_updown = published.updown
    model.rescale_timesteps = published.rescale
    model.num_classes = published.classes
    model.dropout = published.dropout


def _losses(published: Origin, config: ConfigDict) -> None:
    training = config.training
    config.model.learn_variance = True
    config.sampling.ancestral_variance = "learned"
    training.objective = published.loss
    training.cdf = "tanh"
    if published.loss == "vlb":
        training.time_law = "loss_second_moment"
    elif not published.rescaled:
        training.vlb_weight = 1 / published.levels


def _classifier(published: Origin, config: ConfigDict) -> None:
    """The authors' training of a classifier: AdamW, the learning rate falling to zero."""
    optim, training = config.optim, config.training
    config.model.pool = "attention"
    optim.optimizer = "AdamW"
    optim.weight_decay = 0.05
    optim.schedule = "linear"
    training.objective = "classification"
    training.random_crop = 0.8
    training.snapshot_sampling = False


def smoke(config: ConfigDict) -> None:
    """Tiny sizes that 32 groups and every head still divide."""
    variants.smoke(config)
    config.model.nf = 64 if any(multiple % 1 for multiple in config.model.ch_mult) else 32
    if config.model.attention_head_dim:
        config.model.attention_head_dim = 32


VARIANTS: dict[str, Variant] = {
    **{name: partial(put, published) for name, published in PUBLISHED.items()},
    "smoke": smoke,
}


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    config = base()
    put(PUBLISHED[DEFAULT], config)
    return variants.apply(config, argument, VARIANTS)
