"""Every setting of a config: its default, its rule, and its meaning.

A meaning that lists names says, after "all:", in which table every name is, those added since
included.
"""

from functools import partial
from typing import Any, NamedTuple

from configs.rules import (
    ANY,
    AXES,
    AXIS,
    BATCH,
    BLOCKS,
    BOUNDARY,
    CHANNELS,
    CLASSES,
    FEATURES,
    FRACTION,
    HASH,
    IMAGES,
    LEVELS,
    LONGEST_TUPLE,
    MOST_LEVELS,
    MULTIPLES,
    NAME,
    NOT_NEGATIVE,
    PERIOD,
    POSITIVE,
    POSITIVES,
    RANGE,
    RATES,
    ROUNDS,
    SECTIONS,
    SEED,
    SHARE,
    SIDE,
    STEPS,
    TRIES,
    UPDATES,
    WORDS,
    Rule,
    entries,
    whole,
)


class Setting(NamedTuple):
    """A default value (its type is the setting's type), a rule, and the setting's meaning.

    longest: most entries of a tuple, or characters of a text if that is more than usual.
    travels: whether `--mode export` writes the setting into its files, and `--mode import` takes it
      from them. It is True for settings that say what the model is, how it is trained or how best
      sampled, and False for those that name a file, a program, a project or the machine. `OfModel`
      sets it.
    """

    default: Any
    rule: Rule
    meaning: str
    travels: bool = False
    longest: int = LONGEST_TUPLE


OfModel = partial(Setting, travels=True)
OfFeatures = partial(OfModel, longest=FEATURES)
OfLevels = partial(OfModel, longest=MOST_LEVELS)
OfWords = partial(OfModel, longest=2**18)

AUTO = "auto"
"""The text that stands for a value in `FROM_DATA` on a command line."""


