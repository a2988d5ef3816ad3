"""transformers' config.json of a reader of texts, and the network that it describes.

Every key is read, or known to say nothing of the numbers that come out; any other is refused.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flax import linen as nn

from models.pretrained.diffusers.keys import Keys, values
from models.pretrained.diffusers.rules import (
    FLAG,
    Json,
    JsonRule,
    integer_in,
    number_in,
    one_of,
    or_none,
)
from models.pretrained.files.tensors import PretrainedError
from models.text_encoders.clip import ACTIVATIONS, ClipSizes, ClipText
from models.text_encoders.t5 import T5Encoder, T5Sizes
from untrusted import shown

FILE = "config.json"
TOKEN = integer_in(0, 1 << 24)
WIDTH, COUNT = integer_in(1, 1 << 16), integer_in(1, 256)
HARMLESS = frozenset((
    # where a file comes from, and what it may be used for
    "_name_or_path", "_commit_hash", "architectures", "model_type", "transformers_version", "dtype",
    "torch_dtype", "tokenizer_class", "task_specific_params", "finetuning_task", "problem_type",
    "id2label", "label2id", "num_labels", "prefix", "use_bfloat16", "torchscript", "tf_legacy_loss",
    # training
    "attention_dropout", "dropout", "dropout_rate", "classifier_dropout", "initializer_factor",
    "initializer_range", "gradient_checkpointing", "logit_scale_init_value",
    # what is returned, and how texts are written
    "return_dict", "output_attentions", "output_hidden_states", "output_past", "output_scores",
    "return_dict_in_generate", "use_cache", "bad_words_ids", "begin_suppress_tokens", "do_sample",
    "chunk_size_feed_forward", "decoder_start_token_id", "diversity_penalty", "early_stopping",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id",
    "forced_eos_token_id", "length_penalty", "max_length", "min_length", "no_repeat_ngram_size",
    "num_beam_groups", "num_beams", "num_return_sequences", "remove_invalid_values",
    "repetition_penalty", "sep_token_id", "suppress_tokens", "temperature", "top_k", "top_p",
    "typical_p",
    # decoders, and ties between parts that are not read
    "cross_attention_hidden_size", "is_encoder_decoder", "num_decoder_layers",
    "scale_decoder_outputs", "tie_encoder_decoder", "tie_word_embeddings", "n_positions",
))  # fmt: skip
"""Keys of no effect on an encoder's numbers."""
COMMON: dict[str, tuple[Any, JsonRule]] = {
    "is_decoder": (False, one_of(False)),
    "add_cross_attention": (False, one_of(False)),
    "pruned_heads": (None, JsonRule(lambda v, c: not v, "empty")),
    "pad_token_id": (None, or_none(TOKEN)),
    "bos_token_id": (None, or_none(TOKEN)),
}
"""Keys -> default, and the rule of their values, of all kinds."""
CLIP_KEYS: Keys = {
    **COMMON,
    "vocab_size": (49408, integer_in(1, 1 << 24)),
    "hidden_size": (512, WIDTH),
    "intermediate_size": (2048, WIDTH),
    "projection_dim": (512, WIDTH),
    "num_hidden_layers": (12, COUNT),
    "num_attention_heads": (
        8,
        JsonRule(lambda v, c: type(v) is int and v > 0 and c["hidden_size"] % v == 0,
                 "a divisor of hidden_size"),
    ),
    "max_position_embeddings": (77, WIDTH),
    "hidden_act": ("quick_gelu", one_of(*ACTIVATIONS)),
    "layer_norm_eps": (1e-5, number_in(1e-12, 1)),
    "eos_token_id": (49407, TOKEN),
    "use_attention_mask": (False, FLAG),
}  # fmt: skip
T5_KEYS: Keys = {
    **COMMON,
    "vocab_size": (32128, integer_in(1, 1 << 24)),
    "d_model": (512, WIDTH),
    "d_kv": (64, WIDTH),
    "d_ff": (2048, WIDTH),
    "num_layers": (6, COUNT),
    "num_heads": (8, integer_in(1, 1 << 10)),
    "relative_attention_num_buckets": (
        32, JsonRule(lambda v, c: type(v) is int and 4 <= v <= 1 << 12 and v % 4 == 0,
                     "a multiple of 4"),
    ),
    "relative_attention_max_distance": (
        128,
        JsonRule(lambda v, c: type(v) is int
                 and c["relative_attention_num_buckets"] // 4 < v <= 1 << 16,
                 "above a quarter of relative_attention_num_buckets"),
    ),
    "layer_norm_epsilon": (1e-6, number_in(1e-12, 1)),
    "feed_forward_proj": ("relu", one_of("relu", "gated-gelu")),
    "is_gated_act": (None, JsonRule(lambda v, c: v in (None, _gated(c)), "as feed_forward_proj")),
    "dense_act_fn": (
        None, JsonRule(lambda v, c: v in (None, "gelu_new" if _gated(c) else "relu"),
                       "as feed_forward_proj"),
    ),
    "eos_token_id": (1, TOKEN),
}  # fmt: skip


