"""Settings of the section `model` that single networks have: heads, depths, embeddings."""

from configs.rules import ANY, BLOCKS, CHANNELS, CLASSES, POSITIVE, Rule, entries, whole
from configs.setting import OfModel, Setting

SETTINGS: dict[str, Setting] = {
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
    "model.vector_at_stem": OfModel(False, ANY, "mlp: give the condition's vector to the first "
                                    "layer, too, beside the example"),
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
    "model.guidance_features": OfModel(0, whole(0, 2**16), "unet_condition: sines and cosines of "
                                       "the weight of guidance that a distilled network is told, "
                                       "with sampling.guidance_kind=embedded; 0: it is not told"),
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
}  # fmt: skip
