"""What the published CIFAR-10 configs share (Song et al. 2021, appendix H)."""

from ml_collections import ConfigDict

from configs import variants
from configs.schema import get_default


def ddpmpp() -> ConfigDict:
    """DDPM++ continuous, 61,804,419 parameters: the schema's defaults, data in [-1, 1]."""
    config = get_default()
    config.data.centered = True
    return config


def ncsnpp() -> ConfigDict:
    """NCSN++ continuous, 62,758,915 parameters."""
    config = get_default()
    model = config.model
    model.fir = True
    model.progressive_input = "residual"
    model.embedding_type = "fourier"
    model.scale_by_sigma = True
    model.ema_rate = 0.999
    return config


def deep(config: ConfigDict) -> None:
    """Twice the residual blocks; the published number of updates for them."""
    config.model.num_res_blocks = 8
    config.training.n_iters = 950_001


VARIANTS = {"deep": deep, "smoke": variants.smoke}
