"""NCSN and NCSNv2 against the originals, in size, output and behaviour."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
import sde_lib
from models.apply import Apply
from models.pretrained import MismatchError
from models.pretrained.score_sde import networks
from sde_lib import ModelScore
from tests.models.ncsn_golden import (
    CASES,
    ORIGINAL,
    SCORE_SDE,
    config_of,
    golden,
    kind_of,
    make,
    relative,
    weights,
)
from tests.slow import but_slow, slow

PUBLISHED = {"nf": 128, "normalization": "InstanceNorm++", "nonlinearity": "elu"}
TINY = {**PUBLISHED, "nf": 4}
FACE, ROOM = {"image_size": 64}, {"image_size": 128}
# (network, images, levels): what score_sde's configurations amount to, and the original release.
COUNTS = {
    "ve/ncsnv2/cifar10": ("ncsnv2_64", {}, 232, 33_970_563, 29_694_083),
    "ve/ncsnv2/celeba": ("ncsnv2_64", FACE, 500, 33_970_563, 29_694_083),
    "ve/ncsnv2/bedroom": ("ncsnv2_128", ROOM, 1086, 83_445_379, 83_445_379),
    "ncsnv2_256": ("ncsnv2_256", {"image_size": 256}, 2000, 94_132_611, 94_132_611),
    "ve/ncsn/cifar10": ("ncsn", {}, 10, 34_428_675, 30_117_635),
    "ve/ncsn/cifar10_124": ("ncsn", {}, 232, 44_828_931, 39_750_659),
    "ve/ncsn/celeba_124": ("ncsn", FACE, 500, 57_384_195, 51_379_715),
}


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def shapes(config):
    network = models.build(config)
    return jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))


# One of each network; the others differ from it in the size of the images or in the levels.
MORE = ("ve/ncsnv2/celeba", "ve/ncsn/cifar10_124", "ve/ncsn/celeba_124")


@pytest.mark.parametrize("form", but_slow(["score_sde", "original"], "original"))
@pytest.mark.parametrize("name", but_slow(COUNTS, *MORE))
def test_parameter_count_is_the_published_one(name, form):
    network, data, levels, *counts = COUNTS[name]
    config = make({**PUBLISHED, "name": network, "refinenet": form}, data, levels)
    assert models.count(shapes(config)) == counts[form == "original"]


REPEATING = (
    "original ncsnv2_64 swish centered", "original ncsnv2_128 relu", "original ncsnv2_256 grey",
    "original ncsn lrelu", "score_sde ncsn",
    "score_sde ncsnv2_64 variance swish", "score_sde ncsnv2_128", "score_sde ncsnv2_256",
)  # fmt: skip


@pytest.mark.parametrize("case", but_slow(ORIGINAL + SCORE_SDE, *REPEATING))
def test_output_equals_the_original(case):
    _, network, params, x, label, stored = golden(case)
    # Not jitted: the cases share their shapes, so operations compiled for one serve the others.
    found = network.apply({"params": params}, x, label)
    assert found.shape == x.shape
    assert found.dtype == jnp.float32
    # float32 round-off of some forty layers.
    assert relative(found, stored["raw"]) < 1e-5


def test_score_is_the_output_over_the_sigma_of_the_level():
    config, network, params, x, label, stored = golden("original ncsnv2_64")
    config = config.copy_and_resolve_references()
    config.model.scale_by_sigma = True
    parametrization = sde_lib.build_parametrization(config)
    t = 1 - label / 6
    score = ModelScore(Apply(network), params, sde_lib.build(config), parametrization)
    # Levels come from a float32 table of log sigma: 1e-7 of log 5000 each.
    assert relative(score(x, t), stored["score"]) < 1e-5


def test_ncsn_is_told_the_number_of_the_level_from_the_noisiest():
    config, network, params, x, label, stored = golden("score_sde ncsn")
    parametrization = sde_lib.build_parametrization(config)
    score = ModelScore(Apply(network), params, sde_lib.build(config), parametrization)
    # A time between levels counts as the nearest of them.
    t = 1 - (label + jnp.array([0.4, -0.4, -0.4])) / 6
    assert relative(score(x, t), stored["raw"]) < 1e-5


def test_labels_outside_of_the_levels_are_those_of_the_nearest():
    _, network, params, x, _, _ = golden("score_sde ncsn")
    at = lambda label: network.apply({"params": params}, x, jnp.full(3, label))
    np.testing.assert_array_equal(at(-3.0), at(0.0))
    np.testing.assert_array_equal(at(9.0), at(6.0))
    assert relative(at(6.0), at(0.0)) > 0.01


def test_ncsnv2_does_not_look_at_the_label():
    _, network, params, x, label, stored = golden("score_sde ncsnv2_64")
    found = network.apply({"params": params}, x, 100 * label - 3.3)
    assert relative(found, stored["raw"]) < 1e-5


SWITCHES = [
    ("model", "nonlinearity", "swish"),
    ("model", "interpolation", "nearest_neighbor"),
    ("data", "centered", True),
]


@pytest.mark.parametrize(("section", "key", "value"), SWITCHES)
def test_option_changes_the_output(section, key, value):
    config, _, params, x, label, stored = golden("score_sde ncsnv2_64")
    other = config.copy_and_resolve_references()
    other[section][key] = value
    found = models.build(other).apply({"params": params}, x, label)
    assert relative(found, stored["raw"]) > 0.01


def test_release_changes_the_output_where_it_does_not_change_the_parameters():
    config, _, params, x, label, stored = golden("score_sde ncsnv2_128")
    other = config.copy_and_resolve_references()
    other.model.refinenet = "original"
    found = models.build(other).apply({"params": params}, x, label)
    assert relative(found, stored["raw"]) > 0.01


@slow
def test_gradient_reaches_every_parameter():
    _, network, params, x, label, _ = golden("score_sde ncsn")

    def loss(p):
        return jnp.square(network.apply({"params": p}, x, label)).mean()

    # Not jitted, as above: compiling the whole takes longer than its parts.
    gradients = jax.grad(loss)(params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(gradient).all(), name
        if "embedding" in name:
            used = np.abs(gradient).max(1) > 0
            np.testing.assert_array_equal(used, [i in (0, 3, 6) for i in range(7)], name)
        assert np.abs(gradient).max() > 0, name


@slow
def test_initial_weights_have_the_scale_that_the_originals_draw():
    config = make({**TINY, "name": "ncsn", "nf": 32}, {"image_size": 8}, 40)
    params = models.init(models.build(config), jax.random.key(0), config)
    conv = params["stage_1_block_0"]["conv_1"]
    bound = 1 / np.sqrt(9 * 32)
    for weight in conv.values():
        # The maximum of 64 or more uniform draws falls short of the bound by 1.6 % on average.
        assert 0.85 * bound < np.abs(weight).max() <= bound * (1 + 1e-6)
    table = params["norm"]["embedding"]
    scales, shifts = table[:, :64], table[:, 64:]
    np.testing.assert_array_equal(shifts, 0)
    # 2560 draws: mean known to 0.0004, deviation to 1.4 %; four of those.
    assert abs(scales.mean() - 1) < 0.0016
    assert abs(scales.std() / 0.02 - 1) < 0.06


@slow
def test_bfloat16_computes_near_float32_with_float32_parameters():
    config, _, params, x, label, stored = golden("score_sde ncsn")
    low = config.copy_and_resolve_references()
    low.model.dtype = "bfloat16"
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes(low))} == {jnp.dtype(jnp.float32)}
    found = models.build(low).apply({"params": params}, x, label)
    assert found.dtype == jnp.float32
    # bfloat16 has 8 bits: 0.4 % per operation, some forty of them in a row.
    assert 1e-5 < relative(found, stored["raw"]) < 0.1


def test_equal_configs_build_equal_networks():
    one, two = (models.build(make({**TINY, "name": "ncsn"})) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)


BAD = [
    ({"name": "ncsnv2_64"}, {"image_size": 31}, "data.image_size must be a multiple of 2.* got 31"),
    ({"name": "ncsnv2_128"}, {"image_size": 30}, "data.image_size must be a multiple of 4"),
    ({"name": "ncsnv2_256"}, {"image_size": 36}, "data.image_size must be a multiple of 8"),
    ({"name": "ncsn", "normalization": "VarianceNorm"}, {}, "model.normalization must be one of "),
    ({"name": "ncsnv2_64", "normalization": "GroupNorm"}, {}, "model.normalization must be one of"),
    ({"name": "ncsnv2_64", "interpolation": "cubic"}, {}, "model.interpolation must be one of"),
    (
        {"name": "ncsnv2_64", "interpolation": "nearest_neighbor", "refinenet": "original"},
        {},
        "model.interpolation must be one of bilinear, got",
    ),
    ({"name": "ncsnv2_64", "refinenet": "jax"}, {}, "model.refinenet must be one of score_sde, or"),
    ({"name": "ncsnv2_64", "num_classes": 10}, {}, "model.num_classes must be 0 .* got 10"),
    ({"name": "ncsnv2_64", "nf": 1}, {}, "model.nf must be an integer of at least 2, got 1"),
    ({"name": "ncsn", "conditioning": "log_sigma"}, {}, "'ncsn' needs the number of the"),
    ({"name": "ncsn"}, {"num_channels": 0}, "data.num_channels must be"),
]


@pytest.mark.parametrize(("model", "data", "message"), BAD)
def test_bad_value_is_refused_by_name(model, data, message):
    with pytest.raises(ValueError, match=message):
        models.check(make({**TINY, **model}, data))


def test_ncsn_refuses_continuous_training():
    config = make({**TINY, "name": "ncsn"})
    config.training.continuous = True
    with pytest.raises(ValueError, match=r"set sde\.name='ve' and training\.continuous=False"):
        models.check(config)


def test_class_labels_are_refused():
    _, network, params, x, label, _ = golden("score_sde ncsn")
    with pytest.raises(ValueError, match="a network that takes class labels"):
        network.apply({"params": params}, x, label, jnp.zeros(3, int))


def test_old_flax_weights_of_four_axes_are_read():
    case = "score_sde ncsnv2_64"
    config, network, params, *_ = golden(case)
    flat = {k: v.reshape(-1) if v.shape[:3] == (1, 1, 1) else v for k, v in weights(case).items()}
    assert any(v.ndim == 1 for k, v in flat.items() if "gamma" in k)
    again = networks.to_params(flat, network, config, "jax")
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_weights_of_the_other_release_are_refused_tensor_by_tensor():
    config = config_of("original ncsnv2_64")
    config.model.refinenet = "score_sde"
    network, found = models.build(config), weights("original ncsnv2_64")
    with pytest.raises(MismatchError) as caught:
        networks.to_params(found, network, config, "torch")
    row = "refine3.msf.convs.0.weight: [6, 12, 3, 3], the network wants [12, 12, 3, 3]"
    assert row in str(caught.value).splitlines()


@pytest.mark.parametrize("case", ORIGINAL + SCORE_SDE)
def test_settings_are_recognised_from_names_and_shapes(case):
    facts = CASES[case]
    shapes = {name: weight.shape for name, weight in weights(case).items()}
    found = networks.infer(shapes, kind_of(case)).settings
    keys = ("name", "nf", "refinenet", "normalization")
    expected = {f"model.{key}": facts["model"][key] for key in keys if key in facts["model"]}
    expected["data.num_channels"] = facts["data"]["num_channels"]
    expected |= {"sde.num_scales": 7} if facts["model"]["name"] == "ncsn" else {}
    assert {"model.refinenet": "score_sde", **expected} == found
