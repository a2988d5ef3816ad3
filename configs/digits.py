"""What the digits configs share: a small network trained in minutes on two CPU cores."""

from ml_collections import ConfigDict

from configs import variants
from configs.schema import get_default


def base() -> ConfigDict:
    """EDM's preconditioning, noise law and weighting, which serve every SDE alike.

    (Karras et al. 2022, arXiv:2206.00364.) The data, 8x8 digits in [-1, 1], has standard
    deviation 0.75.
    """
    config = get_default()
    data, model, training, optim = config.data, config.model, config.training, config.optim
    data.dataset = "digits"
    data.image_size = 8
    data.num_channels = 1
    data.centered = True
    data.random_flip = False
    model.nf = 64
    model.ch_mult = (1, 2)
    model.num_res_blocks = 2
    model.attn_resolutions = (4,)
    model.dropout = 0.1
    model.prediction = "edm"
    model.conditioning = "quarter_log_sigma"
    model.embedding_type = "fourier"
    model.sigma_data = 0.75
    model.ema_rate = 0.999
    training.n_iters = 1200
    training.time_law = "lognormal_sigma"
    training.weighting = "edm"
    training.stratified_times = True
    training.ema_warmup = True
    training.log_freq = 50
    training.eval_freq = 300
    training.snapshot_freq = 600
    training.snapshot_freq_for_preemption = 300
    optim.lr = 2e-3
    optim.warmup = 100
    optim.schedule = "cosine"
    config.sampling.predictor = "ancestral"
    config.sampling.corrector = "none"
    config.sampling.grid = "karras"
    config.sampling.num_steps = 100
    config.sampling.num_samples = 100
    config.sampling.batch_size = 250
    return config


VARIANTS = {"smoke": variants.smoke}
