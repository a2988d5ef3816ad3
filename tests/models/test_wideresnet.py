"""The noise-conditional classifier against the original, in size, output and behaviour."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization
from flax.traverse_util import unflatten_dict

import models
from models.pretrained import MismatchError
from models.pretrained.score_sde import classifier
from models.wideresnet import whiten
from tests.models.ncsn_golden import CLASSIFIERS, golden, make, relative, weights
from tests.slow import slow

PUBLISHED = {
    "name": "wideresnet",
    "nf": 16,
    "ch_mult": (10, 20, 40),
    "num_res_blocks": 4,
    "num_classes": 10,
}


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def test_parameter_count_is_the_published_one():
    config = make(PUBLISHED)
    network = models.build_classifier(config)
    shapes = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    assert models.count(shapes) == 38_913_242


@pytest.mark.parametrize("case", CLASSIFIERS)
def test_logits_and_guidance_equal_the_original(case):
    _, network, params, x, label, stored = golden(case)

    def likelihood(x):
        logits = network.apply({"params": params}, x, label)
        return jax.nn.log_softmax(logits)[jnp.arange(3), jnp.array([0, 2, 4])].sum(), logits

    quick = {"xla_backend_optimization_level": 0}
    run = jax.jit(jax.grad(likelihood, has_aux=True), compiler_options=quick)
    gradient, logits = run(x)
    assert logits.shape == (3, 5)
    # float32 round-off; frequencies of 16 times log sigma leave 1e-6 of a turn of the angle.
    assert relative(logits, stored["raw"]) < 1e-5
    # A gradient divides by the deviation of images and groups, and so loses a digit more.
    assert relative(gradient, stored["grad"]) < 1e-4


def test_noise_level_reaches_the_logits():
    _, network, params, x, label, stored = golden(CLASSIFIERS[0])
    assert relative(network.apply({"params": params}, x, label + 0.05), stored["raw"]) > 0.01


def test_centered_images_are_mapped_to_what_the_original_saw():
    config, _, params, x, label, stored = golden(CLASSIFIERS[0])
    other = config.copy_and_resolve_references()
    other.data.centered = True
    found = models.build_classifier(other).apply({"params": params}, 2 * x - 1, label)
    assert relative(found, stored["raw"]) < 1e-5


def test_whitened_image_has_no_mean_and_unit_variance_unless_it_is_constant():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3)) * 7 + 3
    y = whiten(x)
    np.testing.assert_allclose(y.mean((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.std((1, 2, 3)), 1, rtol=1e-6)
    flat = jnp.full((1, 4, 4, 3), 0.5)
    np.testing.assert_array_equal(whiten(flat), 0)
    assert np.isfinite(jax.grad(lambda x: whiten(x)[0, 0, 0, 0])(flat)).all()


@slow
def test_logits_stay_float32_in_bfloat16():
    config, _, params, x, label, stored = golden(CLASSIFIERS[0])
    low = config.copy_and_resolve_references()
    low.model.dtype = "bfloat16"
    found = models.build_classifier(low).apply({"params": params}, x, label)
    assert found.dtype == jnp.float32
    # bfloat16 has 8 bits: 0.4 % per operation, some thirty of them in a row.
    assert 1e-5 < relative(found, stored["raw"]) < 0.1


BAD = [
    ({"name": "ncsnpp"}, {}, r"model\.name='ncsnpp' is a network .* one of wideresnet, "),
    ({"ch_mult": ()}, {}, r"model\.ch_mult must be a list of positive integers"),
    ({"ch_mult": (4, 2)}, {}, r"model\.ch_mult must be .* do not fall, got"),
    ({"nf": 2}, {}, r"model\.nf must let group normalization .* got 2: 2 channels"),
    ({"nf": 18, "ch_mult": (1, 2)}, {}, r"model\.nf .* 18 channels do not fall into 4 groups"),
    ({"num_classes": 1}, {}, r"model\.num_classes must be an integer of at least 2, got 1"),
    ({"num_res_blocks": 0}, {}, r"model\.num_res_blocks"),
    ({"fourier_scale": 0}, {}, r"model\.fourier_scale must be positive"),
    ({}, {"image_size": 30}, r"data\.image_size must be a multiple of 4, .* got 30"),
]


@pytest.mark.parametrize(("model", "data", "message"), BAD)
def test_bad_value_is_refused_by_name(model, data, message):
    with pytest.raises(ValueError, match=message):
        models.build_classifier(make({**PUBLISHED, **model}, data))


def test_a_published_file_gives_the_network_and_its_parameters(tmp_path):
    """score_sde's form: parameters alone, in flax's msgpack, GroupNorm's as [1, 1, 1, C]."""
    case = CLASSIFIERS[0]
    config, network, params, *_ = golden(case)
    config = config.copy_and_resolve_references()
    old = {k: v.reshape(1, 1, 1, -1) if "bn" in k else v for k, v in weights(case).items()}
    path = tmp_path / "checkpoint_127"
    path.write_bytes(serialization.msgpack_serialize(unflatten_dict(old, sep="/")))
    found, loaded = classifier.load(path, config)
    assert found == network
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    config.model.nf = 8
    with pytest.raises(MismatchError, match="init_conv/kernel"):
        classifier.load(path, config)
