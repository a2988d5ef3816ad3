"""Drawing samples: method, grid, guidance, and how many."""

from configs.rules import (
    ANY,
    BATCH,
    BOUNDARY,
    CHANNELS,
    FRACTION,
    IMAGES,
    NOT_NEGATIVE,
    PERIOD,
    POSITIVE,
    ROUNDS,
    SECTIONS,
    SHARE,
    STEPS,
    TRIES,
    Rule,
    entries,
    whole,
)
from configs.setting import OfModel, Setting

SETTINGS: dict[str, Setting] = {
    "sampling.predictor": OfModel("euler_maruyama", ANY, "the sampling method (docs/samplers.md); "
                                  "all: PREDICTORS in samplers/named.py"),
    "sampling.corrector": OfModel("none", ANY, "correction after or before each step: none, "
                                  "langevin, ald or posterior; all: CORRECTORS in "
                                  "samplers/named.py"),
    "sampling.pc_order": OfModel("corrector_first", ANY, "order within a step: corrector_first or "
                                 "predictor_first"),
    "sampling.probability_flow": OfModel(False, ANY, "euler_maruyama, reverse_diffusion: solve the "
                                         "probability-flow ODE instead of the SDE"),
    "sampling.order": OfModel(0, whole(0, 16), "order of a method that exists in several; 0: the "
                              "default order of the method"),
    "sampling.form": OfModel("noise", ANY, "Runge-Kutta, adams_bashforth, plms: variable in "
                             "which the ODE is solved: noise, data, velocity, angle, log_snr "
                             "or time; all: FORMS in samplers/planned/forms.py"),
    "sampling.high_order_start": OfModel(True, ANY, "multistep: make the first steps at full "
                                         "order, which above order 3 takes additional network "
                                         "evaluations"),
    "sampling.low_order_end": OfModel(0, STEPS, "dpm_solver_pp, dpm_solver_multistep, their SDEs, "
                                      "unipc: number of steps below which the last ones are of "
                                      "lower order; 0: never"),
    "sampling.euler_end": OfModel(False, ANY, "dpm_solver_pp, dpm_solver_multistep and their SDEs: "
                                  "make the last step by the method of first order"),
    "sampling.even_steps": OfModel(False, ANY, "ddim, plms: steps of floor(sde.num_scales / "
                                   "number of steps) levels, as in diffusers, whether or not they "
                                   "lead to the level that is evaluated next"),
    "sampling.plms_start": OfModel("improved", ANY, "plms: first steps: improved (one step, with "
                                   "the mean of both ends' evaluations) or runge_kutta (three); "
                                   "all: PLMS_STARTS in samplers/named.py"),
    "sampling.timestep_scaling": OfModel(10.0, POSITIVE, "consistency: factor on the number of a "
                                         "level in the weight of x_t"),
    "sampling.second_order": OfModel("published", ANY, "second-order weights: published, or exact "
                                     "for a polynomial; unipc: also bh1"),
    "sampling.third_order": OfModel("exact", ANY, "dpm_solver_pp, dpm_solver_multistep and their "
                                    "SDEs: third-order weights: exact for a polynomial, or "
                                    "published, which are of lower order"),
    "sampling.ancestral_variance": OfModel("posterior", ANY, "ancestral, discrete_bound: variance "
                                           "of the noise: posterior (of NCSN), kernel (of DDPM, "
                                           "larger) or learned (between both, as a network with "
                                           "model.learn_variance says)"),
    "sampling.eta": OfModel(-1.0, ANY, "ddim, sde_dpm_solver_pp, sde_dpm_solver, tcd: scale of "
                            "the noise, 0 for a deterministic sampler; negative: the default, 0 "
                            "for ddim, 0.3 for tcd, else 1"),
    "sampling.gamma": OfModel(2.0, ANY, "accelerated: weight of the newest network evaluation in "
                              "the momentum"),
    "sampling.mu": OfModel(0.0, FRACTION, "accelerated: strength of the added noise; 0: none, 0.5: "
                           "ancestral sampling"),
    "sampling.tau": OfModel(1.0, NOT_NEGATIVE, "sa_solver, stochastic_heun: scale of the noise; 0: "
                            "deterministic"),
    "sampling.tau_min": OfModel(0.05, POSITIVE, "sa_solver: lower end of the range of sigma / "
                                "alpha in which noise is added"),
    "sampling.tau_max": OfModel(1.0, POSITIVE, "sa_solver: upper end of the range of sigma / alpha "
                                "in which noise is added"),
    "sampling.s_churn": OfModel(0.0, NOT_NEGATIVE, "edm: amount of noise added over the whole run "
                                "(EDM's S_churn); 0: deterministic"),
    "sampling.s_min": OfModel(0.0, NOT_NEGATIVE, "edm: lower end of the range of sigma / alpha in "
                              "which noise is added"),
    "sampling.s_max": OfModel(1e30, POSITIVE, "edm: upper end of the range of sigma / alpha in "
                              "which noise is added"),
    "sampling.s_noise": OfModel(1.0, POSITIVE, "edm: standard deviation of the added noise"),
    "sampling.restart_solver": OfModel("heun", ANY, "restart: name of the solver between restarts; "
                                       "any with a fixed number of steps"),
    "sampling.restart_min": OfModel(0.05, POSITIVE, "restart: sigma / alpha at which noise is "
                                    "added again"),
    "sampling.restart_max": OfModel(0.3, POSITIVE, "restart: sigma / alpha after that noise was "
                                    "added"),
    "sampling.restart_steps": OfModel(5, ROUNDS, "restart: steps from restart_max back down to "
                                      "restart_min"),
    "sampling.restart_times": OfModel(1, STEPS, "restart: number of restarts"),
    "sampling.rtol": OfModel(0.0, NOT_NEGATIVE, "adaptive methods: relative tolerance of a step; "
                             "0: the default of the method"),
    "sampling.atol": OfModel(0.0, NOT_NEGATIVE, "adaptive methods: absolute tolerance of a step; "
                             "0: the default of the method"),
    "sampling.max_steps": OfModel(2_000, TRIES, "adaptive methods: largest number of attempted "
                                  "steps"),
    "sampling.ode_solver": OfModel("dopri5", ANY, "ode: method: tsit5, dopri5, dopri8, bosh3 or "
                                   "adams; all: INTEGRATORS in samplers/adaptive/integrate.py"),
    "sampling.ode_clock": OfModel("log_snr", ANY, "ode: variable of integration: time, sigma or "
                                  "log_snr; all: CLOCKS in samplers/adaptive/ode.py"),
    "sampling.step_control": OfModel("sample", ANY, "ode: step sizes chosen for each sample, or "
                                     "one for the whole batch: sample or batch"),
    "sampling.snr": OfModel(0.16, POSITIVE, "langevin, ald: signal-to-noise ratio of the "
                            "corrector, which sets its step size"),
    "sampling.delta": OfModel(0.1, Rule(lambda v: 0 < v <= 1, "in (0, 1]"),
                              "posterior: share of the noise that a corrector step replaces"),
    "sampling.n_steps_each": OfModel(1, ROUNDS, "corrector steps per predictor step"),
    "sampling.norm": OfModel("noise_level", ANY, "langevin: norms that set the step size: "
                             "noise_level (expected), sample or batch (mean, as published); all: "
                             "NORMS in samplers/named.py"),
    "sampling.guidance_kind": OfModel("classifier_free", ANY, "guidance of samples, likelihoods "
                                      "and codes: none, classifier_free, autoguidance, classifier "
                                      "(docs/guidance.md); all: GUIDANCE in sde_lib/guides.py"),
    "sampling.guidance": OfModel(1.0, NOT_NEGATIVE, "weight w of the guidance. classifier_free: 1: "
                                 "as the class says, 0: as without a class; other values than 1 "
                                 "need training with model.label_dropout above 0"),
    "sampling.guide": Setting("", ANY, "autoguidance: workdir of a worse model, empty: this one; "
                              "classifier: workdir of a classifier, or FILE.py:FUNCTION of your "
                              "own, log p(y | x)"),
    "sampling.guide_step": Setting(0, PERIOD, "autoguidance: update number of the guide's "
                                   "checkpoint; 0: the newest"),
    "sampling.guide_ema_rate": Setting(-1.0, Rule(lambda v: v == -1 or 0 <= v < 1, "in [0, 1), or "
                                       "-1"),
                                       "autoguidance: rate of the guide's averaged weights, 0: the "
                                       "raw ones; -1: its model.ema_rate"),
    "sampling.guidance_rescale": OfModel(0.7, Rule(lambda v: 0 <= v <= 1, "in [0, 1]"),
                                         "rescaled: how far the network's output is made as large "
                                         "as without guidance"),
    "sampling.guidance_channels": OfModel(3, CHANNELS, "first_channels: number of channels that "
                                          "are guided"),
    "sampling.guidance_quantile": OfModel(0.995, Rule(lambda v: 0 < v <= 1, "in (0, 1]"),
                                          "thresholded: share of pixels that is not clipped"),
    "sampling.guidance_parallel": OfModel(0.0, NOT_NEGATIVE, "apg: weight of the part of the "
                                          "guidance along the denoised example"),
    "sampling.guidance_radius": OfModel(1e30, POSITIVE, "apg: largest length of the guidance"),
    "sampling.guidance_momentum": OfModel(0.0, Rule(lambda v: -1 < v < 1, "in (-1, 1)"), "apg: "
                                          "share of the guidance of the evaluation before that is "
                                          "added; published from -0.75 to -0.5"),
    "sampling.guidance_min": OfModel(0.0, NOT_NEGATIVE, "lower end of the range of sigma / alpha "
                                     "in which guidance acts"),
    "sampling.guidance_max": OfModel(1e30, POSITIVE, "upper end of the range of sigma / alpha in "
                                     "which guidance acts"),
    "sampling.clip": OfModel(False, ANY, "clamp the denoiser's output to the range of gray levels, "
                             "or to sampling.clip_range, at every evaluation, as published for "
                             "DDPM and its successors"),
    "sampling.clip_range": OfModel(0.0, NOT_NEGATIVE, "clip: clamp to [-v, v] instead; 0: to the "
                                   "range of gray levels"),
    "sampling.threshold": OfModel(0.0, Rule(lambda v: 0 <= v <= 1, "in [0, 1]"), "divide the "
                                  "denoiser's output by this quantile of its absolute values, if "
                                  "that is above 1, and clamp it to [-1, 1] (dynamic "
                                  "thresholding); 0: do not"),
    "sampling.threshold_max": OfModel(1e30, Rule(lambda v: v >= 1, "1 or above"), "threshold: "
                                      "largest number to divide by"),
    "sampling.clip_noise": OfModel(True, ANY, "clip, threshold: change the noise with the "
                                   "denoiser's output; False: keep the network's, as diffusers "
                                   "does"),
    "sampling.noise_removal": OfModel(True, ANY, "return the denoised last state, at the cost of "
                                      "one network evaluation"),
    "sampling.ending": OfModel("denoiser", ANY, "noise_removal: last step: denoiser, or the "
                               "sampler's own to the sample without noise (clean), to level 0 of "
                               "a discrete model (lowest) or to level 0 without alpha (unscaled), "
                               "or none but the correction (still); all: ENDINGS in "
                               "samplers/planned/ending.py"),
    "sampling.num_steps": OfModel(0, STEPS, "steps of the time grid; 0: sde.num_scales; adaptive "
                                  "methods: number of times at which a corrector acts"),
    "sampling.nfe": OfModel(0, STEPS, "network evaluations per sample: as many steps are made as "
                            "they allow, and sampling.num_steps is not used; 0: use "
                            "sampling.num_steps"),
    "sampling.grid": OfModel("uniform", ANY, "spacing of the times: uniform, quadratic, log_snr, "
                             "karras, vp, iddpm, flow, trailing, leading, respaced or "
                             "published; all: GRIDS in samplers/named.py"),
    "sampling.spacing": OfModel("leading", ANY, "published grid: the levels that are visited, as "
                                "many as sampling.num_steps: leading, trailing, linspace or "
                                 "distilled; all: "
                                "SPACINGS in samplers/spacing.py"),
    "sampling.steps_offset": OfModel(0, whole(0, 1000), "published grid with a leading spacing: "
                                     "added to the number of every level"),
    "sampling.distilled_steps": OfModel(50, ROUNDS, "published grid with a distilled spacing: "
                                        "number of levels with which the model was distilled"),
    "sampling.warp": OfModel("none", ANY, "published grid: spacing of sigma / alpha between the "
                             "first and the last level: none (those of the levels), karras, "
                             "exponential or beta; all: WARPS in samplers/spacing.py"),
    "sampling.start": OfModel("prior", ANY, "first state: prior (its draws as they are) or "
                              "marginal (their standard deviation is sigma at the first time); "
                              "all: STARTS in samplers/build.py"),
    "sampling.respacing": OfModel("", SECTIONS, "respaced grid: how many levels of each of several "
                                  "equal sections of a discrete model's levels, such as 250 or "
                                  "90,60,60,20,20, or ddim50 for 50 of one stride; empty: "
                                  "sampling.num_steps + 1 levels, or all if that is 0"),
    "sampling.shift": OfModel(1.0, POSITIVE, "flow grid: factor on every sigma / alpha; above 1 "
                              "more of the steps are at high noise"),
    "sampling.rho": OfModel(7.0, POSITIVE, "karras grid, warp: exponent; a larger one puts more of "
                            "the steps at low noise"),
    "sampling.eps": OfModel(0.0, BOUNDARY, "time at which sampling ends; 0: the default of the "
                            "SDE"),
    "sampling.num_samples": Setting(64, IMAGES, "number of samples to draw, for each condition of "
                                    "sampling.condition"),
    "sampling.condition": Setting("", ANY, "--mode sample: .npy or .npz file of one condition or "
                                  "several"),
    "sampling.captions": Setting("", ANY, "--mode sample or edit of a model of captions: a "
                                 "caption, or a .txt file of one on each line, or a .npz file of "
                                 "an array captions; empty: those of eval.split"),
    "sampling.negative": Setting("", ANY, "--mode sample of a model with data.text_encoder: "
                                 "caption of what samples are to be unlike, or a file of captions, "
                                 "which guidance compares with; empty: what data.text_nothing "
                                 "says"),
    "sampling.sizes": Setting((), Rule(lambda v: len(v) in (0, 6), "() or six numbers"),
                              "Stable Diffusion XL: height and width before resizing, top and left "
                              "of the crop, and height and width that the network is told of; of "
                              "its refiner the last two are the aesthetic score of samples and of "
                              "what guidance compares with; (): those of the samples, no crop, 6 "
                              "and 2.5"),
    "sampling.noise": Setting("", ANY, "--mode sample: .npy or .npz file of standard normal noise "
                              "from which samples start, in the shape of what is diffused, in "
                              "place of the seed's"),
    "sampling.base": Setting("", ANY, "data.coarse: workdir of the stage that draws the coarse "
                             "pictures, several from the first on separated by commas; or a file "
                             "of coarse pictures, or a picture. Empty: those of held-out "
                             "examples, where a mode has these"),
    "sampling.base_truncated": Setting(False, ANY, "end the stage of sampling.base at the level "
                                       "sampling.coarse_level, whose noise stays in its pictures"),
    "sampling.coarse_level": OfModel(0.0, SHARE, "data.coarse: level of the noise that is added to "
                                     "the coarse pictures and told to the network"),
    "sampling.together": Setting(False, ANY, "--mode sample: the conditions of sampling.condition "
                                 "are independent observations of one example, and all are given"),
    "sampling.impute": Setting("", ANY, "--mode sample: .npy or .npz file of one example or "
                               "several, in which samples fill in the NaN"),
    "sampling.impute_iterations": Setting(5, ROUNDS, "impute: solver iterations per step, each a "
                                          "backward pass of the network; more are more exact"),
    "sampling.labels": Setting((), entries(whole(0, 2**20)), "--mode sample: classes to draw, in "
                               "turn; (): all of them equally often"),
    "sampling.batch_size": Setting(64, BATCH, "samples drawn at a time; it changes no sample"),
    "sampling.frames": Setting(0, STEPS, "frames of an animation of the samples, at most one per "
                               "step; 0: no animation"),
    "sampling.step": Setting(0, PERIOD, "update number of the checkpoint to use; 0: the newest"),
    "sampling.ema": Setting(True, ANY, "use the weights averaged at model.ema_rate; False: the raw "
                            "weights"),
}  # fmt: skip
