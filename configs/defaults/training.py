"""An update and a run of updates: objective, law of times, averages, checkpoints, the log."""

from configs.rules import (
    ANY,
    BATCH,
    NOT_NEGATIVE,
    PERIOD,
    POSITIVE,
    POSITIVES,
    ROUNDS,
    SHARE,
    UPDATES,
    Rule,
)
from configs.setting import OfModel, Setting

SETTINGS: dict[str, Setting] = {
    "training.batch_size": OfModel(128, BATCH, "examples per update, over all devices"),
    "training.n_iters": OfModel(1_300_001, UPDATES, "total number of updates"),
    "training.n_jitted_steps": Setting(1, ROUNDS, "updates per call of the compiled program; it "
                                       "changes no result"),
    "training.accumulate": Setting(1, BATCH, "parts into which each batch is split to save memory; "
                                   "their gradients are averaged"),
    "training.continuous": OfModel(True, ANY, "train at continuous times; False: only at the "
                                   "sde.num_scales levels"),
    "training.reduce_mean": OfModel(True, ANY, "loss of an example: mean of squared errors over "
                                    "its numbers; False: half their sum"),
    "training.likelihood_weighting": OfModel(False, ANY, "weight the loss by g(t)^2: score_sde's "
                                             "name for training.weighting=likelihood"),
    "training.eps": OfModel(1e-5, Rule(lambda v: 0 <= v < 1, "in [0, 1)"),
                            "smallest time t drawn in training"),
    "training.time_law": OfModel("uniform", ANY, "distribution of training times: uniform, "
                                 "importance (for training.weighting=likelihood) or "
                                 "lognormal_sigma; hybrid, vlb: uniform or loss_second_moment "
                                 "(levels of large losses more often); all: LAWS in "
                                 "train_lib/objective.py, LEVEL_LAWS in train_lib/chain.py"),
    "training.sigma_mean": OfModel(-1.2, ANY, "lognormal_sigma: mean of log(sigma / alpha)"),
    "training.sigma_std": OfModel(1.2, POSITIVE, "lognormal_sigma: standard deviation of log(sigma "
                                  "/ alpha)"),
    "training.stratified_times": OfModel(False, ANY, "spread the times of a batch evenly over "
                                         "their distribution, which lowers the variance of the "
                                         "loss"),
    "training.error": OfModel("squared", ANY, "error of the noise in the loss: squared, or "
                              "absolute (SR3); all: ERRORS in train_lib/objective.py"),
    "training.weighting": OfModel("noise", ANY, "weight of the loss at each noise level: noise, "
                                  "likelihood, data or edm; all: WEIGHTINGS in "
                                  "train_lib/objective.py"),
    "training.objective": OfModel("denoising", ANY, "denoising (score matching), variational (the "
                                  "likelihood bound, which also trains the schedule of "
                                  "sde.name=learned), or of a discrete model vlb (its likelihood "
                                  "bound) or hybrid (denoising, and the bound for "
                                  "model.learn_variance), classification (of a classifier of "
                                  "noisy examples) or autoencoder (of pictures); all: OBJECTIVES "
                                  "in train_lib/objective.py"),
    "training.reconstruction": OfModel("l1", ANY, "autoencoder: error of a reconstructed value: l1 "
                                       "or l2 (its square); all: RECONSTRUCTIONS in "
                                       "train_lib/autoencoding.py"),
    "training.reconstruction_logvar": OfModel(0.0, ANY, "autoencoder: logarithm of the factor by "
                                              "which errors are divided; it is added, too"),
    "training.kl_weight": OfModel(1e-4, NOT_NEGATIVE, "autoencoder: weight of KL(q(z | x) || N(0, "
                                  "I)) beside the reconstruction; both are means over their "
                                  "values, or with training.reduce_mean=False sums"),
    "training.codebook_weight": OfModel(1.0, NOT_NEGATIVE, "vq_autoencoder: weight of the codes' "
                                        "loss"),
    "training.commitment": OfModel(0.25, NOT_NEGATIVE, "vq_autoencoder: weight, in the codes' "
                                   "loss, of the coder's distance from its codes"),
    "training.legacy_commitment": OfModel(False, ANY, "vq_autoencoder: put training.commitment on "
                                          "the codes' distance instead, as published "
                                          "implementations do"),
    "training.lpips": Setting("", ANY, "autoencoder: weights of LPIPS (the reference "
                              "implementation's state_dict, alex or vgg), added to the "
                              "reconstruction error; empty: not added"),
    "training.lpips_weight": OfModel(1.0, NOT_NEGATIVE, "autoencoder: weight of LPIPS"),
    "training.adversary": OfModel("hinge", ANY, "autoencoder with model.discriminator: the "
                                  "discriminator's loss: hinge or vanilla; all: ADVERSARIES in "
                                  "train_lib/adversary.py"),
    "training.adversary_weight": OfModel(0.5, NOT_NEGATIVE, "autoencoder with model.discriminator: "
                                         "weight of the adversarial term, relative to the "
                                         "gradients of the reconstruction"),
    "training.adversary_start": OfModel(50_001, PERIOD, "autoencoder with model.discriminator: "
                                        "updates before the adversarial term acts"),
    "training.vlb_weight": OfModel(0.001, NOT_NEGATIVE, "hybrid: weight of the likelihood bound, "
                                   "in bits per dimension, beside the mean squared error"),
    "training.cdf": OfModel("exact", ANY, "hybrid, vlb: normal distribution function of a gray "
                            "level's probability: exact, or tanh (an approximation, as published); "
                            "all: CDFS in sde_lib/bins.py"),
    "training.augment": OfModel(0.0, Rule(lambda v: 0 <= v <= 1, "in [0, 1]"),
                                "songunet, adm: probability of each geometric transformation of a "
                                "training image; 0: no augmentation"),
    "training.random_crop": OfModel(1.0, Rule(lambda v: 0 < v <= 1, "in (0, 1]"),
                                    "classification: least side, as a share, of the random square "
                                    "that is cut from a training picture and enlarged; 1: none"),
    "training.coarse_level": OfModel(0.0, SHARE, "data.coarse: largest level of the noise in the "
                                     "coarse picture, drawn uniformly from 0 to it for each "
                                     "example; 0: none"),
    "training.coarse_blur": OfModel(0.0, SHARE, "data.coarse: share of the examples whose coarse "
                                    "picture is blurred"),
    "training.coarse_blur_std": OfModel((0.4, 0.6), POSITIVES, "data.coarse: least and largest "
                                        "standard deviation of the blur, in coarse pixels"),
    "training.ema_warmup": OfModel(False, ANY, "use the decay min(rate, (1 + n) / (10 + n)) after "
                                   "n updates in averages of the weights"),
    "training.ema_rampup": OfModel(0.0, NOT_NEGATIVE, "limit the half-life of the averages to this "
                                   "multiple of the updates made so far; 0: no limit"),
    "training.log_freq": Setting(50, UPDATES, "updates between lines of the log"),
    "training.eval_freq": Setting(5000, PERIOD, "updates between measurements of the held-out "
                                  "loss; 0: never"),
    "training.snapshot_freq": Setting(50_000, UPDATES, "updates between checkpoints that are kept "
                                      "forever"),
    "training.snapshot_freq_for_preemption": Setting(10_000, UPDATES,
                                                     "updates between checkpoints to resume from"),
    "training.patience": Setting(1, UPDATES, "number of consecutive bad updates (loss not finite, "
                                 "or exploded) after which training ends; single bad updates "
                                 "before that are skipped"),
    "training.explosion": Setting(1e4, NOT_NEGATIVE, "multiple of its running mean above which a "
                                  "loss counts as exploded; 0: never"),
    "training.check_memory": Setting(True, ANY, "refuse to start if the estimated memory exceeds "
                                     "that of the device"),
    "training.wandb": Setting("", ANY, "project of Weights & Biases to which the log is also sent; "
                              "empty: none"),
    "training.profile_steps": Setting(5, ROUNDS, "--mode profile: calls of the training step that "
                                      "are traced"),
    "training.keep": Setting(3, UPDATES, "number of the newest checkpoints to resume from that are "
                             "kept"),
    "training.snapshot_sampling": Setting(True, ANY, "draw a grid of samples at every permanent "
                                          "checkpoint"),
}  # fmt: skip
