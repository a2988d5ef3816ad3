"""Letters and digits from captions: text to picture, with data that need no download.

    python main.py --config configs/glyphs.py:text --mode train --workdir runs/glyphs
    python main.py --config configs/glyphs.py:text --mode sample --workdir runs/glyphs \
        --config.sampling.captions="bold slanted serif latin capital letter q" \
        --config.sampling.num_samples=16
    python main.py --config configs/glyphs.py:text,smoke ...     seconds, to see that it runs

:text is 16 pixels in black and white, and so is :pixels. Training takes 30 minutes of CPU time,
which two cores that do nothing else have in 15 (it was 26 on two that had more to do). Of 500
samples each, judged by the nearest of all glyphs in all styles, glyph, family, weight and slant are
all right in 99.8% for pairs of glyph and style that training saw, and in 90.4% for pairs that it
did not; the judged glyph explains 0.986 and 0.965 of a sample's variance (docs/text.md).

:autoencoder (32 pixels), :latent (in its latents, data.autoencoder=WORKDIR) and :cascade (64 pixels
of 16, sampling.base=WORKDIR of :text) take 12, 35 and 49 minutes of CPU time: all right in 91.4%
of pairs that training did not see in latents, and in 92.6% in the chain. :colours takes 40, and has
95.0% right with both colours, 77.8% for pairs that training did not see.
"""

from ml_collections import ConfigDict

from configs import variants
from configs.defaults import FROM_DATA
from configs.schema import get_default


def base() -> ConfigDict:
    """16 pixels, 62 letters and digits in 16 styles, black on white.

    (Karras et al. 2022, arXiv:2206.00364: preconditioning, law of the noise, weighting, sampler.)
    """
    config = get_default()
    data, sde, model, training = config.data, config.sde, config.model, config.training
    data.dataset = "glyphs"
    data.image_size = 16
    data.num_channels = 1
    data.centered = True
    data.random_flip = False  # letters have a left and a right
    data.condition_codec = "identity"
    sde.name = "edm"
    sde.sigma_min, sde.sigma_max = 0.002, 40.0
    model.name = "unet"
    model.sigma_data = FROM_DATA["model.sigma_data"]
    model.nf = 32
    model.ch_mult = (1, 1, 2)
    model.num_res_blocks = 1
    model.attn_resolutions = (8, 4)
    model.attention_head_dim = 32
    model.skip_rescale = False
    model.embedding_type = "fourier"
    model.dropout = 0.1  # without it held-out pairs get worse after half of the updates
    model.condition = "text"
    model.condition_dropout = 0.1  # for classifier-free guidance
    model.pooled_tokens = True
    model.text_width = 96
    model.text_layers = 1
    model.text_heads = 4
    model.ema_rate = 0.999
    training.batch_size = 64
    training.time_law = "lognormal_sigma"
    training.sigma_mean = 0.0
    training.weighting = "edm"
    training.stratified_times = True
    training.ema_warmup = True
    training.log_freq = 100
    periods(config, 3500)
    optim, sampling = config.optim, config.sampling
    optim.optimizer = "AdamW"
    optim.weight_decay = 0.05
    optim.lr = 2e-3
    optim.warmup = 100
    optim.schedule = "cosine"
    sampling.predictor = "dpm_solver_pp"
    sampling.corrector = "none"
    sampling.grid = "karras"
    sampling.nfe = 25
    sampling.guidance = 2.0
    sampling.num_samples = sampling.batch_size = 124
    config.eval.extractor = "pixels"
    return config


def periods(config: ConfigDict, n_iters: int) -> None:
    """Train for `n_iters` updates, with five measurements of the held-out loss on the way."""
    training = config.training
    training.n_iters = training.snapshot_freq = n_iters
    training.eval_freq = training.snapshot_freq_for_preemption = max(1, n_iters // 5)


def text(config: ConfigDict) -> None:
    """`base`, as it is."""


def colours(config: ConfigDict) -> None:
    """Any of ten colours on any other, named in captions."""
    config.data.colours = "palette"
    config.data.num_channels = 3
    config.model.dropout = 0.0  # the colours are variety enough, and 3,500 updates with it too few
    periods(config, 7000)


def autoencoder(config: ConfigDict) -> None:
    """An autoencoder of 32 pixels: latents of 8 x 8 positions with 4 channels."""
    data, model, training = config.data, config.model, config.training
    data.image_size = 32
    model.name = "autoencoder"
    model.nf = 16
    model.ch_mult = (1, 2, 4)
    model.norm_num_groups = 8
    model.latent_channels = 4
    model.attn_resolutions = ()
    model.add_attention = False
    model.condition = "none"
    model.condition_dropout = 0.0
    model.dropout = 0.0
    training.objective = "autoencoder"
    training.kl_weight = 1e-3
    training.batch_size = 32
    config.sampling.guidance = 1.0  # it is told nothing
    periods(config, 2000)


def latent(config: ConfigDict) -> None:
    """32 pixels, in the latents of the autoencoder whose workdir data.autoencoder names."""
    config.data.image_size = 32
    config.data.codec = "autoencoder"
    config.data.draws = 8  # each is coded once
    config.model.sigma_data = 1.0
    config.model.ch_mult = (2, 4)
    periods(config, 4000)


def cascade(config: ConfigDict) -> None:
    """The stage after `text`: 64 pixels of pictures of 16, of whose noise it is told the level."""
    data, model, training, sampling = config.data, config.model, config.training, config.sampling
    data.image_size = 64
    data.coarse = (16,)
    data.draws = 1  # without captions they would be the same
    model.nf = 16
    model.ch_mult = (1, 2, 2, 4)
    model.attn_resolutions = ()
    model.add_attention = False
    model.attention_head_dim = 0
    model.dropout = 0.0
    model.condition = "image+level"
    model.condition_known = False
    model.condition_dropout = 0.0
    training.coarse_level = 0.5
    training.batch_size = 16
    sampling.coarse_level = 0.1
    sampling.guidance = 1.0
    periods(config, 3000)


def smoke(config: ConfigDict) -> None:
    """Tiny sizes: the whole path, training and sampling, in seconds."""
    variants.smoke(config)
    config.sampling.nfe = 0
    config.data.glyphs = "capitals"
    config.data.draws = 2
    config.model.ch_mult = (1, 1)
    config.model.attn_resolutions = (8,) if config.model.condition == "text" else ()
    config.model.attention_head_dim = 16
    config.model.text_width = 16
    config.model.text_heads = 2
    config.optim.warmup = 2


VARIANTS = {
    "text": text,
    "pixels": text,
    "colours": colours,
    "autoencoder": autoencoder,
    "latent": latent,
    "cascade": cascade,
    "smoke": smoke,
}


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    return variants.apply(base(), argument, VARIANTS)
