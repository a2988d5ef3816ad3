"""Configs from which no network can be built are refused in the words of the config."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import models
from models.layers.norm import quarter_groups
from models.unet import normalized_widths
from tests.models.published import DDPM, NCSNPP, make

MODEL = [
    ("name", "ncsnp", r"model\.name must be one of ncsnpp, ddpm.*did you mean 'ncsnpp'"),
    ("nf", 0, r"model\.nf must be an integer of at least 1, got 0"),
    ("nf", 128.0, r"model\.nf must be an integer"),
    ("nf", 36, r"model\.nf .* 144 channels do not fall into 32 groups"),
    ("nf", 3, r"model\.nf .* groups"),
    ("ch_mult", (), r"model\.ch_mult"),
    ("ch_mult", (1, 0), r"model\.ch_mult must be a list of positive numbers"),
    ("ch_mult", "1,2", r"model\.ch_mult must be a list"),
    ("ch_mult", (1,) * 7, r"data\.image_size must be a multiple of 64.* got 32"),
    ("num_res_blocks", 0, r"model\.num_res_blocks"),
    ("attn_resolutions", (12,), r"model\.attn_resolutions .*32, 16, 8, 4, got 12"),
    ("dropout", 1.0, r"model\.dropout must be at least 0 and below 1"),
    ("dropout", -0.1, r"model\.dropout"),
    ("resamp_with_conv", 1, r"model\.resamp_with_conv must be True or False"),
    ("conditional", "yes", r"model\.conditional"),
    ("nonlinearity", "swich", r"model\.nonlinearity .*did you mean 'swish'"),
    ("normalization", "BatchNorm", r"model\.normalization must be one of GroupNorm"),
    ("num_classes", -1, r"model\.num_classes"),
    ("dtype", "float16", r"model\.dtype must be one of float32, bfloat16"),
]
NCSNPP_ONLY = [
    ("fir", "True", r"model\.fir must be True or False"),
    ("fir_kernel", (1,), r"model\.fir_kernel"),
    ("fir_kernel", (1, -1), r"model\.fir_kernel .* sum is not zero"),
    ("fir_kernel", (1, "3"), r"model\.fir_kernel"),
    ("skip_rescale", None, r"model\.skip_rescale"),
    ("init_scale", -1.0, r"model\.init_scale must be at least 0"),
    ("init_scale", float("nan"), r"model\.init_scale"),
    ("resblock_type", "bigan", r"model\.resblock_type .*did you mean 'biggan'"),
    ("progressive", "input_skip", r"model\.progressive must be .* got 'input_skip'"),
    ("progressive_input", "skip", r"model\.progressive_input must be one of none, input_skip"),
    ("progressive_combine", "mean", r"model\.progressive_combine must be one of sum, cat"),
    ("embedding_type", "furier", r"model\.embedding_type .*did you mean 'fourier'"),
    ("fourier_scale", 0, r"model\.fourier_scale must be positive"),
]
DATA = [
    ("image_size", 30, r"data\.image_size must be a multiple of 8, .* got 30"),
    ("image_size", "32", r"data\.image_size must be an integer"),
    ("num_channels", 0, r"data\.num_channels"),
    ("centered", 1, r"data\.centered must be True or False"),
]


@pytest.mark.parametrize(("key", "value", "message"), MODEL + NCSNPP_ONLY)
def test_bad_value_is_refused_by_name(key, value, message):
    with pytest.raises(ValueError, match=message):
        models.check(make(NCSNPP, {key: value}))


@pytest.mark.parametrize(("key", "value", "message"), DATA)
@pytest.mark.parametrize("base", [NCSNPP, DDPM], ids=["ncsnpp", "ddpm"])
def test_bad_data_is_refused_by_name(base, key, value, message):
    with pytest.raises(ValueError, match=message):
        models.check(make(base, data={key: value}))


# Normalization has one value only, so its absence is no question.
@pytest.mark.parametrize("key", [key for key in NCSNPP if key != "normalization"])
def test_missing_key_is_named(key):
    base = {k: v for k, v in NCSNPP.items() if k != key}
    with pytest.raises(ValueError, match=rf"model\.{key} is missing"):
        models.check(make(base))


def test_ddpm_wants_a_multiple_of_32_channels():
    with pytest.raises(ValueError, match=r"model\.nf .* 48 channels .* a multiple of 32"):
        models.check(make(DDPM, {"nf": 48}))


def test_names_are_read_whatever_their_case():
    models.check(make(NCSNPP, {"resblock_type": "BigGAN", "progressive": "Output_Skip"}))


def test_equal_configs_build_equal_networks():
    one, two = models.build(make(NCSNPP)), models.build(make(NCSNPP))
    assert one == two
    assert hash(one) == hash(two)
    assert one != models.build(make(NCSNPP, {"skip_rescale": False}))


@pytest.mark.parametrize("combine", ["sum", "cat"])
@pytest.mark.parametrize("nf", [5, 8, 20, 36])
def test_foreseen_channels_are_those_that_group_normalization_meets(nf, combine):
    model = {"nf": nf, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": ()}
    pyramid = {"progressive_input": "input_skip", "progressive_combine": combine}
    widths = set(normalized_widths(nf, (nf, 2 * nf), 1, combine == "cat"))
    config = make(NCSNPP, {**model, **pyramid}, {"image_size": 4})
    fits = all(c % quarter_groups(c) == 0 for c in widths)
    if not fits:
        with pytest.raises(ValueError, match=r"model\.nf"):
            models.check(config)
        return
    network = models.build(config)
    x, label = jnp.zeros((1, 4, 4, 3)), jnp.zeros(1)
    tree = jax.eval_shape(network.init, jax.random.key(0), x, label)["params"]
    norms = {
        leaf.shape[0]
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if "'scale'" in jax.tree_util.keystr(path)
    }
    assert norms == widths
