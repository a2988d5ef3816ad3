"""Common settings of the digits configs: a small network trained in minutes on two CPU cores."""

from ml_collections import ConfigDict

from configs import variants
from configs.schema import get_default


def base() -> ConfigDict:
    """EDM's preconditioning, noise distribution, weighting and sampler, which suit every SDE.

    (Karras et al. 2022, arXiv:2206.00364.) The data, 8x8 digits in [-1, 1], has standard
    deviation 0.75. The network is given the digit's class, hidden from it for a tenth of the
    examples; sampling uses all classes equally often.
    """
    config = get_default()
    data, model, sampling = config.data, config.model, config.sampling
    training, optim = config.training, config.optim
    data.dataset = "digits"
    data.image_size = 8
    data.num_channels = 1
    data.centered = True
    data.random_flip = False
    model.nf = 32
    model.ch_mult = (1, 2)
    model.num_res_blocks = 1
    model.attn_resolutions = (4,)
    model.num_classes = 10
    model.label_dropout = 0.1  # for classifier-free guidance
    model.prediction = "edm"
    model.conditioning = "quarter_log_sigma"
    model.embedding_type = "fourier"
    model.sigma_data = 0.75
    model.dropout = 0.0  # in so few updates the network does not overfit
    model.ema_rate = 0.999
    model.remat = "none"  # to compile more takes more memory than so small images
    training.batch_size = 64
    training.n_iters = 1900
    training.time_law = "lognormal_sigma"
    training.sigma_mean = -0.8
    training.weighting = "edm"
    training.stratified_times = True
    training.ema_warmup = True
    training.log_freq = 50
    training.eval_freq = 950
    training.snapshot_freq = 1900
    training.snapshot_freq_for_preemption = 475
    optim.lr = 2e-3
    optim.warmup = 100
    optim.schedule = "cosine"
    sampling.predictor = "heun"
    sampling.corrector = "none"
    sampling.grid = "karras"
    sampling.num_steps = 18
    sampling.num_samples = 100
    sampling.batch_size = 100
    config.eval.extractor = "digits"
    return config


def likelihood(config: ConfigDict) -> None:
    """Train for likelihood, without classes, so that it is the likelihood of an image alone."""
    variants.likelihood(config)
    config.model.num_classes = 0
    config.model.label_dropout = 0.0
    config.training.n_iters = 2600
    config.training.eval_freq = config.training.snapshot_freq_for_preemption = 650
    config.training.snapshot_freq = 2600
    config.optim.grad_clip = -1.0  # over 24 nats of log-SNR every gradient has norm above 1


def learned(config: ConfigDict) -> None:
    """Train for likelihood with a learned noise schedule."""
    likelihood(config)
    config.sde.name = "learned"
    config.training.objective = "variational"


def classifier(config: ConfigDict) -> None:
    """Train a classifier of noisy digits, for guidance: about 3 minutes on one CPU core.

    With VP 96% of held-out digits are told at sigma / alpha = 0.2, 86% at 0.7 and 41% at 2.
    """
    model, training, optim = config.model, config.training, config.optim
    model.name = "noisy_classifier"
    model.attention_head_dim = 16
    model.dropout = 0.2
    training.objective = "classification"
    training.time_law = "uniform"
    training.n_iters = 2000
    training.eval_freq = training.snapshot_freq_for_preemption = 500
    training.snapshot_freq = 2000
    training.snapshot_sampling = False
    optim.optimizer = "AdamW"
    optim.weight_decay = 0.05
    optim.lr = 1e-3
    optim.schedule = "linear"


def autoencoder(config: ConfigDict) -> None:
    """Train an autoencoder of digits: latents of 4 x 4 positions with 2 channels."""
    model, training = config.model, config.training
    model.name = "autoencoder"
    model.norm_num_groups = 8
    model.latent_channels = 2
    model.attn_resolutions = ()
    model.num_classes = 0
    model.label_dropout = 0.0
    training.objective = "autoencoder"
    training.kl_weight = 1e-3
    training.n_iters = 2000
    training.eval_freq = training.snapshot_freq_for_preemption = 500
    training.snapshot_freq = 2000


def latent(config: ConfigDict) -> None:
    """Diffusion of the latents of an autoencoder, whose workdir data.autoencoder names."""
    config.data.codec = "autoencoder"
    config.model.attn_resolutions = (4,)
    config.model.sigma_data = 1.0


def smoke(config: ConfigDict) -> None:
    """Tiny sizes, which a classifier's 32 groups of channels divide."""
    variants.smoke(config)
    if config.model.name == "noisy_classifier":
        config.model.nf = 32


VARIANTS = {
    "smoke": smoke,
    "likelihood": likelihood,
    "learned": learned,
    "classifier": classifier,
    "autoencoder": autoencoder,
    "latent": latent,
}
