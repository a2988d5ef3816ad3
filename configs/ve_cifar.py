"""CIFAR-10, VE SDE, NCSN++ continuous: the published choice for sample quality.

    python main.py --config configs/ve_cifar.py --mode train --workdir runs/ve_cifar
    python main.py --config configs/ve_cifar.py:deep ...    8 blocks per resolution
    python main.py --config configs/ve_cifar.py:smoke ...   seconds, to see that it runs

Time: 1.3 M updates of 128 images; the authors quote about 3 days on 4 V100 for a CIFAR-10 model.
Published: FID 2.38, inception score 9.83 (deep 2.20, 9.89) with this sampler at 2,000 evaluations.
"""

from ml_collections import ConfigDict

from configs import cifar, variants


def get_config(argument: str = "") -> ConfigDict:
    config = cifar.ncsnpp()
    config.sde.name = "ve"
    config.training.reduce_mean = False
    config.sampling.predictor = "reverse_diffusion"
    config.sampling.corrector = "langevin"
    config.sampling.snr = 0.16
    # The published rule adapts to the score's norm; by each sample's own, not the batch's mean.
    config.sampling.norm = "sample"
    return variants.apply(config, argument, cifar.VARIANTS)
