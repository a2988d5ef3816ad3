"""A cascade of handwritten digits (scikit-learn): 4x4 pictures, which a second model makes 8x8.

    python main.py --config configs/cascade_digits.py:base --mode train --workdir runs/base
    python main.py --config configs/cascade_digits.py:upsample --mode train --workdir runs/upsample
    python main.py --config configs/cascade_digits.py:upsample --mode sample \
        --workdir runs/upsample --config.sampling.base=runs/base
    python main.py --config configs/cascade_digits.py:upsample --mode eval --workdir runs/upsample
    python main.py --config configs/cascade_digits.py:upsample --mode eval --workdir runs/upsample \
        --config.sampling.base=runs/base --config.sampling.coarse_level=0.1

The last two measure the second stage alone, given coarse pictures of held-out digits, and the
chain. :upsample,plain is trained without noise in the coarse pictures; :smoke is a size that runs
in seconds. docs/cascades.md has what they give.
"""

from ml_collections import ConfigDict

from configs import digits, variants


def base(config: ConfigDict) -> None:
    """The first stage: averages of 2x2 pixels, given the class."""
    config.data.image_size = 4
    config.model.attn_resolutions = (2,)
    config.eval.extractor = "pixels"  # that of the digits is of 8x8


def upsample(config: ConfigDict) -> None:
    """The second stage: digits of 8x8, given the coarse picture, its noise and the class."""
    config.data.coarse = (4,)
    config.model.condition = "image+level"
    config.model.condition_known = False  # a coarse picture is known everywhere
    config.training.coarse_level = 1.0
    config.sampling.coarse_level = 0.1


def plain(config: ConfigDict) -> None:
    """`upsample` without noise in the coarse pictures."""
    config.model.condition = "image"
    config.training.coarse_level = config.sampling.coarse_level = 0.0


VARIANTS = {"base": base, "upsample": upsample, "plain": plain, "smoke": digits.smoke}


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    config = digits.base()
    config.sde.name = "vp"
    return variants.apply(config, argument, VARIANTS)
