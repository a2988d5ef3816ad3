"""Any array: a network that fits its shape, EDM's training, log p in the units of the data.

    python main.py --config configs/arrays.py --mode train --workdir runs/a \
        --config.data.dataset=array --config.data.data_dir=train.npz
    python main.py --config configs/arrays.py --mode train --workdir runs/t \
        --config.data.dataset=table --config.data.data_dir=table.csv
    python main.py --config configs/arrays.py:smoke --mode train --workdir runs/s   seconds

Without a file it trains on breast_cancer, 569 rows of 30 measurements that scikit-learn ships;
wine, diabetes, signals and gaussian_fields are others. Shape, mean and deviation are taken from the
data. A condition beside the data is used if `model.condition` says how: vector, image or tokens.

(Karras et al. 2022, arXiv:2206.00364: preconditioning, law of the noise, weighting and sampler.)
"""

from ml_collections import ConfigDict

from configs import variants
from configs.defaults import FROM_DATA
from configs.schema import get_default


def base() -> ConfigDict:
    """Settings for standardized numbers, which the other configs of arrays start from."""
    config = get_default()
    data, sde, model, training = config.data, config.sde, config.model, config.training
    data.dataset = "breast_cancer"
    data.shape = FROM_DATA["data.shape"]
    data.codec = "standardize"
    data.random_flip = False
    data.uniform_dequantization = False
    sde.name = "edm"
    sde.sigma_min, sde.sigma_max = 0.002, 20.0
    model.name = "auto"
    model.sigma_data = 1.0
    model.nf = 64
    model.ch_mult = (1, 2, 2)
    model.num_res_blocks = 2
    model.attn_resolutions = ()
    model.dropout = 0.0
    model.ema_rate = 0.999
    training.batch_size = 256
    training.n_iters = 10_000
    training.time_law = "lognormal_sigma"
    training.weighting = "edm"
    training.stratified_times = True
    training.ema_warmup = True
    training.log_freq = 200
    training.eval_freq = 2000
    training.snapshot_freq = training.n_iters
    training.snapshot_freq_for_preemption = 2000
    optim, sampling = config.optim, config.sampling
    optim.lr = 1e-3
    optim.warmup = 200
    optim.schedule = "cosine"
    sampling.predictor = "heun"
    sampling.corrector = "none"
    sampling.grid = "karras"
    sampling.num_steps = 32
    sampling.num_samples = sampling.batch_size = 256
    config.eval.units = "nats"
    return config


def periods(config: ConfigDict, n_iters: int) -> None:
    """Train for `n_iters` updates, with five measurements of the held-out loss on the way."""
    training = config.training
    training.n_iters = training.snapshot_freq = n_iters
    training.eval_freq = training.snapshot_freq_for_preemption = max(1, n_iters // 5)


def smoke(config: ConfigDict) -> None:
    """Tiny sizes: the whole path, training and sampling, in seconds."""
    variants.smoke(config)
    config.optim.warmup = 2


VARIANTS = {"smoke": smoke}


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    return variants.apply(base(), argument, VARIANTS)
