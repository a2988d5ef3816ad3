"""CIFAR-10, VE SDE, NCSN++ continuous: the published choice for sample quality.

    python main.py --config configs/ve_cifar.py --mode train --workdir runs/ve_cifar
    python main.py --config configs/ve_cifar.py:deep ...    8 blocks per resolution
    python main.py --config configs/ve_cifar.py:smoke ...   seconds, to see that it runs

Time: 1.3 M updates of 128 images; the authors quote about 3 days on 4 V100 for a CIFAR-10 model.
Published: FID 2.38, inception score 9.83 (deep 2.20, 9.89) with this sampler at 2,000 evaluations.
"""

from ml_collections import ConfigDict

from configs import score_sde, variants


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    config = score_sde.get_config("ve/cifar10_ncsnpp_continuous")
    return variants.apply(config, argument, score_sde.CIFAR10_VARIANTS)
