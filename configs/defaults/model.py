"""The network and what it is told: its size, its conditions, and the meaning of its output.

Settings of single networks are in `configs.defaults.networks`.
"""

from configs.rules import (
    ANY,
    BLOCKS,
    CHANNELS,
    CLASSES,
    FRACTION,
    MULTIPLES,
    NOT_NEGATIVE,
    POSITIVE,
    RATES,
    SIDE,
    entries,
    whole,
)
from configs.setting import OfModel, Setting

SETTINGS: dict[str, Setting] = {
    "model.name": OfModel("ncsnpp", ANY, "the network: ncsnpp, ddpm, ncsn, ncsnv2_64, ncsnv2_128, "
                          "ncsnv2_256, songunet, adm, guided_unet, ddpm_ho, dit, prior, sr3, mlp, "
                          "unet, unet_condition (of text-to-picture models), transformer or auto "
                          "(by the rank of data.shape), or a classifier of noisy examples: "
                          "noisy_classifier, wideresnet, or an autoencoder of pictures: "
                          "autoencoder, vq_autoencoder; all: NETWORKS in models/build.py, "
                          "CLASSIFIERS in models/build.py, AUTOENCODERS in models/build.py"),
    "model.nf": OfModel(128, CHANNELS, "channels at full resolution; mlp, transformer: features of "
                        "every layer"),
    "model.ch_mult": OfModel((1, 2, 2, 2), MULTIPLES, "channels at each resolution, from the full "
                             "one down, as multiples of model.nf"),
    "model.ch_mult_emb": OfModel(4, whole(1, 1024), "songunet, adm, unet_condition: length of the "
                                 "noise embedding, as a multiple of model.nf"),
    "model.ch_mult_noise": OfModel(1, whole(1, 1024), "songunet: number of sines and cosines of "
                                   "the noise level, as a multiple of model.nf"),
    "model.num_res_blocks": OfModel(4, BLOCKS, "residual blocks at each resolution; mlp, "
                                    "transformer: in all"),
    "model.attn_resolutions": OfModel((16,), entries(SIDE), "image sizes, in pixels of the "
                                      "longer side, at which attention layers follow the blocks"),
    "model.dropout": OfModel(0.1, FRACTION, "dropout rate in residual blocks"),
    "model.resamp_with_conv": OfModel(True, ANY, "follow plain (not anti-aliased) resampling by a "
                                      "convolution"),
    "model.conditional": OfModel(True, ANY, "give the noise level to the network"),
    "model.fir": OfModel(False, ANY, "anti-aliased resampling, with the filter model.fir_kernel"),
    "model.fir_kernel": OfModel((1, 3, 3, 1), ANY, "filter taps of anti-aliased resampling; they "
                                "are normalized to sum to 1"),
    "model.skip_rescale": OfModel(True, ANY, "divide the sum of two paths by sqrt(2)"),
    "model.resblock_type": OfModel("biggan", ANY, "kind of residual block: ddpm or biggan"),
    "model.progressive": OfModel("none", ANY, "output pyramid: none, output_skip or residual"),
    "model.progressive_input": OfModel("none", ANY, "input pyramid: none, input_skip or residual"),
    "model.progressive_combine": OfModel("sum", ANY, "how the input pyramid joins the features: "
                                         "sum or cat (concatenation)"),
    "model.embedding_type": OfModel("positional", ANY, "embedding of the noise level: positional "
                                    "or fourier"),
    "model.fourier_scale": OfModel(16.0, POSITIVE, "standard deviation of the random frequencies "
                                   "of the fourier embedding"),
    "model.init_scale": OfModel(0.0, NOT_NEGATIVE, "variance scale, at initialization, of the "
                                "output layer and of the last layer of each residual branch"),
    "model.nonlinearity": OfModel("swish", ANY, "activation function: swish, elu, relu, lrelu, "
                                  "gelu or mish; "
                                  "all: ACTIVATIONS in models/settings.py"),
    "model.normalization": OfModel("GroupNorm", ANY, "GroupNorm; ncsn and ncsnv2: InstanceNorm++; "
                                   "ncsnv2 also InstanceNorm, VarianceNorm"),
    "model.refinenet": OfModel("score_sde", ANY, "ncsn, ncsnv2: RefineNet blocks in score_sde's "
                               "form (score_sde) or as first published (original)"),
    "model.interpolation": OfModel("bilinear", ANY, "ncsn, ncsnv2: upsampling method, bilinear or "
                                   "nearest_neighbor"),
    "model.num_classes": OfModel(0, CLASSES, "number of classes whose labels are given to the "
                                 "network; 0: no labels"),
    "model.label_dropout": OfModel(0.0, FRACTION, "probability that a training example's label is "
                                   "hidden from the network"),
    "model.condition": OfModel("none", ANY, "kind of condition given to the network beside labels: "
                               "none, vector (embedded), image (concatenated, resized where its "
                               "resolution differs), tokens (cross-attention), text (the same, "
                               "read by a transformer), level (of the noise in the image, "
                               "embedded), or several joined by +, such as text+image+level; all: "
                               "CONDITIONS in sde_lib/condition.py"),
    "model.condition_dropout": OfModel(0.0, FRACTION, "probability that a training example's "
                                       "condition is hidden from the network"),
    "model.condition_hidden": OfModel("", ANY, "kinds of model.condition that are hidden together, "
                                      "and that guidance compares without, joined by +; empty: "
                                      "every one; all: CONDITIONS in sde_lib/condition.py"),
    "model.vocabulary": OfModel(0, whole(0, 2**20), "text condition: number of different tokens; "
                                "0: of the words in the captions of the data"),
    "model.text_width": OfModel(512, CHANNELS, "text condition: features of every token"),
    "model.text_layers": OfModel(4, whole(0, 256), "text condition: blocks of the transformer that "
                                 "reads it; 0: a table of features alone"),
    "model.text_heads": OfModel(8, whole(0, 2**16), "text condition: heads of its attention"),
    "model.pooled_tokens": OfModel(False, ANY, "unet, transformer, with tokens or a text: the mean "
                                   "of what is known of them is also added to the embedding of "
                                   "the noise level"),
    "model.condition_known": OfModel(True, ANY, "image condition: a channel of its own tells the "
                                     "network where the condition is known; False: it is zero "
                                     "where it is not"),
    "model.augment_dim": OfModel(0, whole(0, 1024), "songunet, adm: number of augmentation labels "
                                 "given to the network; 0: none"),
    "model.periodic": OfModel((), entries(whole(0, 2)), "spatial axes, counted from 0, that are "
                              "periodic: padded circularly"),
    "model.patch": OfModel((), entries(whole(1, 2**20)), "transformer, dit: lengths of a patch "
                           "along the spatial axes; transformer: (): chosen so that there are at "
                           "most 256 tokens"),
    "model.dtype": OfModel("float32", ANY, "type of activations: float32 or bfloat16"),
    "model.attention": Setting("auto", ANY, "implementation of attention: auto, plain, blocks or "
                               "fused (docs/scaling.md); all: ATTENTIONS in "
                               "models/layers/attend.py"),
    "model.remat": Setting("auto", ANY, "what the backward pass recomputes to save memory: none, "
                           "products (all but convolutions and matrix products), blocks "
                           "(everything inside a block) or auto (products on CPUs, else none); "
                           "all: REMATS in models/layers/remat.py"),
    "model.scale_by_sigma": OfModel(False, ANY, "ve: the raw output of the network is sigma times "
                                    "the score"),
    "model.prediction": OfModel("published", ANY, "meaning of the network's raw output: published "
                                "(as the SDE's authors have it), noise, unit_noise, scaled_score, "
                                "score, data, v, velocity or edm; all: PREDICTIONS in "
                                "sde_lib/build.py"),
    "model.conditioning": OfModel("published", ANY, "form in which the network is given the noise "
                                  "level: published (as the SDE's authors have it), time, "
                                  "alpha, log_sigma, log_half_sigma, quarter_log_sigma, level, "
                                  "vp_time, cosine_level, descending_level, index, "
                                  "index_below, index_strictly_below or rescaled_index; all: "
                                  "CONDITIONINGS in sde_lib/build.py"),
    "model.learn_variance": OfModel(False, ANY, "the network also says the variance of a step of "
                                    "ancestral sampling, in as many channels again"),
    "model.rescale_timesteps": OfModel(False, ANY, "iddpm at its levels: give the network 1000 i / "
                                       "sde.num_scales for level i, and not i"),
    "model.sigma_data": OfModel(0.5, NOT_NEGATIVE, "standard deviation of the encoded data, in "
                                "EDM's preconditioning and weighting; auto: of the training data"),
    "model.ema_rate": OfModel(0.9999, FRACTION, "decay, per update, of the averaged weights that "
                              "are used for sampling"),
    "model.extra_ema_rates": Setting((), RATES, "decays of further averages of the weights, kept "
                                     "beside the first"),
}  # fmt: skip
