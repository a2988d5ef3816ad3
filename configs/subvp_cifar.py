"""CIFAR-10, sub-VP SDE, DDPM++ continuous: the published choice for likelihood.

    python main.py --config configs/subvp_cifar.py --mode train --workdir runs/subvp_cifar
    python main.py --config configs/subvp_cifar.py:deep ...    8 blocks per resolution
    python main.py --config configs/subvp_cifar.py:smoke ...   seconds, to see that it runs

Time: 1.3 M updates of 128 images; the authors quote about 3 days on 4 V100 for a CIFAR-10 model.
Published: FID 2.61 (deep 2.41) with this sampler, 3.16 (2.92) by the ODE; 3.02 (2.99) bits/dim.
"""

from ml_collections import ConfigDict

from configs import score_sde, variants


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    config = score_sde.get_config("subvp/cifar10_ddpmpp_continuous")
    # The best published corrector step for VP (paper, table 5), should one be switched on.
    config.sampling.snr = 0.01
    return variants.apply(config, argument, score_sde.CIFAR10_VARIANTS)
