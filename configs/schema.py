"""Every setting of a config: its default, its rule, and what it does.

A setting is one line below. `check` compares a config with this table before anything is built:
unknown keys (with the nearest known name), types and ranges. What only the library can judge,
such as names in its tables and combinations, is checked where the object is built.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from configs.names import did_you_mean
from untrusted import plain, shown


class Rule(NamedTuple):
    """A condition on a value and the words that state it."""

    holds: Any
    words: str


LARGEST = 1e30
"""Of any number: its square is beyond float32, its value is not."""
LONGEST_TEXT, LONGEST_TUPLE = 4096, 64
"""Characters of a text, and entries of a tuple."""
INT32 = 2**31 - 1
"""Updates are counted, and samples numbered, in 32 bits."""


def whole(least: int, most: int) -> Rule:
    """Integers of a range; the upper end is beyond any use and within what can be built."""
    return Rule(lambda v: least <= v <= most, f"from {least:,} to {most:,}")


def entries(rule: Rule) -> Rule:
    """Tuples whose every entry keeps a rule."""
    return Rule(lambda v: all(map(rule.holds, v)), f"a tuple of numbers {rule.words}")


ANY = Rule(lambda v: True, "")
POSITIVE = Rule(lambda v: v > 0, "positive")
NOT_NEGATIVE = Rule(lambda v: v >= 0, "zero or positive")
FRACTION = Rule(lambda v: 0 <= v < 1, "in [0, 1)")
RATES = Rule(lambda v: all(0 <= r < 1 for r in v), "a tuple of rates in [0, 1)")
AXIS = Rule(lambda v: 0 < v <= 2**20 or v == -1, f"from 1 to {2**20:,}, or -1 for what is left")
RANGE = Rule(lambda v: not v or (len(v) == 2 and v[0] < v[1]), "() or two ascending numbers")
BOUNDARY = Rule(lambda v: 0 <= v < 1, "in [0, 1), where 0 stands for the SDE's own")
SEED = Rule(lambda v: 0 <= v < 2**32, "from 0 to 4,294,967,295, 32 bits")
UPDATES, PERIOD = whole(1, INT32), whole(0, INT32)
BATCH, IMAGES = whole(1, 2**20), whole(1, 10**8)
LEVELS, STEPS = whole(2, 10_000), whole(0, 10_000)
ROUNDS = whole(1, 10_000)
TRIES = whole(1, 10**7)
SIDE, CHANNELS = whole(1, 16_384), whole(1, 2**16)
BLOCKS, CLASSES = whole(1, 64), whole(0, 2**20)
MULTIPLES = entries(whole(1, 1024))


class Setting(NamedTuple):
    """A default value (its type is the setting's type), a rule, and what the setting does.

    travels: whether it goes with a model from one user to another: out into the files that
      `--mode export` writes, in from those that `--mode import` reads. It does where it says what
      the model is, how it is trained or how it is best sampled, never where it names a file, a
      program, a project or the machine; unless it is `OfModel`, a setting stays at home.
    """

    default: Any
    rule: Rule
    meaning: str
    travels: bool = False


OfModel = partial(Setting, travels=True)


SETTINGS: dict[str, Setting] = {
    "seed": Setting(42, SEED, "of everything random: data order, training, sampling"),
    # sde
    "sde.name": OfModel("vp", ANY, "vp, subvp, ve, edm, learned"),
    "sde.beta_min": OfModel(0.1, POSITIVE, "VP, sub-VP: beta(0)"),
    "sde.beta_max": OfModel(20.0, POSITIVE, "VP, sub-VP: beta(1)"),
    "sde.sigma_min": OfModel(0.01, POSITIVE, "VE: sigma(0); EDM: smallest sigma"),
    "sde.sigma_max": OfModel(50.0, POSITIVE, "VE: sigma(1); EDM: largest sigma"),
    "sde.log_snr_max": OfModel(13.0, ANY, "learned: log-SNR at t = 0"),
    "sde.log_snr_min": OfModel(-10.0, ANY, "learned: log-SNR at t = 1"),
    "sde.num_scales": OfModel(1000, LEVELS, "levels of the model"),
    # model
    "model.name": OfModel("ncsnpp", ANY, "ncsnpp, ddpm, ncsn, ncsnv2_64, ..., songunet, adm"),
    "model.nf": OfModel(128, CHANNELS, "channels at full resolution"),
    "model.ch_mult": OfModel((1, 2, 2, 2), MULTIPLES, "channels per resolution, as multiples "
                             "of nf"),
    "model.ch_mult_emb": OfModel(4, whole(1, 1024), "songunet, adm: embedding's length, times nf"),
    "model.ch_mult_noise": OfModel(1, whole(1, 1024), "songunet: sines and cosines, times nf"),
    "model.num_res_blocks": OfModel(4, BLOCKS, "residual blocks per resolution"),
    "model.attn_resolutions": OfModel((16,), entries(SIDE), "image sizes at which there "
                                      "is attention"),
    "model.dropout": OfModel(0.1, FRACTION, "dropout rate in residual blocks"),
    "model.resamp_with_conv": OfModel(True, ANY, "plain resampling followed by a convolution"),
    "model.conditional": OfModel(True, ANY, "whether the network sees the noise level"),
    "model.fir": OfModel(False, ANY, "anti-aliased resampling"),
    "model.fir_kernel": OfModel((1, 3, 3, 1), ANY, "its kernel"),
    "model.skip_rescale": OfModel(True, ANY, "sums of two paths divided by sqrt(2)"),
    "model.resblock_type": OfModel("biggan", ANY, "ddpm or biggan"),
    "model.progressive": OfModel("none", ANY, "output pyramid: none, output_skip, residual"),
    "model.progressive_input": OfModel("none", ANY, "input pyramid: none, input_skip, residual"),
    "model.progressive_combine": OfModel("sum", ANY, "sum or cat"),
    "model.embedding_type": OfModel("positional", ANY, "positional or fourier"),
    "model.fourier_scale": OfModel(16.0, POSITIVE, "deviation of the Fourier frequencies"),
    "model.init_scale": OfModel(0.0, NOT_NEGATIVE, "scale of the last layers at the start"),
    "model.nonlinearity": OfModel("swish", ANY, "swish, elu, relu, lrelu"),
    "model.normalization": OfModel("GroupNorm", ANY, "GroupNorm; NCSN, NCSNv2: InstanceNorm++, "
                                   "NCSNv2 also InstanceNorm, VarianceNorm"),
    "model.refinenet": OfModel("score_sde", ANY, "NCSN, NCSNv2: score_sde's form or the original"),
    "model.interpolation": OfModel("bilinear", ANY, "NCSN, NCSNv2: bilinear, nearest_neighbor"),
    "model.num_classes": OfModel(0, CLASSES, "class labels the network is given; 0 for none"),
    "model.label_dropout": OfModel(0.0, FRACTION, "class labels hidden while training"),
    "model.augment_dim": OfModel(0, whole(0, 1024), "songunet, adm: augmentation labels it takes"),
    "model.dtype": OfModel("float32", ANY, "of activations: float32 or bfloat16"),
    "model.attention": Setting("auto", ANY, "how computed: auto, plain, blocks, fused"),
    "model.remat": Setting("none", ANY, "computed again in the backward pass: none, products (all "
                           "but these), blocks (all)"),
    "model.norm_num_groups": OfModel(32, CHANNELS, "ddpm_ho: groups of a group normalization"),
    "model.norm_eps": OfModel(1e-6, POSITIVE, "ddpm_ho: added to the variance it divides by"),
    "model.attention_head_dim": OfModel(0, whole(0, 2**16), "ddpm_ho: channels a head; 0: "
                                        "one head"),
    "model.add_attention": OfModel(True, ANY, "ddpm_ho: attention between the lowest two blocks"),
    "model.mid_block_rescale": OfModel(False, ANY, "ddpm_ho: their sums divided by sqrt(2)"),
    "model.downsample_padding": OfModel(0, Rule(lambda v: v in (0, 1), "0 or 1"),
                                        "ddpm_ho: 0: below and to the right, 1: on all sides"),
    "model.flip_sin_to_cos": OfModel(False, ANY, "ddpm_ho: the label's cosines before its sines"),
    "model.freq_shift": OfModel(1, Rule(lambda v: v in (0, 1), "0 or 1"),
                                "ddpm_ho: 1: the label's slowest frequency is 1 / 10000"),
    "model.scale_by_sigma": OfModel(False, ANY, "VE: the raw output is sigma times the score"),
    "model.prediction": OfModel("published", ANY, "what the raw output means"),
    "model.conditioning": OfModel("published", ANY, "how the noise level is told to the network"),
    "model.sigma_data": OfModel(0.5, POSITIVE, "EDM: standard deviation of the data"),
    "model.ema_rate": OfModel(0.9999, FRACTION, "of the averaged weights"),
    "model.extra_ema_rates": Setting((), RATES, "of further averages kept beside it"),
    # data
    "data.dataset": OfModel("CIFAR10", ANY, "digits, CIFAR10, CELEBA, tfds, folder, array"),
    "data.tfds_name": Setting("", ANY, "with dataset='tfds': its name there"),
    "data.data_dir": Setting("", ANY, "where the data is, or is kept; empty for the default"),
    "data.image_size": OfModel(32, SIDE, "pixels per side"),
    "data.num_channels": OfModel(3, whole(1, 1024), "1 for grey, 3 for colour"),
    "data.range": Setting((), RANGE, "folder, array: values of black and white, as 0,255 or -1,1; "
                          "(): as their types say"),
    "data.changed": Setting("refuse", Rule(lambda v: v in ("refuse", "accept"), "refuse or accept"),
                            "--mode train in a workdir whose data were others"),
    "data.crop": OfModel(0, whole(0, 2**20), "side of the square cut from a picture; 0: largest"),
    "data.filter": OfModel("bilinear", ANY, "of resizing: bilinear, bicubic"),
    "data.random_flip": OfModel(True, ANY, "flip training images left to right at random"),
    "data.centered": OfModel(False, ANY, "scale to [-1, 1] instead of [0, 1]"),
    "data.uniform_dequantization": OfModel(False, ANY, "spread integer levels over their bins"),
    "data.test_fraction": OfModel(0.1, Rule(lambda v: 0 < v < 1, "in (0, 1)"),
                                  "held out where a dataset has no test split"),
    "data.cache": Setting(True, ANY, "keep decoded images beside the data"),
    # training
    "training.batch_size": OfModel(128, BATCH, "images per update, over all devices"),
    "training.n_iters": OfModel(1_300_001, UPDATES, "updates"),
    "training.n_jitted_steps": Setting(1, ROUNDS, "updates per call of the compiled step"),
    "training.accumulate": Setting(1, BATCH, "micro-batches per update"),
    "training.continuous": OfModel(True, ANY, "continuous times, or the model's levels"),
    "training.reduce_mean": OfModel(True, ANY, "mean over pixels, or half the sum"),
    "training.likelihood_weighting": OfModel(False, ANY, "weight the loss by g(t)^2"),
    "training.eps": OfModel(1e-5, Rule(lambda v: 0 <= v < 1, "in [0, 1)"), "smallest time"),
    "training.time_law": OfModel("uniform", ANY, "uniform, importance (for the likelihood "
                                  "weighting) or lognormal_sigma"),
    "training.sigma_mean": OfModel(-1.2, ANY, "lognormal_sigma: mean of log sigma"),
    "training.sigma_std": OfModel(1.2, POSITIVE, "lognormal_sigma: deviation of log sigma"),
    "training.stratified_times": OfModel(False, ANY, "spread a batch's times evenly"),
    "training.weighting": OfModel("noise", ANY, "noise, likelihood or edm"),
    "training.objective": OfModel("denoising", ANY, "denoising, or variational: the likelihood's "
                                  "bound, and a learned schedule that lowers its variance"),
    "training.augment": OfModel(0.0, Rule(lambda v: 0 <= v <= 1, "in [0, 1]"), "songunet, adm: "
                                "probability of each geometric transformation; 0: none"),
    "training.ema_warmup": OfModel(False, ANY, "let the average forget its start sooner"),
    "training.ema_rampup": OfModel(0.0, NOT_NEGATIVE,
                                   "longest half-life, as a part of the updates so far; 0: any"),
    "training.log_freq": Setting(50, UPDATES, "updates between lines of the log"),
    "training.eval_freq": Setting(5000, PERIOD, "updates between held-out losses; 0: never"),
    "training.snapshot_freq": Setting(50_000, UPDATES, "updates between permanent checkpoints"),
    "training.snapshot_freq_for_preemption": Setting(10_000, UPDATES,
                                                     "updates between checkpoints to resume from"),
    "training.patience": Setting(1, UPDATES, "bad updates (loss not finite or exploded) in a row "
                                 "that end the run; fewer are left out"),
    "training.explosion": Setting(1e4, NOT_NEGATIVE, "a loss of so many times its running mean is "
                                  "bad; 0: any that is finite is good"),
    "training.check_memory": Setting(True, ANY, "refuse to start what will not fit, by estimate"),
    "training.wandb": Setting("", ANY, "log to this project of Weights & Biases as well"
                              "; empty: none"),
    "training.profile_steps": Setting(5, ROUNDS, "--mode profile: calls of the step in a trace"),
    "training.keep": Setting(3, UPDATES, "checkpoints to resume from that are kept"),
    "training.snapshot_sampling": Setting(True, ANY, "draw a sample grid at every snapshot"),
    # optim
    "optim.optimizer": OfModel("Adam", ANY, "Adam or AdamW"),
    "optim.lr": OfModel(2e-4, POSITIVE, "learning rate"),
    "optim.beta1": OfModel(0.9, FRACTION, "decay of the first moment"),
    "optim.beta2": OfModel(0.999, FRACTION, "decay of the second moment"),
    "optim.eps": OfModel(1e-8, POSITIVE, "outside the square root"),
    "optim.weight_decay": OfModel(0.0, NOT_NEGATIVE, "AdamW: decoupled decay"),
    "optim.warmup": OfModel(5000, PERIOD, "updates of linear warm-up from 0"),
    "optim.schedule": OfModel("constant", ANY, "after warm-up: constant, cosine, linear to 0"),
    "optim.grad_clip": OfModel(1.0, ANY, "largest global norm; not above 0: no clipping"),
    # sampling
    "sampling.predictor": OfModel("euler_maruyama", ANY, "see docs/samplers.md for all of them"),
    "sampling.corrector": OfModel("none", ANY, "langevin, ald, posterior, none"),
    "sampling.pc_order": OfModel("corrector_first", ANY, "corrector_first or predictor_first"),
    "sampling.probability_flow": OfModel(False, ANY, "the predictor's deterministic form"),
    "sampling.order": OfModel(0, whole(0, 16), "of the solver's family; 0: its usual one"),
    "sampling.form": OfModel("noise", ANY, "Runge-Kutta, adams_bashforth: noise, data, velocity, "
                             "angle, log_snr, time"),
    "sampling.high_order_start": OfModel(True, ANY, "multistep: first steps as good as the order"),
    "sampling.second_order": OfModel("published", ANY, "weights of two nodes: published or exact"),
    "sampling.ancestral_variance": OfModel("posterior", ANY, "posterior or kernel"),
    "sampling.eta": OfModel(-1.0, ANY, "noise of ddim and sde_dpm_solver_pp; below 0: 0 and 1"),
    "sampling.gamma": OfModel(2.0, ANY, "accelerated: weight of the newest evaluation"),
    "sampling.mu": OfModel(0.0, FRACTION, "accelerated: noise"),
    "sampling.tau": OfModel(1.0, NOT_NEGATIVE, "sa_solver, stochastic_heun: noise"),
    "sampling.tau_min": OfModel(0.05, POSITIVE, "sa_solver: least sigma / alpha with noise"),
    "sampling.tau_max": OfModel(1.0, POSITIVE, "sa_solver: largest sigma / alpha with noise"),
    "sampling.s_churn": OfModel(0.0, NOT_NEGATIVE, "edm: noise added over the whole run"),
    "sampling.s_min": OfModel(0.0, NOT_NEGATIVE, "edm: least sigma / alpha that is churned"),
    "sampling.s_max": OfModel(1e30, POSITIVE, "edm: largest sigma / alpha that is churned"),
    "sampling.s_noise": OfModel(1.0, POSITIVE, "edm: deviation of that noise"),
    "sampling.restart_solver": OfModel("heun", ANY, "restart: any solver of fixed steps"),
    "sampling.restart_min": OfModel(0.05, POSITIVE, "restart: sigma / alpha at which it begins"),
    "sampling.restart_max": OfModel(0.3, POSITIVE, "restart: sigma / alpha it goes back to"),
    "sampling.restart_steps": OfModel(5, ROUNDS, "restart: steps of each way down"),
    "sampling.restart_times": OfModel(1, STEPS, "restart: how many"),
    "sampling.rtol": OfModel(0.0, NOT_NEGATIVE, "adaptive solvers' tolerance; 0: their own"),
    "sampling.atol": OfModel(0.0, NOT_NEGATIVE, "the same, for what is near 0"),
    "sampling.max_steps": OfModel(2_000, TRIES, "adaptive solvers: steps tried at most"),
    "sampling.ode_solver": OfModel("dopri5", ANY, "ode: tsit5, dopri5, dopri8, bosh3, adams"),
    "sampling.ode_clock": OfModel("log_snr", ANY, "ode: solved in time, sigma or log_snr"),
    "sampling.step_control": OfModel("sample", ANY, "ode: steps by each sample, or by the batch"),
    "sampling.snr": OfModel(0.16, POSITIVE, "of langevin's steps"),
    "sampling.delta": OfModel(0.1, Rule(lambda v: 0 < v <= 1, "in (0, 1]"),
                              "posterior: share of the noise that is renewed"),
    "sampling.n_steps_each": OfModel(1, ROUNDS, "corrector steps per predictor step"),
    "sampling.norm": OfModel("noise_level", ANY, "langevin's norms: noise_level, sample, batch"),
    "sampling.guidance_kind": OfModel("classifier_free", ANY, "none or classifier_free; of every "
                                      "mode that follows the score: samples, likelihoods, codes"),
    "sampling.guidance": OfModel(1.0, NOT_NEGATIVE, "classifier-free: weight of the class; 1: "
                                 "none, 0: no class (needs model.label_dropout in training)"),
    "sampling.guidance_min": OfModel(0.0, NOT_NEGATIVE, "least sigma / alpha that is guided"),
    "sampling.guidance_max": OfModel(1e30, POSITIVE, "largest sigma / alpha that is guided"),
    "sampling.noise_removal": OfModel(True, ANY, "return the denoised last state"),
    "sampling.num_steps": OfModel(0, STEPS, "of the time grid; 0: sde.num_scales; of "
                                  "adaptive solvers: times at which a corrector acts"),
    "sampling.nfe": OfModel(0, STEPS, "above 0: instead of num_steps, as many steps as "
                            "so many evaluations allow"),
    "sampling.grid": OfModel("uniform", ANY, "uniform, quadratic, log_snr, karras, vp, iddpm, "
                             "flow, trailing, leading"),
    "sampling.shift": OfModel(1.0, POSITIVE, "of the flow grid"),
    "sampling.rho": OfModel(7.0, POSITIVE, "of the karras grid"),
    "sampling.eps": OfModel(0.0, BOUNDARY, "last time"),
    "sampling.num_samples": Setting(64, IMAGES, "how many"),
    "sampling.batch_size": Setting(64, BATCH, "at a time; changes no sample"),
    "sampling.frames": Setting(0, STEPS, "of an animation, at most one per step; 0: "
                               "none"),
    "sampling.step": Setting(0, PERIOD, "the checkpoint; 0: the newest"),
    "sampling.ema": Setting(True, ANY, "averaged weights (the first rate) or raw ones"),
    # eval
    "eval.batch_size": Setting(256, BATCH, "images at a time on held-out data"),
    "eval.num_samples": Setting(1000, IMAGES, "--mode eval, samplers: images of each cell"),
    "eval.metrics": Setting("all", ANY, "--mode eval: all that can be computed from samples, or "
                            "names: fid, fid_infinity, kid, inception_score, precision_recall, "
                            "sfid, class_fid, sliced, memorisation, authenticity, noise_error, "
                            "bits_per_dim"),
    "eval.extractor": Setting("inception", ANY, "--mode eval, stats: inception, dinov2, digits, "
                              "pca, pixels, or FILE.py:FUNCTION of your own"),
    "eval.weights": Setting("", ANY, "the file of the weights of inception or dinov2"),
    "eval.resize": Setting("tf1", ANY, "inception: tf1, as first published, or half_pixel, as "
                           "pytorch-fid"),
    "eval.reference": Setting("train", ANY, "--mode eval, stats: train, test, all, or a .npz file "
                              "of statistics"),
    "eval.samples": Setting("", ANY, "--mode eval: a .npy or .npz file of samples, instead of "
                            "drawing them"),
    "eval.range": Setting((), RANGE, "values of black and white in eval.samples and eval.images; "
                          "(): as their types say"),
    "eval.quantize": Setting("round", ANY, "samples to levels: round (to the nearest) or truncate"),
    "eval.checkpoints": Setting("newest", ANY, "--mode eval: newest, all, or steps as '500,1000'"),
    "eval.ema_rates": Setting((), RATES, "--mode eval: averages to evaluate, 0 for the raw "
                              "weights; (): as sampling.ema says"),
    "eval.held_out": Setting(True, ANY, "--mode eval: measure held-out images beside samples"),
    "eval.samplers": Setting(
        "ddim; heun; dpm_solver_pp; dpm_solver_pp order=3; deis; unipc; edm s_churn=10; "
        "ancestral; sde_dpm_solver_pp; er_sde; euler_maruyama; euler_maruyama corrector=langevin",
        ANY, "--mode samplers: what to compare, with settings of its own: 'unipc order=2; ...'",
    ),
    "eval.sampler_nfe": Setting((5, 10, 20, 50, 100), Rule(
        lambda v: bool(v) and all(type(n) is int and 0 < n <= 10_000 for n in v),
        "positive integers of at most 10,000"),
        "--mode samplers: evaluations per image",
    ),
    "eval.split": Setting("test", ANY, "--mode likelihood, encode, interpolate: test, train, or "
                          "(interpolate) prior"),
    "eval.images": Setting("", ANY, "the same: a .npy or .npz file of images instead of a split"),
    "eval.num_images": Setting(0, PERIOD, "the same: the first so many; 0: all"),
    "eval.likelihood": Setting("flow", ANY, "flow (exact), bound (of the SDE), discrete_bound"),
    "eval.units": Setting("bits_per_dim", ANY, "bits_per_dim (of integer levels) or nats"),
    "eval.bins": Setting("equal", ANY, "of level v of L: equal, [v, v + 1] / L, as published, or "
                         "nearest, around v / (L - 1)"),
    "eval.dequantization": Setting("uniform", ANY, "uniform, truncated_normal, or none (bounds)"),
    "eval.repeats": Setting(1, ROUNDS, "--mode eval: independent sets of samples; --mode "
                            "likelihood: dequantizations and probes of every image"),
    "eval.importance_samples": Setting(1, ROUNDS, "dequantizations inside the logarithm"),
    "eval.trace": Setting("hutchinson", ANY, "of the Jacobian: hutchinson (probes) or exact"),
    "eval.probe": Setting("rademacher", ANY, "hutchinson: rademacher or gaussian"),
    "eval.num_probes": Setting(1, ROUNDS, "hutchinson: probes per image"),
    "eval.eps": Setting(0.0, BOUNDARY, "smallest time of likelihood and codes"),
    "eval.ode_solver": Setting("adams", ANY, "tsit5, dopri5, dopri8, bosh3, adams"),
    "eval.ode_clock": Setting("log_snr", ANY, "solved in time, sigma or log_snr"),
    "eval.step_control": Setting("sample", ANY, "steps by each sample, or by the batch"),
    "eval.rtol": Setting(1e-4, POSITIVE, "the solver's tolerance"),
    "eval.atol": Setting(1e-4, POSITIVE, "the same, for what is near 0"),
    "eval.max_steps": Setting(4000, TRIES, "the solver's steps at most"),
    "eval.bound_draws": Setting(16, ROUNDS, "bound: noise levels per image"),
    "eval.bound_steps": Setting(0, whole(0, 10**5), "discrete_bound: steps, even in the log-SNR; "
                                "0: the model's levels"),
    "eval.temperature": Setting(1.0, NOT_NEGATIVE, "factor on codes before they are decoded"),
    "eval.interpolations": Setting(8, whole(2, 10_000),
                                   "--mode interpolate: images from one end to the other"),
    # the machine
    "mesh.data": Setting(-1, AXIS, "devices, of all processes, that hold copies of the model"),
    "mesh.fsdp": Setting(1, AXIS, "devices among which one copy of model, averages and optimizer "
                         "is divided; data x fsdp: all devices"),
    "mesh.smallest": Setting(2**14, whole(1, 2**62), "numbers in the smallest array that is "
                             "divided"),
    "compiled": Setting("", ANY, "folder of compiled programs, for the next run; empty: "
                        "~/.cache/score_sde/compiled, 'none': keep none"),
    "cpu_devices": Setting(1, whole(0, 1024), "on CPUs: devices of one thread each that share a "
                           "batch; 1: one device, all threads; 0: one per core"),
}  # fmt: skip


CHOICES: dict[str, tuple[str, ...]] = {
    "sampling.predictor": (
        "probability_flow", "order", "form", "high_order_start", "second_order",
        "ancestral_variance", "eta", "gamma", "mu", "tau", "tau_min", "tau_max", "s_churn", "s_min",
        "s_max", "s_noise", "restart_solver", "restart_min", "restart_max", "restart_steps",
        "restart_times", "rtol", "atol", "max_steps", "ode_solver", "ode_clock", "step_control",
        "num_steps",
    ),
    "sampling.corrector": ("pc_order", "snr", "delta", "n_steps_each", "norm"),
    "sampling.grid": ("shift", "rho"),
    "sampling.guidance_kind": ("guidance", "guidance_min", "guidance_max"),
    "eval.likelihood": (
        "bins", "dequantization", "importance_samples", "trace", "probe", "num_probes",
        "ode_solver", "ode_clock", "step_control", "rtol", "atol", "max_steps", "bound_draws",
        "bound_steps",
    ),
    "training.time_law": ("eps", "sigma_mean", "sigma_std"),
}  # fmt: skip
"""Setting -> those of its section that have an effect or none by what it chooses."""


def chooser(name: str) -> str:
    """The setting whose value decides whether `name` has an effect; '' where there is none."""
    section, _, key = name.partition(".")
    chosen = (by for by, keys in CHOICES.items() if by.startswith(f"{section}.") and key in keys)
    by = next(chosen, {"model": "model.name", "sde": "sde.name"}.get(section, ""))
    return "" if by == name else by


def get_default() -> ConfigDict:
    """A config of all defaults; score_sde's CIFAR-10 values where it has them."""
    config = ConfigDict()
    for name, setting in SETTINGS.items():
        section, _, key = name.rpartition(".")
        if section and section not in config:
            config[section] = ConfigDict()
        (config[section] if section else config)[key] = setting.default
    return config.lock()


def flatten(config: ConfigDict) -> dict[str, Any]:
    """{'section.key': value} of a config; what lies deeper than that stays as it is."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        inner = value.items() if isinstance(value, ConfigDict) else [("", value)]
        flat.update({f"{key}.{k}" if k else str(key): v for k, v in inner})
    return flat


def check_name(name: str) -> None:
    """Raise ValueError, with the nearest known name, if there is no such setting."""
    if name not in SETTINGS:
        raise ValueError(f"unknown setting {plain(name)}{did_you_mean(name, SETTINGS)}")


def check_value(name: str, value: Any) -> None:
    """Raise ValueError, in the user's terms, for a value that setting `name` cannot have."""
    check_name(name)
    setting = SETTINGS[name]
    wanted, given = type(setting.default), type(value)
    if given is not wanted and (wanted, given) != (float, int):
        raise ValueError(f"{name} must be {wanted.__name__}, got {shown(value)} ({given.__name__})")
    if given in (str, tuple):
        most, of = (LONGEST_TEXT, "characters") if given is str else (LONGEST_TUPLE, "numbers")
        if len(value) > most:
            raise ValueError(f"{name} must have at most {most:,} {of}, got {len(value):,}")
    numbers = {str: (), bool: (), tuple: value}.get(given, (value,))
    if not all(type(v) in (int, float) and abs(v) <= LARGEST for v in numbers):
        words = "numbers" if given is tuple else "a number"
        raise ValueError(f"{name} must be {words} of at most {LARGEST:g}, got {shown(value)}")
    if not setting.rule.holds(value):
        raise ValueError(f"{name} must be {setting.rule.words}, got {shown(value)}")


def check(config: ConfigDict) -> None:
    """Raise ValueError, in the user's terms, for the first setting that breaks its rule."""
    flat = flatten(config)
    for name, value in flat.items():
        check_value(name, value)
    missing = [name for name in SETTINGS if name not in flat]
    if missing:
        raise ValueError(f"the config lacks {missing[0]}: start from configs.schema.get_default()")


def of_model(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings that travel with a model; see `Setting`."""
    return {k: v for k, v in settings.items() if k in SETTINGS and SETTINGS[k].travels}