SETTINGS: dict[str, Setting] = {
    "seed": Setting(42, SEED, "seed of all random draws: order of the data, training, sampling"),
    # sde
    "sde.name": OfModel("vp", ANY, "the forward SDE: vp, subvp, ve, edm, iddpm (the levels of "
                        "sde.schedule), levels (the same, and the network is told of noise between "
                        "them) or learned (VP with a trained noise schedule); all: SDES in "
                        "sde_lib/build.py"),
    "sde.beta_min": OfModel(0.1, POSITIVE, "vp, subvp: noise rate beta(t) at t = 0; iddpm, levels: "
                            "sde.num_scales times the first beta of a linear sde.schedule"),
    "sde.beta_max": OfModel(20.0, POSITIVE, "vp, subvp: noise rate beta(t) at t = 1; iddpm, "
                            "levels: sde.num_scales times the last beta"),
    "sde.sigma_min": OfModel(0.01, POSITIVE, "ve: noise level sigma(t) at t = 0; edm: smallest "
                             "noise level"),
    "sde.sigma_max": OfModel(50.0, NOT_NEGATIVE, "ve: noise level sigma(t) at t = 1; edm: largest "
                             "noise level; auto: largest distance of two training examples"),
    "sde.log_snr_max": OfModel(13.0, ANY, "learned: log(alpha^2 / sigma^2) at t = 0"),
    "sde.log_snr_min": OfModel(-10.0, ANY, "learned: log(alpha^2 / sigma^2) at t = 1"),
    "sde.schedule": OfModel("cosine", ANY, "iddpm, levels: noise of the sde.num_scales levels: "
                            "cosine, linear, scaled_linear (of Stable Diffusion) or table; all: "
                            "SCHEDULES in sde_lib/iddpm.py"),
    "sde.betas": OfLevels((), entries(SHARE), "table: beta of each level, the least noisy first"),
    "sde.zero_terminal_snr": OfModel(False, ANY, "iddpm, levels: rescale the levels so that the "
                                     "last has no signal; model.prediction must be v or data"),
    "sde.terminal_alpha": OfModel(2.0**-12, SHARE, "zero_terminal_snr: alpha of the last level, "
                                  "for the 0 at which it cannot be computed with"),
    "sde.num_scales": OfModel(1000, LEVELS, "number of noise levels of a discrete-time model; also "
                              "the default of sampling.num_steps"),
    # model
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
    "model.label_dropout": OfModel(0.0, FRACTION, "probability that a training image's label is "
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
    "model.remat": Setting("none", ANY, "what the backward pass recomputes to save memory: none, "
                           "products (all but convolutions and matrix products) or blocks "
                           "(everything inside a block); all: REMATS in models/layers/remat.py"),
    "model.norm_num_groups": OfModel(32, CHANNELS, "ddpm_ho, unet_condition, autoencoder, "
                                     "vq_autoencoder: number of groups of each group "
                                     "normalization"),
    "model.norm_eps": OfModel(1e-6, POSITIVE, "ddpm_ho, unet_condition: constant added to the "
                              "variance in group normalization (of residual blocks and output); "
                              "dit: in that before a perceptron"),
    "model.attention_head_dim": OfModel(0, whole(0, 2**16), "ddpm_ho, unet, transformer, "
                                        "guided_unet, unet_condition: channels of each attention "
                                        "head; 0: a single head (transformer: heads of 32 "
                                        "channels; guided_unet, unet_condition: model.num_heads of "
                                        "them)"),
    "model.num_heads": OfModel(0, whole(0, 2**16), "dit, prior: number of attention heads; "
                               "guided_unet, unet_condition: the same, with "
                               "model.attention_head_dim=0"),
    "model.num_heads_upsample": OfModel(0, whole(0, 2**16), "guided_unet: the same on the way up; "
                                        "0: as on the way down"),
    "model.own_embeddings": OfModel(False, ANY, "dit: every block has embeddings of noise level "
                                    "and class of its own, as diffusers' form has"),
    "model.attention_order": OfModel("unsaid", Rule(
        lambda v: v in ("unsaid", "heads_first", "parts_first"),
        "unsaid, heads_first or parts_first"),
        "guided_unet: order of the rows of imported attention weights: heads_first (each head's "
        "query, key and value: OpenAI's legacy order), parts_first (all queries, keys, values: its "
        "new order) or unsaid; without effect on the network"),
    "model.scale_shift": OfModel(True, ANY, "guided_unet, unet_condition: the embedding scales and "
                                 "shifts normalized features; False: it is added before the "
                                 "normalization"),
    "model.resblock_updown": OfModel(True, ANY, "guided_unet, unet_condition: halve and double "
                                     "images in residual blocks; False: by layers of their own, "
                                     "with model.resamp_with_conv (unet_condition: always) by "
                                     "convolutions"),
    "model.token_attention": OfModel("transformer", ANY, "unet_condition: how pixels attend to "
                                     "tokens: transformer (to pixels, to tokens, a perceptron) or "
                                     "joint (to both by one softmax); all: TOKEN_ATTENTIONS in "
                                     "models/unet_condition.py"),
    "model.transformer_depth": OfModel((), entries(whole(0, 64)), "unet_condition: blocks of the "
                                       "transformers at each resolution, or after each residual "
                                       "block on the way down, 0: no attention there; (): 1"),
    "model.transformer_depth_up": OfModel((), entries(whole(0, 64)), "unet_condition: the same in "
                                          "the order of the way up, from the lowest resolution; "
                                          "(): as on the way down"),
    "model.level_blocks": OfModel((), entries(BLOCKS), "unet_condition: residual blocks at each "
                                  "resolution; (): model.num_res_blocks at all"),
    "model.level_heads": OfModel((), entries(whole(1, 2**16)), "unet_condition: number of "
                                 "attention heads at each resolution; (): model.num_heads, or as "
                                 "model.attention_head_dim says"),
    "model.cross_levels": OfModel((), entries(whole(0, 64)), "unet_condition: resolutions, counted "
                                  "from 0, the full one, at which attention to pixels is to tokens "
                                  "instead"),
    "model.middle": OfModel("attention", ANY, "unet_condition: what lies at the lowest resolution: "
                            "attention (between two residual blocks), block (one of them) or "
                            "none; all: MIDDLES in models/unet_condition.py"),
    "model.middle_depth": OfModel(1, whole(1, 64), "unet_condition: blocks of the transformer in "
                                  "the middle"),
    "model.middle_cross": OfModel(False, ANY, "unet_condition: joint attention in the middle is to "
                                  "tokens alone"),
    "model.middle_divisor": OfModel(1.0, POSITIVE, "unet_condition: divisor of the sums of the "
                                    "residual blocks in the middle"),
    "model.residual_divisor": OfModel(1.0, POSITIVE, "unet_condition: divisor of the sums of the "
                                      "other residual blocks"),
    "model.token_features": OfModel(0, whole(0, 2**16), "unet_condition: length to which tokens "
                                    "are mapped; 0: they are not"),
    "model.token_norm": OfModel("none", ANY, "unet_condition: normalization of tokens before joint "
                                "attention: none, group or layer; all: TOKEN_NORMS in "
                                "models/layers/transformers.py"),
    "model.pool_heads": OfModel(0, whole(0, 2**16), "unet_condition: heads of the pooling of "
                                "tokens that joins the embedding; 0: none"),
    "model.vector_embedding": OfModel("none", ANY, "unet_condition: how the condition's vector "
                                      "joins the embedding: none, sizes (a perceptron; its last "
                                      "entries are waves), projection (a perceptron), linear or "
                                      "identity; all: VECTORS in models/layers/told.py"),
    "model.vector_features": OfModel(0, whole(0, 2**20), "unet_condition: numbers that the "
                                     "perceptron of model.vector_embedding=sizes is given"),
    "model.number_waves": OfModel(256, whole(2, 2**16), "unet_condition: sines and cosines of an "
                                  "entry of the vector, of model.vector_embedding=sizes"),
    "model.level_embedding": OfModel("none", ANY, "unet_condition: how the level of noise in the "
                                     "condition's image joins the embedding: none, waves (as the "
                                     "noise level) or table (a row for each of model.level_rows "
                                     "levels); all: LEVELS in models/layers/told.py"),
    "model.level_rows": OfModel(0, CLASSES, "unet_condition: number of levels of the table of "
                                "model.level_embedding=table"),
    "model.time_activation": OfModel("none", ANY, "unet_condition: activation of the embedding of "
                                     "the noise level, or none; all: AFTER in "
                                     "models/unet_condition.py"),
    "model.embedding_activation": OfModel("none", ANY, "unet_condition: activation of the whole "
                                          "embedding, beside model.activate_embedding, or none; "
                                          "all: AFTER in models/unet_condition.py"),
    "model.activate_embedding": OfModel(True, ANY, "unet_condition: residual blocks are given "
                                        "model.nonlinearity of the embedding; False: the embedding "
                                        "itself"),
    "model.input_kernel": OfModel(3, whole(1, 63), "unet_condition: size of the first "
                                  "convolution's kernel, odd"),
    "model.output_kernel": OfModel(3, whole(1, 63), "unet_condition: size of the last "
                                   "convolution's kernel, odd"),
    "model.pool": OfModel("attention", ANY, "noisy_classifier: how pixels become logits: "
                          "attention, adaptive, spatial or spatial_v2; all: POOLS in "
                          "models/noisy_classifier.py"),
    "model.add_attention": OfModel(True, ANY, "ddpm_ho, unet, autoencoder, vq_autoencoder: "
                                   "attention between the two blocks at the lowest resolution"),
    "model.latent_channels": OfModel(4, CHANNELS, "autoencoder, vq_autoencoder: channels of the "
                                     "latents"),
    "model.quant_conv": OfModel(True, ANY, "autoencoder, vq_autoencoder: a linear map of every "
                                "pixel after the coder"),
    "model.post_quant_conv": OfModel(True, ANY, "autoencoder, vq_autoencoder: a linear map of "
                                     "every pixel before the decoder"),
    "model.codes": OfModel(8192, whole(2, 2**20), "vq_autoencoder: number of codes to which "
                           "latents are rounded"),
    "model.discriminator": OfModel(0, whole(0, 2**14), "autoencoder, vq_autoencoder: channels of "
                                   "the first layer of a discriminator of patches, trained beside "
                                   "it; 0: none"),
    "model.discriminator_layers": OfModel(3, whole(1, 8), "autoencoder, vq_autoencoder: halvings "
                                          "of the discriminator"),
    "model.code_channels": OfModel(0, whole(0, 2**16), "vq_autoencoder: numbers of a code; 0: "
                                   "model.latent_channels"),
    "model.mid_block_rescale": OfModel(False, ANY, "ddpm_ho: divide the sums in the lowest blocks "
                                       "by sqrt(2)"),
    "model.downsample_padding": OfModel(0, Rule(lambda v: v in (0, 1), "0 or 1"),
                                        "ddpm_ho, unet_condition: padding before a strided "
                                        "convolution; 0: at the right and bottom edges only, 1: at "
                                        "all edges"),
    "model.flip_sin_to_cos": OfModel(False, ANY, "ddpm_ho, unet_condition: put the cosines of the "
                                     "noise embedding before its sines"),
    "model.freq_shift": OfModel(1, Rule(lambda v: v in (0, 1), "0 or 1"),
                                "ddpm_ho, dit, unet_condition: 1: the lowest frequency of the "
                                "noise embedding is exactly 1 / 10000; 0: slightly above"),
    "model.scale_by_sigma": OfModel(False, ANY, "ve: the raw output of the network is sigma times "
                                    "the score"),
    "model.prediction": OfModel("published", ANY, "meaning of the network's raw output: published "
                                "(as the SDE's authors have it), noise, unit_noise, scaled_score, "
                                "score, data, v, velocity or edm; all: PREDICTIONS in "
                                "sde_lib/build.py"),
    "model.conditioning": OfModel("published", ANY, "form in which the network is given the noise "
                                  "level: published (as the SDE's authors have it), time, "
                                  "alpha, log_sigma, log_half_sigma, quarter_log_sigma, level, "
                                  "vp_time, cosine_level, descending_level, index or "
                                  "rescaled_index; all: CONDITIONINGS in "
                                  "sde_lib/build.py"),
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
    # data
    "data.dataset": OfModel("CIFAR10", ANY, "digits, CIFAR10, CELEBA or another name of score_sde, "
                            "tfds, folder, array, table, simulations (docs/data.md); all: SOURCES "
                            "in data_lib/sources.py, ALIASES in data_lib/sources.py"),
    "data.tfds_name": Setting("", ANY, "name in tensorflow-datasets, with data.dataset=tfds"),
    "data.data_dir": Setting("", ANY, "folder or file of the data; empty: the default folder of "
                             "tensorflow-datasets"),
    "data.image_size": OfModel(32, SIDE, "height and width in pixels; pictures are cropped and "
                               "resized to it"),
    "data.num_channels": OfModel(3, whole(1, 1024), "1 for grey images, 3 for colour"),
    "data.shape": OfModel((), AXES, "shape of one example, channels last, such as 1000,2 or 40; "
                          "(): a square picture of data.image_size and data.num_channels; auto: as "
                          "the data are"),
    "data.codec": OfModel("levels", ANY, "how data become the arrays that are diffused: levels "
                          "(gray levels), standardize (per feature or channel), bounded (between "
                          "data.low and data.high), identity, or autoencoder (latents of "
                          "pictures); all: CODECS in data_lib/codec.py"),
    "data.mean": OfFeatures((), ANY, "standardize: mean of each feature or channel; (): of the "
                            "training data"),
    "data.std": OfFeatures((), POSITIVES, "standardize: standard deviation of each feature or "
                           "channel; (): of the training data"),
    "data.low": OfFeatures((), ANY, "bounded: lower end of each feature or channel, or one number"),
    "data.high": OfFeatures((), ANY, "bounded: upper end of each feature or channel, or one "
                            "number"),
    "data.autoencoder": Setting("", ANY, "codec autoencoder: workdir of a trained or imported "
                                "autoencoder, or a diffusers directory that holds one"),
    "data.autoencoder_hash": OfModel("", HASH, "codec autoencoder: hash of the autoencoder's "
                                     "weights; empty: of the one that is there"),
    "data.latent_shape": OfModel((), AXES, "codec autoencoder: shape of the latents; (): as the "
                                 "autoencoder has them"),
    "data.latent_shift": OfFeatures((), ANY, "codec autoencoder: latents z are diffused as (z - "
                                    "shift) scale, of one number or one for each channel; (): as "
                                    "published with the autoencoder, else the mean over the "
                                    "training data"),
    "data.latent_scale": OfFeatures((), POSITIVES, "codec autoencoder: see data.latent_shift; (): "
                                    "as published with the autoencoder, else 1 / standard "
                                    "deviation over the training data"),
    "data.tile": Setting(0, whole(0, 2**14), "codec autoencoder: side in pixels of the tiles in "
                         "which larger pictures are coded and decoded, blended over a quarter; 0: "
                         "whole"),
    "data.gray_levels": OfModel(256, LEVELS, "hybrid, vlb: number of gray levels of the pictures"),
    "data.missing": OfModel("refuse", Rule(lambda v: v in ("refuse", "mask"), "refuse or mask"),
                            "values that are NaN: refuse, or mask (the network is told which "
                            "values are observed, and the loss leaves the others out)"),
    "data.condition": OfModel((), AXES, "shape of one condition, those of several kinds side by "
                              "side; (): as the data have it"),
    "data.condition_codec": OfModel("standardize", ANY, "how conditions become what the network is "
                                    "given: standardize (words and levels beside others stay as "
                                    "they are), identity, or one for each kind joined by +; all: "
                                    "CONDITION_CODECS in data_lib/conditions.py"),
    "data.condition_mean": OfFeatures((), ANY, "mean of each entry or channel of the condition, "
                                      "those of several kinds side by side; (): of the training "
                                      "data"),
    "data.condition_std": OfFeatures((), POSITIVES, "standard deviation of each entry or channel "
                                     "of the condition; (): of the training data"),
    "data.text_encoder": Setting("", ANY, "tokens condition: directory of the frozen reader of "
                                 "captions, or of a diffusers pipeline, whose readers stand side "
                                 "by side, or a single file of Stable Diffusion's; empty: "
                                 "conditions are given as numbers"),
    "data.tokenizer": Setting("", ANY, "data.text_encoder: directory of its tokenizer's files; "
                              "empty: in that directory or beside it"),
    "data.text_encoder_hash": OfModel("", HASH, "hash of the files of the reader of captions, "
                                      "which no other may replace; empty: any"),
    "data.text_truncate": OfModel(False, ANY, "cut captions that are too long for the reader of "
                                  "captions, which are refused otherwise"),
    "data.text_layer": OfModel(-1, whole(-256, -1), "layer of the reader of captions whose "
                               "features are the condition, counted from the last, -1"),
    "data.text_normed": OfModel(True, ANY, "take the features after the reader's last norm"),
    "data.text_mask": OfModel("none", ANY, "what padding of captions is hidden from: none, "
                              "encoder, network or both; all: MASKS in "
                              "models/text_encoders/conditions.py"),
    "data.text_nothing": OfModel("empty", ANY, "features of no caption: empty (of the empty one), "
                                 "zeros or masked; all: NOTHING in "
                                 "models/text_encoders/conditions.py"),
    "data.words": OfWords("", WORDS, "text condition: words of captions that the model knows, in "
                          "order and separated by spaces; empty: those of the training data"),
    "data.glyphs": OfModel("latin", ANY, "glyphs: which letters and digits: latin, capitals, "
                           "letters (of three scripts, without accents) or all; all: TIERS in "
                           "data_lib/glyphs.py"),
    "data.colours": OfModel("none", ANY, "glyphs: none (black on white, not said in captions) or "
                            "palette (any two of ten, named); all: COLOURS in "
                            "data_lib/glyphs.py"),
    "data.draws": OfModel(32, whole(1, 10_000), "glyphs: captions, and colours, of every pair of "
                          "a glyph and a style in training"),
    "data.left_out": OfModel(0.1, FRACTION, "glyphs: probability that a caption in training says "
                             "nothing of the weight, and of the slant, the family, the colours"),
    "data.coarse": OfModel((), AXES, "super-resolution: lengths of the coarse picture that the "
                           "image of model.condition is made of, the area average of the example; "
                           "one number is that of all axes; (): none"),
    "data.coarse_filter": OfModel("bilinear", ANY, "how the coarse picture is brought to the "
                                  "example's size: nearest, bilinear, bilinear_corners, bicubic or "
                                  "bicubic_antialiased; all: UPSAMPLINGS in sde_lib/resizing.py"),
    "data.coarse_noise": OfModel("fine", ANY, "where noise is added to the coarse picture: coarse "
                                 "(before the filter) or fine (after it)"),
    "data.coarse_schedule": OfModel("cosine", ANY, "noise of the coarse picture at a level from 0 "
                                    "to 1: cosine, linear or scaled_linear (levels of "
                                    "Stable Diffusion's x4 upscaler); all: COARSE_SCHEDULES in "
                                    "sde_lib/coarse.py"),
    "data.coarse_gray_levels": OfModel(0, whole(0, 2**16), "gray levels to which the coarse "
                                       "picture is rounded, in training and in sampling; 0: none"),
    "data.exchangeable": OfModel(1, whole(1, 2**16), "number of equal pieces of a condition, along "
                                 "its first axis, whose order says nothing, such as independent "
                                 "observations: training shuffles them; 1: none"),
    "data.columns": Setting("", ANY, "table: names of the columns that are the data, separated by "
                            "commas; empty: all that are neither condition nor label"),
    "data.condition_columns": Setting("", ANY, "table: names of the columns that are the "
                                      "condition, separated by commas; empty: none"),
    "data.label_column": Setting("", ANY, "table: name of the column that tells the class, in "
                                 "integers or texts; empty: no labels"),
    "data.task": Setting("two_moons", NAME, "simulations: what is simulated: the file TASK.npz of "
                         "the folder data.data_dir, or without one a simulator; all: SIMULATORS "
                         "in data_lib/simulators.py"),
    "data.simulations": Setting(0, PERIOD, "simulations, signals, gaussian_fields: "
                                "number of simulated examples, the first of a file; 0: 10,000, or "
                                "all of a file"),
    "data.range": Setting((), RANGE, "folder, array: pixel values of black and white, such as "
                          "0,255 or -1,1; (): known from the file's number type"),
    "data.changed": Setting("refuse", Rule(lambda v: v in ("refuse", "accept"), "refuse or accept"),
                            "--mode train in a workdir that was trained on other images: refuse, "
                            "or accept and go on"),
    "data.crop": OfModel(0, whole(0, 2**20), "side, in pixels, of the central square cut from each "
                         "picture before resizing; 0: the largest square"),
    "data.filter": OfModel("bilinear", ANY, "filter of resizing: bilinear or bicubic, both "
                           "antialiased"),
    "data.random_flip": OfModel(True, ANY, "mirror training images left to right with probability "
                                "1/2"),
    "data.centered": OfModel(False, ANY, "scale pixel values to [-1, 1] instead of [0, 1]"),
    "data.uniform_dequantization": OfModel(False, ANY, "add uniform noise of one level's width to "
                                           "integer pixel values"),
    "data.test_fraction": OfModel(0.1, Rule(lambda v: 0 < v < 1, "in (0, 1)"),
                                  "share of the images held out from training if the dataset has "
                                  "no test split"),
    "data.cache": Setting(True, ANY, "keep decoded pictures in a file beside the data for later "
                          "starts"),
    # training
    "training.batch_size": OfModel(128, BATCH, "images per update, over all devices"),
    "training.n_iters": OfModel(1_300_001, UPDATES, "total number of updates"),
    "training.n_jitted_steps": Setting(1, ROUNDS, "updates per call of the compiled program; it "
                                       "changes no result"),
    "training.accumulate": Setting(1, BATCH, "parts into which each batch is split to save memory; "
                                   "their gradients are averaged"),
    "training.continuous": OfModel(True, ANY, "train at continuous times; False: only at the "
                                   "sde.num_scales levels"),
    "training.reduce_mean": OfModel(True, ANY, "loss of an image: mean of squared errors over "
                                    "pixels; False: half their sum"),
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
    # optim
    "optim.optimizer": OfModel("Adam", ANY, "Adam or AdamW; all: OPTIMIZERS in "
                               "train_lib/optimizer.py"),
    "optim.lr": OfModel(2e-4, POSITIVE, "learning rate after warm-up"),
    "optim.beta1": OfModel(0.9, FRACTION, "decay of the first moment of the gradient"),
    "optim.beta2": OfModel(0.999, FRACTION, "decay of the second moment of the gradient"),
    "optim.eps": OfModel(1e-8, POSITIVE, "constant added to the square root of the second moment"),
    "optim.weight_decay": OfModel(0.0, NOT_NEGATIVE, "AdamW: decoupled weight decay"),
    "optim.warmup": OfModel(5000, PERIOD, "updates during which the learning rate rises linearly "
                            "from 0"),
    "optim.schedule": OfModel("constant", ANY, "learning rate after warm-up: constant, or falling "
                              "to 0 at training.n_iters by cosine or linear; all: DECAYS in "
                              "train_lib/optimizer.py"),
    "optim.grad_clip": OfModel(1.0, ANY, "largest global norm of the gradient, above which it is "
                               "scaled down; 0 or less: no clipping"),
    # sampling
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
    "sampling.form": OfModel("noise", ANY, "Runge-Kutta, adams_bashforth: variable in which the "
                             "ODE is solved: noise, data, velocity, angle, log_snr or time; all: "
                             "FORMS in samplers/planned/forms.py"),
    "sampling.high_order_start": OfModel(True, ANY, "multistep: make the first steps at full "
                                         "order, which above order 3 takes additional network "
                                         "evaluations"),
    "sampling.low_order_end": OfModel(0, STEPS, "dpm_solver_pp, dpm_solver_multistep: number of "
                                      "steps below which the last ones are of lower order; 0: "
                                      "never"),
    "sampling.second_order": OfModel("published", ANY, "second-order weights: published, or exact "
                                     "for a polynomial"),
    "sampling.ancestral_variance": OfModel("posterior", ANY, "ancestral, discrete_bound: variance "
                                           "of the noise: posterior (of NCSN), kernel (of DDPM, "
                                           "larger) or learned (between both, as a network with "
                                           "model.learn_variance says)"),
    "sampling.eta": OfModel(-1.0, ANY, "ddim, sde_dpm_solver_pp: scale of the noise, 0 for a "
                            "deterministic sampler; negative: the default, 0 for ddim and 1 for "
                            "sde_dpm_solver_pp"),
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
    "sampling.num_steps": OfModel(0, STEPS, "steps of the time grid; 0: sde.num_scales; adaptive "
                                  "methods: number of times at which a corrector acts"),
    "sampling.nfe": OfModel(0, STEPS, "network evaluations per image: as many steps are made as "
                            "they allow, and sampling.num_steps is not used; 0: use "
                            "sampling.num_steps"),
    "sampling.grid": OfModel("uniform", ANY, "spacing of the times: uniform, quadratic, log_snr, "
                             "karras, vp, iddpm, flow, trailing, leading, respaced or "
                             "published; all: GRIDS in samplers/named.py"),
    "sampling.spacing": OfModel("leading", ANY, "published grid: the levels that are visited, as "
                                "many as sampling.num_steps: leading, trailing or linspace; all: "
                                "SPACINGS in samplers/spacing.py"),
    "sampling.steps_offset": OfModel(0, whole(0, 1000), "published grid with a leading spacing: "
                                     "added to the number of every level"),
    "sampling.warp": OfModel("none", ANY, "published grid: spacing of sigma / alpha between the "
                             "first and the last level: none (those of the levels), karras or "
                             "exponential; all: WARPS in samplers/spacing.py"),
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
    "sampling.captions": Setting("", ANY, "--mode sample of a model of captions: a caption, or a "
                                 ".txt file of one on each line, or a .npz file of an array "
                                 "captions; empty: those of eval.split"),
    "sampling.negative": Setting("", ANY, "--mode sample of a model with data.text_encoder: "
                                 "caption of what samples are to be unlike, or a file of captions, "
                                 "which guidance compares with; empty: what data.text_nothing "
                                 "says"),
    "sampling.sizes": Setting((), Rule(lambda v: len(v) in (0, 6), "() or six numbers"),
                              "Stable Diffusion XL: height and width before resizing, top and left "
                              "of the crop, and height and width that the network is told of; (): "
                              "those of the samples, and no crop"),
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
    # eval
    "eval.batch_size": Setting(256, BATCH, "images processed at a time in evaluation"),
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
    "eval.reference": Setting("train", ANY, "--mode eval, stats: images to compare samples with: "
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
    "eval.held_out": Setting(True, ANY, "--mode eval: also measure held-out images, as a yardstick "
                             "for the samples"),
    "eval.samplers": Setting(
        "ddim; heun; dpm_solver_pp; dpm_solver_pp order=3; deis; unipc; edm s_churn=10; "
        "ancestral; sde_dpm_solver_pp; er_sde; euler_maruyama; euler_maruyama corrector=langevin",
        ANY, "--mode samplers: samplers to compare, separated by semicolons, each with settings of "
             "its own: 'unipc order=2; ...'",
    ),
    "eval.sampler_nfe": Setting((5, 10, 20, 50, 100), Rule(
        lambda v: bool(v) and all(type(n) is int and 0 < n <= 10_000 for n in v),
        "positive integers of at most 10,000"),
        "--mode samplers: numbers of network evaluations per image at which samplers are compared",
    ),
    "eval.split": Setting("test", ANY, "--mode likelihood, encode, interpolate: images to use: "
                          "test, train, or (interpolate only) prior for random codes"),
    "eval.images": Setting("", ANY, "--mode likelihood, encode, interpolate: .npy or .npz file of "
                           "images instead of a split"),
    "eval.num_images": Setting(0, PERIOD, "--mode likelihood, encode, interpolate: number of "
                               "images, from the first; 0: all (interpolate: 32)"),
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
                            "likelihood: passes over the images with fresh random draws"),
    "eval.importance_samples": Setting(1, ROUNDS, "dequantizations averaged inside the logarithm; "
                                       "more give a tighter bound"),
    "eval.trace": Setting("hutchinson", ANY, "trace of the Jacobian: hutchinson (an unbiased "
                          "estimate) or exact; all: TRACES in eval_lib/likelihood/divergence.py"),
    "eval.probe": Setting("rademacher", ANY, "hutchinson: distribution of the probes, rademacher "
                          "or gaussian; all: PROBES in eval_lib/likelihood/divergence.py"),
    "eval.num_probes": Setting(1, ROUNDS, "hutchinson: probes per image"),
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
    "eval.bound_draws": Setting(16, ROUNDS, "bound: random noise levels per image"),
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
    "eval.interpolations": Setting(8, whole(2, 10_000), "--mode interpolate: images in each row, "
                                   "both ends included"),
    # inverse problems
    "inverse.measure": Setting("inpaint", ANY, "--mode reconstruct: what was measured of each "
                               "example: inpaint (some of its numbers), gray or colorize (a mix of "
                               "its channels), average or bicubic (fewer pixels), gaussian_blur, "
                               "motion_blur or kernel_blur, fourier (some frequencies), coils (the "
                               "same, of several coils), radon (projections), or FILE.py:FUNCTION; "
                               "all: OPERATORS in sde_lib/measurements/named.py"),
    "inverse.noise": Setting(0.0, NOT_NEGATIVE, "standard deviation of the noise in a number of "
                             "the measurement, in the units of the data (gray levels: black is 0, "
                             "white is 1)"),
    "inverse.rate": Setting(0.0, NOT_NEGATIVE, "counts for each unit of the measurement, of "
                            "Poisson noise beside inverse.noise; 0: no such noise"),
    "inverse.mask": Setting("", ANY, "inpaint, fourier, coils: what is measured: .png, .npy or "
                            ".npz file, white (nonzero) where it is, or a pattern: left, top (that "
                            "half), outside (all but a box in the middle), random, every, "
                            "random_lines, even_lines; empty: left, of frequencies random_lines; "
                            "all: MASKS in sde_lib/measurements/patterns.py"),
    "inverse.mask_seed": Setting(0, SEED, "masks random, random_lines: seed of the draw"),
    "inverse.share": Setting(0.5, Rule(lambda v: 0 < v <= 1, "in (0, 1]"), "mask random: share of "
                             "pixels that is measured"),
    "inverse.factor": Setting(2, whole(1, 1024), "average, bicubic: pixels along an axis for each "
                              "measured one; mask every: one pixel is measured of so many along "
                              "each axis"),
    "inverse.acceleration": Setting(4.0, Rule(lambda v: v >= 1, "at least 1"), "masks "
                                    "random_lines, even_lines: number of all lines for each one "
                                    "that is measured"),
    "inverse.centre": Setting(0.08, FRACTION, "masks random_lines, even_lines: share of all lines "
                              "that is measured around the frequency 0"),
    "inverse.complex": Setting(False, ANY, "fourier, coils: channels of the data are the real and "
                               "imaginary parts of complex numbers, in turn"),
    "inverse.coils": Setting("", ANY, "coils: .npy file of complex sensitivities, [coils, height, "
                             "width]"),
    "inverse.blur_std": Setting(1.0, POSITIVE, "gaussian_blur: standard deviation in pixels"),
    "inverse.blur_length": Setting(5.0, POSITIVE, "motion_blur: length of the motion in pixels"),
    "inverse.blur_angle": Setting(0.0, ANY, "motion_blur: direction in degrees, 0: along a row, "
                                  "90: up"),
    "inverse.kernel": Setting("", ANY, "kernel_blur: .png, .npy or .npz file of the kernel, its "
                              "origin in the middle"),
    "inverse.angles": Setting(30, whole(1, 10_000), "radon: number of angles, evenly spaced over "
                              "180 degrees"),
    "inverse.input": Setting("", ANY, "--mode reconstruct: the measurements, a .npy or .npz file "
                             "of one or several; inpaint: the examples of which some numbers are "
                             "known, a folder of pictures, a picture or such a file; empty: they "
                             "are made of inverse.truth, eval.images or eval.split"),
    "inverse.truth": Setting("", ANY, "--mode reconstruct: the examples that were measured, to "
                             "compare with, a folder of pictures, a picture, a .npy or .npz file"),
    "inverse.lpips": Setting("", ANY, "--mode reconstruct: weights of LPIPS (the reference "
                             "implementation's state_dict, alex or vgg) to compare pictures with "
                             "the truth; empty: not computed"),
    "inverse.samples": Setting(4, BATCH, "--mode reconstruct: samples of the posterior of each "
                               "measurement"),
    "inverse.method": Setting("mmps", ANY, "--mode reconstruct: how samples are told of the "
                              "measurement (docs/inverse.md); all: METHODS in "
                              "samplers/rules/named.py"),
    "inverse.iterations": Setting(1, ROUNDS, "mmps: solver iterations per step, each a backward "
                                  "pass of the network"),
    "inverse.weight": Setting(-1.0, Rule(lambda v: v >= 0 or v == -1, "zero or positive, or -1"),
                              "dps, pigdm_step: length of the step along the gradient; diffpir: "
                              "weight of the denoised example; red_diff: of the model; -1: the "
                              "default of the method"),
    "inverse.squared": Setting(False, ANY, "dps: the gradient of the squared norm of the misfit, "
                               "not of the norm"),
    "inverse.data_variance": Setting(-1.0, Rule(lambda v: v > 0 or v == -1, "positive, or -1"),
                                     "pigdm, daps, tds, fps: variance of an encoded number of the "
                                     "data; -1: as published, 1 for pigdm and fps, else infinite"),
    "inverse.jump_length": Setting(10, ROUNDS, "repaint: steps from which a jump goes up again"),
    "inverse.jump_n_sample": Setting(10, ROUNDS, "repaint: times that every step is made; 1: no "
                                     "jumps"),
    "inverse.eta": Setting(0.85, Rule(lambda v: 0 <= v <= 1, "in [0, 1]"), "ddrm: share of new "
                           "noise where the measurement says nothing or little"),
    "inverse.eta_b": Setting(1.0, Rule(lambda v: 0 <= v <= 1, "in [0, 1]"), "ddrm: weight of the "
                             "measurement where it is less noisy than the state"),
    "inverse.flow_steps": Setting(5, ROUNDS, "daps: evaluations at each level, steps of the flow "
                                  "to x_0"),
    "inverse.flow_end": Setting(0.01, NOT_NEGATIVE, "daps: sigma / alpha at which the flow to x_0 "
                                "ends"),
    "inverse.langevin": Setting(0, STEPS, "daps: Langevin steps at each level, for operators that "
                                "are not linear; 0: exact draws"),
    "inverse.langevin_step": Setting(1e-4, POSITIVE, "daps: size of Langevin steps at the first "
                                     "level"),
    "inverse.langevin_end": Setting(1e-6, POSITIVE, "daps: size of Langevin steps at the last "
                                    "level"),
    "inverse.lr": Setting(0.1, POSITIVE, "red_diff: learning rate of Adam"),
    "inverse.particles": Setting(16, whole(1, 4096), "tds, fps: particles of each sample"),
    "inverse.resample": Setting(0.5, Rule(lambda v: 0 <= v <= 1, "in [0, 1]"), "tds, fps: share of "
                                "the particles that matter, below which they are drawn anew"),
    "inverse.tau": Setting(0.0, NOT_NEGATIVE, "daps: deviation of encoded measurements that "
                           "Langevin steps take for the noise's, as published 0.01; 0: the "
                           "noise's"),
    "inverse.stop": Setting(0.0, NOT_NEGATIVE, "ilvr: sigma / alpha below which nothing is "
                            "replaced"),
    # editing
    "edit.input": Setting("", ANY, "--mode edit: the examples, a folder of pictures, a picture, a "
                          ".npy or .npz file; empty: eval.images or eval.split"),
    "edit.method": Setting("sdedit", ANY, "--mode edit: how the example gets noise: sdedit (at "
                           "random), ddim (the sampler run upwards) or flow (the same, solved "
                           "exactly); all: WAYS in modes/edit.py"),
    "edit.strength": Setting(0.5, Rule(lambda v: 0 < v <= 1, "in (0, 1]"), "--mode edit: part of "
                             "the sampler's grid that is run again, from its end"),
    "edit.samples": Setting(4, BATCH, "--mode edit: edits of each example"),
    "edit.mask": Setting("", ANY, "--mode edit: what stays as it is, in white (nonzero): a file or "
                         "a pattern as of inverse.mask; empty: nothing"),
    "edit.source": Setting((), entries(whole(0, 2**20)), "ddim, flow: classes of the examples, one "
                           "for all or one for each; (): as their labels say"),
    # the machine
    "mesh.data": Setting(-1, AXIS, "number of devices, over all processes, that each hold a copy "
                         "of the model; -1: all that mesh.fsdp leaves"),
    "mesh.fsdp": Setting(1, AXIS, "number of devices among which each copy of parameters, averages "
                         "and optimizer state is divided; mesh.data x mesh.fsdp must be the number "
                         "of devices"),
    "mesh.smallest": Setting(2**14, whole(1, 2**62), "arrays with fewer numbers than this are not "
                             "divided but copied to every device"),
    "compiled": Setting("", ANY, "folder in which compiled programs are kept; empty: "
                        "~/.cache/score_sde/compiled; none: keep none"),
    "cpu_tuned": Setting(True, ANY, "on CPUs: whether programs are written as is fastest there, "
                         "with other rounding; on other platforms without effect"),
}  # fmt: skip

RETIRED = {
    "cpu_devices": ", which is no more: set JAX_NUM_CPU_DEVICES in the environment instead",
}
"""Settings of earlier versions, which older workdirs name -> what to do instead."""


FROM_DATA: dict[str, Any] = {
    "data.autoencoder": "",
    "data.autoencoder_hash": "",
    "data.latent_shape": (),
    "data.latent_shift": (),
    "data.latent_scale": (),
    "data.shape": (0,),
    "data.words": "",
    "data.mean": (),
    "data.std": (),
    "data.text_encoder_hash": "",
    "data.condition": (),
    "data.condition_mean": (),
    "data.condition_std": (),
    "sde.sigma_max": 0.0,
    "model.vocabulary": 0,
    "model.sigma_data": 0.0,
}
"""Setting -> the value that stands for one which is taken from the training data."""


CHOICES: dict[str, tuple[str, ...]] = {
    "sampling.predictor": (
        "probability_flow", "order", "form", "high_order_start", "second_order",
        "ancestral_variance", "eta", "gamma", "mu", "tau", "tau_min", "tau_max", "s_churn", "s_min",
        "s_max", "s_noise", "restart_solver", "restart_min", "restart_max", "restart_steps",
        "restart_times", "rtol", "atol", "max_steps", "ode_solver", "ode_clock", "step_control",
        "num_steps", "low_order_end",
    ),
    "sampling.corrector": ("pc_order", "snr", "delta", "n_steps_each", "norm"),
    "sampling.grid": (
        "shift", "rho", "respacing", "spacing", "steps_offset", "warp",
    ),
    "sampling.guidance_kind": (
        "guidance", "guidance_min", "guidance_max", "guidance_channels", "guidance_rescale",
        "guidance_quantile",
        "guidance_parallel", "guidance_radius", "guidance_momentum", "guide", "guide_step",
        "guide_ema_rate",
    ),
    "eval.likelihood": (
        "bins", "dequantization", "importance_samples", "trace", "probe", "num_probes",
        "ode_solver", "ode_clock", "step_control", "rtol", "atol", "max_steps", "bound_draws",
        "bound_steps", "respacing", "decoder_variance", "cdf", "clip",
    ),
    "data.codec": (
        "mean", "std", "low", "high", "centered", "autoencoder", "autoencoder_hash", "latent_shape",
        "latent_shift", "latent_scale", "tile",
    ),
    "model.condition": (
        "vocabulary", "text_width", "text_layers", "text_heads", "pooled_tokens",
    ),
    "data.dataset": (
        "tfds_name", "data_dir", "range", "crop", "filter", "test_fraction", "cache", "columns",
        "condition_columns", "label_column", "task", "simulations", "words", "glyphs", "colours",
        "draws", "left_out",
    ),
    "inverse.measure": (
        "mask", "factor", "complex", "coils", "blur_std", "blur_length", "blur_angle", "kernel",
        "angles",
    ),
    "edit.method": ("source",),
    "inverse.mask": ("mask_seed", "share", "acceleration", "centre"),
    "inverse.method": (
        "iterations", "weight", "squared", "data_variance", "stop", "jump_length",
        "jump_n_sample", "eta", "eta_b", "flow_steps", "flow_end", "langevin", "langevin_step",
        "langevin_end", "tau", "particles", "resample", "lr",
    ),
    "training.time_law": ("eps", "sigma_mean", "sigma_std"),
    "training.objective": (
        "vlb_weight", "cdf", "random_crop", "reconstruction", "reconstruction_logvar", "kl_weight",
        "codebook_weight", "commitment", "legacy_commitment", "lpips", "lpips_weight", "adversary",
        "adversary_weight", "adversary_start",
    ),
}  # fmt: skip
"""Setting -> settings of the same section that have an effect only for some of its values."""
