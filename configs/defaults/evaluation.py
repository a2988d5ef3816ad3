"""The section `eval`: metrics of samples, likelihoods, latent codes."""

from configs.rules import (
    ANY,
    BATCH,
    BOUNDARY,
    IMAGES,
    NOT_NEGATIVE,
    PERIOD,
    POSITIVE,
    RANGE,
    RATES,
    ROUNDS,
    TRIES,
    Rule,
    whole,
)
from configs.setting import Setting

SETTINGS: dict[str, Setting] = {
    "eval.batch_size": Setting(256, BATCH, "examples processed at a time in evaluation"),
    "eval.num_samples": Setting(1000, IMAGES, "--mode eval, samplers: samples drawn for each "
                                "result"),
    "eval.conditions": Setting(200, IMAGES, "--mode eval of a model that is given conditions: "
                               "number of held-out conditions that share eval.num_samples"),
    "eval.metrics": Setting("all", ANY, "--mode eval: all (that can be computed from samples), or "
                            "names: fid, fid_infinity, kid, inception_score, precision_recall, "
                            "sfid, class_fid, sliced, memorisation, authenticity, noise_error, "
                            "bits_per_dim; all: METRICS in eval_lib/metrics/__init__.py, "
                            "OF_THE_MODEL in modes/evaluation/model_metrics.py"),
    "eval.extractor": Setting("inception", ANY, "--mode eval, stats: network that gives the "
                              "features: inception, dinov2, digits, pca, pixels, or "
                              "FILE.py:FUNCTION of your own; all: EXTRACTORS in "
                              "eval_lib/features/extractors.py"),
    "eval.weights": Setting("", ANY, "file with the weights of inception or dinov2"),
    "eval.resize": Setting("tf1", ANY, "inception: resizing to 299 pixels: tf1 (as first "
                           "published) or half_pixel (as pytorch-fid)"),
    "eval.reference": Setting("train", ANY, "--mode eval, stats: examples to compare samples with: "
                              "train, test, all, or a .npz file of statistics"),
    "eval.samples": Setting("", ANY, "--mode eval: .npy or .npz file of samples to measure; empty: "
                            "draw samples from the model"),
    "eval.range": Setting((), RANGE, "pixel values of black and white in eval.samples and "
                          "eval.images; (): known from the file's number type"),
    "eval.quantize": Setting("round", ANY, "conversion of samples to integer levels: round (to the "
                             "nearest) or truncate (as score_sde)"),
    "eval.checkpoints": Setting("newest", ANY, "--mode eval: checkpoints to evaluate: newest, all, "
                                "or update numbers such as '500,1000'"),
    "eval.ema_rates": Setting((), RATES, "--mode eval: decays of the averaged weights to evaluate, "
                              "0 for the raw weights; (): as sampling.ema says"),
    "eval.held_out": Setting(True, ANY, "--mode eval: also measure held-out examples, as a "
                             "yardstick for the samples"),
    "eval.samplers": Setting(
        "ddim; heun; dpm_solver_pp; dpm_solver_pp order=3; deis; unipc; edm s_churn=10; "
        "ancestral; sde_dpm_solver_pp; er_sde; euler_maruyama; euler_maruyama corrector=langevin",
        ANY, "--mode samplers: samplers to compare, separated by semicolons, each with settings of "
             "its own: 'unipc order=2; ...'",
    ),
    "eval.sampler_nfe": Setting((5, 10, 20, 50, 100), Rule(
        lambda v: bool(v) and all(type(n) is int and 0 < n <= 10_000 for n in v),
        "positive integers of at most 10,000"),
        "--mode samplers: numbers of network evaluations per sample at which samplers are compared",
    ),
    "eval.split": Setting("test", ANY, "--mode likelihood, encode, interpolate: examples to use: "
                          "test, train, or (interpolate only) prior for random codes"),
    "eval.images": Setting("", ANY, "--mode likelihood, encode, interpolate: .npy or .npz file of "
                           "examples instead of a split"),
    "eval.num_images": Setting(0, PERIOD, "--mode likelihood, encode, interpolate: number of "
                               "examples, from the first; 0: all (interpolate: 32)"),
    "eval.likelihood": Setting("flow", ANY, "flow (exact, by the ODE), bound (lower bound by the "
                               "SDE) or discrete_bound (lower bound of a discrete-time model); "
                               "all: ESTIMATORS in eval_lib/likelihood/estimators.py"),
    "eval.units": Setting("bits_per_dim", ANY, "bits_per_dim (of images of integer levels) or "
                          "nats"),
    "eval.bins": Setting("equal", ANY, "interval of [0, 1] that stands for level v of L: equal, "
                         "[v, v + 1] / L (as published), or nearest, centred at v / (L - 1)"),
    "eval.dequantization": Setting("uniform", ANY, "noise added to integer levels: uniform, "
                                   "truncated_normal, or none (bounds only); all: DEQUANTIZATIONS "
                                   "in eval_lib/likelihood/bins.py"),
    "eval.repeats": Setting(1, ROUNDS, "--mode eval: independent sets of samples; --mode "
                            "likelihood: passes over the examples with fresh random draws"),
    "eval.importance_samples": Setting(1, ROUNDS, "dequantizations averaged inside the logarithm; "
                                       "more give a tighter bound"),
    "eval.trace": Setting("hutchinson", ANY, "trace of the Jacobian: hutchinson (an unbiased "
                          "estimate) or exact; all: TRACES in eval_lib/likelihood/divergence.py"),
    "eval.probe": Setting("rademacher", ANY, "hutchinson: distribution of the probes, rademacher "
                          "or gaussian; all: PROBES in eval_lib/likelihood/divergence.py"),
    "eval.num_probes": Setting(1, ROUNDS, "hutchinson: probes per example"),
    "eval.eps": Setting(0.0, BOUNDARY, "smallest time of likelihoods and codes; 0: the default of "
                        "the SDE"),
    "eval.ode_solver": Setting("adams", ANY, "likelihoods and codes: method: tsit5, dopri5, "
                               "dopri8, bosh3 or adams; all: INTEGRATORS in "
                               "samplers/adaptive/integrate.py"),
    "eval.ode_clock": Setting("log_snr", ANY, "likelihoods and codes: variable of integration: "
                              "time, sigma or log_snr; all: CLOCKS in samplers/adaptive/ode.py"),
    "eval.step_control": Setting("sample", ANY, "likelihoods and codes: step sizes chosen for each "
                                 "sample, or one for the whole batch: sample or batch"),
    "eval.rtol": Setting(1e-4, POSITIVE, "likelihoods and codes: relative tolerance of a step"),
    "eval.atol": Setting(1e-4, POSITIVE, "likelihoods and codes: absolute tolerance of a step"),
    "eval.max_steps": Setting(4000, TRIES, "likelihoods and codes: largest number of attempted "
                              "steps"),
    "eval.bound_draws": Setting(16, ROUNDS, "bound: random noise levels per example"),
    "eval.bound_steps": Setting(0, whole(0, 10**5), "discrete_bound: number of levels, evenly "
                                "spaced in log-SNR; 0: the model's own levels"),
    "eval.respacing": Setting("", ANY, "discrete_bound: the model's own levels that it takes, as "
                              "sampling.respacing says them; empty: all"),
    "eval.decoder_variance": Setting("level", ANY, "discrete_bound with a fixed variance: variance "
                                     "of the data given the lowest level: level (its own sigma^2 / "
                                     "alpha^2) or chain (that of the step above it, as published "
                                     "for Improved DDPM); all: DECODER_VARIANCES in "
                                     "eval_lib/likelihood/estimators.py"),
    "eval.cdf": Setting("exact", ANY, "bound, discrete_bound without dequantization: normal "
                        "distribution function of a gray level's probability: exact, or tanh (an "
                        "approximation, as published for Improved DDPM); all: CDFS in "
                        "sde_lib/bins.py"),
    "eval.clip": Setting(False, ANY, "discrete_bound: clamp the denoiser's output to the range of "
                         "the data, as published for Improved DDPM"),
    "eval.temperature": Setting(1.0, NOT_NEGATIVE, "factor applied to codes before they are "
                                "decoded"),
    "eval.interpolations": Setting(8, whole(2, 10_000), "--mode interpolate: examples in each row, "
                                   "both ends included"),
}  # fmt: skip
