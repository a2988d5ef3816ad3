"""Variants that an argument of a config file names: `--config configs/vp_cifar.py:deep,smoke`."""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

Variant = Callable[[ConfigDict], None]


def apply(config: ConfigDict, argument: str, variants: Mapping[str, Variant]) -> ConfigDict:
    """Apply the comma-separated variants named by `argument`, in order.

    Raises ValueError that lists the known ones for any other name.
    """
    for name in filter(None, argument.split(",")):
        if name not in variants:
            known = ", ".join(sorted(variants))
            raise ValueError(f"the config's argument must be among {known}, got {name!r}")
        variants[name](config)
    return config


def smoke(config: ConfigDict) -> None:
    """Tiny sizes: the whole path, training and sampling, in seconds."""
    config.model.nf = 16
    config.model.num_res_blocks = 1
    config.training.batch_size = 8
    config.training.n_iters = 8
    config.training.log_freq = 2
    config.training.eval_freq = 4
    config.training.snapshot_freq = 8
    config.training.snapshot_freq_for_preemption = 4
    config.sampling.num_samples = 4
    config.sampling.batch_size = 4
    config.sampling.num_steps = 4
    config.eval.batch_size = 8


def fid(config: ConfigDict) -> None:
    """Settings of `--mode eval` for a published FID: 50,000 samples by the config's sampler,
    and all training images. `eval.weights` is the file of the Inception network."""
    config.eval.extractor = "inception"
    config.eval.metrics = "fid, inception_score"
    config.eval.reference = "train"
    config.eval.num_samples = 50_000
    config.eval.held_out = False


def truncated(config: ConfigDict) -> None:
    """`fid` as score_sde measured it: samples truncated, not rounded, to 256 levels."""
    fid(config)
    config.eval.quantize = "truncate"


def ode_fid(config: ConfigDict) -> None:
    """`truncated` with score_sde's probability-flow ODE sampler: RK45 in t, tolerances 1e-5."""
    truncated(config)
    config.sampling.predictor = "ode"
    config.sampling.corrector = "none"
    config.sampling.ode_solver = "dopri5"
    config.sampling.ode_clock = "time"
    config.sampling.rtol = config.sampling.atol = 1e-5


def bits(config: ConfigDict) -> None:
    """Settings of `--mode likelihood` for score_sde's bits/dim: five dequantized passes."""
    config.eval.split = "test"
    config.eval.repeats = 5
    config.eval.eps = 1e-5
    config.eval.ode_solver = "dopri5"
    config.eval.ode_clock = "time"
    config.eval.rtol = config.eval.atol = 1e-5


RECIPES = {"fid": truncated, "ode_fid": ode_fid, "bits": bits}
"""Evaluations that score_sde published, as its authors measured them."""


def likelihood(config: ConfigDict) -> None:
    """Train for likelihood: dequantized data, every log-SNR weighted alike.

    (Song et al. 2021, arXiv:2101.09258: lambda = g^2 with importance-sampled t.)
    """
    config.data.uniform_dequantization = True
    config.training.weighting = "likelihood"
    config.training.time_law = "importance"
    config.training.stratified_times = True
