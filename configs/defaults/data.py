"""The training data and their codec: how they become the arrays that are diffused."""

from configs.rules import (
    ANY,
    AXES,
    EDGE,
    FRACTION,
    HASH,
    LEVELS,
    NAME,
    PERIOD,
    POSITIVES,
    RANGE,
    SIDE,
    WORDS,
    Rule,
    whole,
)
from configs.setting import OfFeatures, OfModel, OfWords, Setting

SETTINGS: dict[str, Setting] = {
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
    "data.edge": OfModel(0.0, EDGE, "bounded: share of the span before either end within which "
                         "the map of the data bends, straight between them; 0: it bends "
                         "everywhere, and makes a uniform law the normal one"),
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
                            "--mode train in a workdir that was trained on other data: refuse, "
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
                                  "share of the examples held out from training if the dataset has "
                                  "no test split"),
    "data.cache": Setting(True, ANY, "keep decoded pictures in a file beside the data for later "
                          "starts"),
}  # fmt: skip
