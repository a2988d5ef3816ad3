"""Stable Diffusion's networks, in the space of their autoencoders' latents.

    python main.py --mode import --import_from DIR --workdir runs/sd       DIR as diffusers has it
    python main.py --config configs/stable_diffusion.py:v1,smoke --mode train --workdir runs/smoke

Rombach et al., 2022, arXiv:2112.10752; SDXL: Podell et al., 2023, arXiv:2307.01952. Parameters of
the published networks, and the side of the latents and of the pictures that they stand for:

    v1             859,520,964     64      512
    v1_inpainting  859,535,364     64      512    given a mask and the latents of what it leaves
    v2             865,910,724     96      768    v-prediction
    v2_base        865,910,724     64      512
    v2_inpainting  865,925,124     64      512    as v1_inpainting
    xl           2,567,463,684    128     1024    given a pooled text and six sizes
    xl_refiner   2,259,526,660    128     1024    given a pooled text and five numbers
    x4             473,398,020    128      512    given 128 pixels and their noise; v-prediction

An import needs no config. Training is from arrays of latents and of conditions, data.data_dir.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from ml_collections import ConfigDict

from configs import variants
from configs.schema import get_default
from configs.variants import Variant

TOKENS = 77
"""Tokens of a text of CLIP."""


class StableRelease(NamedTuple):
    """One network: what its kin do not share."""

    parameters: int
    side: int
    """Height and width of the latents."""
    token: int
    """Features of a token of the text."""
    depth: tuple[int, ...]
    nf: int = 320
    mult: tuple[int, ...] = (1, 2, 4, 4)
    middle: int = 1
    heads: int = 0
    """Number of heads; 0: heads of 64 channels."""
    prediction: str = "noise"
    vector: int = 0
    numbers: int = 0
    """Entries at the end of the vector that are embedded as waves."""
    image: int = 0
    """Channels of the image beside the latents."""
    rows: int = 0
    """Levels of noise in the image."""
    cross: tuple[int, ...] = ()
    betas: tuple[float, float] = (0.85, 12.0)
    """sde.num_scales times the first and the last beta."""
    scale: float = 0.18215
    """Factor of the latents."""


FIRST, WAVES = (1, 1, 1, 0), 256
RELEASES: Mapping[str, StableRelease] = {
    "v1": StableRelease(859_520_964, 64, 768, FIRST, heads=8),
    "v1_inpainting": StableRelease(859_535_364, 64, 768, FIRST, heads=8, image=5),
    "v2": StableRelease(865_910_724, 96, 1024, FIRST, prediction="v"),
    "v2_base": StableRelease(865_910_724, 64, 1024, FIRST),
    "v2_inpainting": StableRelease(865_925_124, 64, 1024, FIRST, image=5),
    "xl": StableRelease(
        2_567_463_684, 128, 2048, (0, 2, 10), mult=(1, 2, 4), middle=10, vector=1286, numbers=6,
        scale=0.13025,
    ),
    "xl_refiner": StableRelease(
        2_259_526_660, 128, 1280, (0, 4, 4, 0), nf=384, middle=4, vector=1285, numbers=5,
        scale=0.13025,
    ),
    "x4": StableRelease(
        473_398_020, 128, 1024, (0, 1, 1, 1), nf=256, mult=(1, 2, 2, 4), heads=8, image=3,
        rows=1000, cross=(1, 2), prediction="v", betas=(0.1, 20.0), scale=0.08333,
    ),
}  # fmt: skip
DEFAULT = "v1"


def base() -> ConfigDict:
    """Settings common to all networks."""
    config = get_default()
    data, model, training = config.data, config.model, config.training
    config.sde.update(name="levels", schedule="scaled_linear", beta_min=0.85, beta_max=12.0)
    data.dataset = "array"
    data.codec = "identity"
    data.condition_codec = "identity"
    data.num_channels = 4
    data.random_flip = False
    model.name = "unet_condition"
    model.num_res_blocks = 2
    model.dropout = 0.0
    model.norm_eps = 1e-5
    model.flip_sin_to_cos = True
    model.freq_shift = 0
    model.downsample_padding = 1
    model.scale_shift = False
    model.resblock_updown = False
    model.condition_dropout = 0.1
    training.continuous = False
    training.reduce_mean = True
    config.optim.optimizer = "AdamW"
    config.optim.lr = 1e-4
    config.optim.weight_decay = 0.01
    config.optim.warmup = 10_000
    config.sampling.guidance = 7.5
    # As diffusers' DDIM: 50 levels, 981, 961, ..., 1, and level 0 after them.
    config.sampling.update(predictor="ddim", grid="published", num_steps=50, steps_offset=1)
    config.sampling.noise_removal = False
    return config


def put(release: StableRelease, config: ConfigDict) -> None:
    """Change `config`, whatever it was, into that of a published network."""
    config.update(base())
    model, data = config.model, config.data
    data.image_size = release.side
    model.nf = release.nf
    model.ch_mult = release.mult
    model.transformer_depth = release.depth
    model.middle_depth = release.middle
    model.num_heads = release.heads
    model.attention_head_dim = 0 if release.heads else 64
    model.cross_levels = release.cross
    model.prediction = release.prediction
    config.sde.beta_min, config.sde.beta_max = release.betas
    if release.vector:
        model.vector_embedding = "sizes"
        model.number_waves = WAVES
        model.vector_features = release.vector + release.numbers * (WAVES - 1)
    if release.rows:
        model.level_embedding = "table"
        model.level_rows = release.rows
    _condition(config, (TOKENS, release.token), release)


def _condition(config: ConfigDict, tokens: tuple[int, int], release: StableRelease) -> None:
    side = config.data.image_size
    kinds: dict[str, tuple[int, ...]] = {"tokens": tokens}
    if release.vector:
        kinds["vector"] = (release.vector,)
    if release.image:
        kinds["image"] = (side, side, release.image)
    if release.rows:
        kinds["level"] = ()
    config.model.condition = "+".join(kinds)
    config.data.condition = sum(kinds.values(), ())


def smoke(config: ConfigDict) -> None:
    """Tiny sizes that 32 groups and every head still divide, with tokens of eight features."""
    variants.smoke(config)
    model, data = config.model, config.data
    model.nf = 32
    model.attention_head_dim = min(model.attention_head_dim, 32)
    model.transformer_depth = tuple(min(depth, 1) for depth in model.transformer_depth)
    model.middle_depth = 1
    before, data.image_size = data.image_size, 16
    shape = [16 if n == before else n for n in data.condition]
    data.condition = (4, 8, *shape[2:])


VARIANTS: dict[str, Variant] = {
    **{name: partial(put, release) for name, release in RELEASES.items()},
    "smoke": smoke,
}


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    config = base()
    put(RELEASES[DEFAULT], config)
    return variants.apply(config, argument, VARIANTS)