class Described(NamedTuple):
    """A network that a config.json describes, and its tokens.

    Attributes:
      network: of text features.
      kind: "clip" or "t5".
      vocabulary: number of different tokens.
      places: most tokens of a text; 0 for any number.
      end: the end token, or `clip.LARGEST`.
      width: features of a token.
      layers: number of layers.
      pooled: pooled features; 0 for none.
      masked: whether padding is hidden from other tokens by the model's own setting.
    """

    network: nn.Module
    kind: str
    vocabulary: int
    places: int
    end: int
    width: int
    layers: int
    pooled: int = 0
    masked: bool = False


def _gated(c: Json) -> bool:
    return c["feed_forward_proj"] == "gated-gelu"


def described(content: Json) -> Described:
    """The network of a config.json.

    Raises:
      PretrainedError: it is of no kind that is here, or has a key or a value with no counterpart.
    """
    kind = content.get("model_type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise PretrainedError(
            f"its {FILE} has model_type = {shown(kind)}, must be one of {', '.join(KINDS)}"
        )
    return KINDS[kind](content)


def _projects(content: Json) -> bool:
    """True for a reader whose pooled features are projected."""
    classes = content.get("architectures") or []
    known = ("CLIPTextModel", "CLIPTextModelWithProjection")
    if not isinstance(classes, list) or any(name not in known for name in classes):
        raise PretrainedError(
            f"its {FILE} has architectures = {shown(classes)}, must be one of {', '.join(known)}"
        )
    return known[1] in classes


def _clip(content: Json) -> Described:
    return _clip_text(content, _projects(content))


def _clip_text(content: Json, projects: bool) -> Described:
    c = values(FILE, content, CLIP_KEYS, HARMLESS)
    sizes = ClipSizes(
        vocabulary=c["vocab_size"],
        places=c["max_position_embeddings"],
        width=c["hidden_size"],
        wide=c["intermediate_size"],
        layers=c["num_hidden_layers"],
        heads=c["num_attention_heads"],
        activation=c["hidden_act"],
        projection=c["projection_dim"] if projects else 0,
        end=c["eos_token_id"],
        epsilon=float(c["layer_norm_eps"]),
        masked=c["use_attention_mask"],
    )
    told = (sizes.vocabulary, sizes.places, sizes.end, sizes.width, sizes.layers, sizes.pooled)
    return Described(ClipText(sizes), "clip", *told, sizes.masked)


def _both_towers(content: Json) -> Described:
    """The text's half of a whole CLIP, whose config.json has one for each half."""
    text = content.get("text_config")
    if not isinstance(text, dict):
        raise PretrainedError(f"its {FILE} must have text_config, the settings of CLIP's text half")
    told = content.get("projection_dim", text.get("projection_dim", 512))
    return _clip_text({**text, "projection_dim": told}, True)


def _t5(content: Json) -> Described:
    c = values(FILE, content, T5_KEYS, HARMLESS)
    sizes = T5Sizes(
        vocabulary=c["vocab_size"],
        width=c["d_model"],
        wide=c["d_ff"],
        layers=c["num_layers"],
        heads=c["num_heads"],
        head=c["d_kv"],
        gated=_gated(c),
        buckets=c["relative_attention_num_buckets"],
        distance=c["relative_attention_max_distance"],
        epsilon=float(c["layer_norm_epsilon"]),
    )
    told = (sizes.vocabulary, 0, c["eos_token_id"], sizes.width, sizes.layers)
    return Described(T5Encoder(sizes), "t5", *told)


KINDS = {"clip_text_model": _clip, "clip": _both_towers, "t5": _t5, "mt5": _t5}
"""model_type -> the reader of its config.json."""
