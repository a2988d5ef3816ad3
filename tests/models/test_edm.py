"""EDM's networks and preconditionings against the original: tests/golden/edm/README.md."""

from __future__ import annotations

import copy
import functools
import json
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
import sde_lib
from configs import schema
from models.apply import Apply
from models.layers import conditions
from models.layers.embeddings import Positional
from models.layers.mappings import ADMMapping, SongMapping
from models.layers.style import fan_in_init
from models.pretrained import MismatchError, PretrainedError, load
from models.pretrained.edm.settings import network_of, settings
from models.pretrained.edm.snapshot import params, tensors
from models.pretrained.files import torch_files
from sde_lib import ModelScore
from tests import edm_snapshots
from tests.slow import but_slow, slow

GOLDEN = Path(__file__).parents[1] / "golden" / "edm"
CASES = json.loads((GOLDEN / "edm.json").read_text())
QUICK = {"xla_backend_optimization_level": 0}
FIRST = next(iter(CASES))


def weight(name, shape, stream):
    """A weight of the golden networks, drawn as README.md says."""
    draw = stream.standard_normal(shape)
    if name.endswith("freqs"):
        return (16 * draw).astype(np.float32)
    draw = 1 + 0.2 * draw if len(shape) == 1 else draw / np.sqrt(np.prod(shape) / shape[0])
    return draw.astype(np.float32)


@functools.cache
def snapshot(case):
    """A golden case as the reader of snapshots would give it."""
    facts = CASES[case]
    stream = np.random.RandomState(list(CASES).index(case))
    weights = {k: weight(k, tuple(shape), stream) for k, shape in facts["weights"].items()}
    return edm_snapshots.preconditioned(facts["class_name"], facts["init_kwargs"], weights)


def config_of(made):
    config = schema.get_default()
    for name, value in settings(made).items():
        section, key = name.split(".")
        config[section][key] = value
    schema.check(config)
    return config


def score_of(made):
    config = config_of(made)
    network = models.build(config)
    parametrization = sde_lib.build_parametrization(config)
    weights = params(tensors(network_of(made)), network, config)
    return ModelScore(Apply(network), weights, sde_lib.build(config), parametrization)


@functools.cache
def golden(case):
    """Score, inputs and outputs of a case."""
    with np.load(GOLDEN / "edm.npz") as file:
        arrays = {k.split("/")[1]: file[k] for k in file.files if k.split("/")[0] == case}
    return score_of(snapshot(case)), {k: jnp.asarray(v) for k, v in arrays.items()}


def condition_of(arrays):
    parts = {"label": arrays.get("class"), "augment": arrays.get("augment")}
    return {k: v for k, v in parts.items() if v is not None} or None


def relative(found, expected):
    return float(jnp.linalg.norm((found - expected).ravel()) / jnp.linalg.norm(expected.ravel()))


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def denoise(score, x, sigma, condition):
    return score.denoise(x, sigma, condition)


def twice(arrays):
    """x, sigma and condition with, behind them, the same under no condition."""
    x, sigma = (jnp.concatenate([arrays[k]] * 2) for k in ("x", "sigma"))
    parts = {}
    if "class" in arrays:
        label = arrays["class"].astype(jnp.int32)
        parts["label"] = jnp.concatenate([label, jnp.full_like(label, -1)])
    if "augment" in arrays:
        parts["augment"] = jnp.pad(arrays["augment"], ((0, len(arrays["augment"])), (0, 0)))
    return x, sigma, parts or None


REPEATING = (
    "iDDPM, ADM, class, two heads", "EDM, sigma_data, no attention, grey, odd numbers",
    "VP, other constants, averaging residual encoder", "EDM, ADM, class and augmentation",
    "VP, ADM, no attention below the middle", "EDM, six taps, residual encoder, skip decoder",
)  # fmt: skip


@pytest.mark.parametrize("case", but_slow(CASES, *REPEATING))
def test_denoiser_and_network_equal_the_original(case):
    score, arrays = golden(case)
    sigma, n = arrays["sigma"], len(arrays["sigma"])
    found = jax.jit(denoise, compiler_options=QUICK)(score, *twice(arrays))
    found, null = found[:n], found[n:]
    # float32 round-off: each example by itself, for they differ in size by their noise.
    for i in range(n):
        assert relative(found[i], arrays["denoised"][i]) < 1e-5
    # And without the part of it that is x: D = data_skip x + data_out F.
    c = score.parametrization.prediction.coefficients(jnp.ones_like(sigma), sigma)
    skip, out = (k[:, None, None, None] for k in (c.data_skip, c.data_out))
    raw = (found - arrays["x"] * skip) / out
    # Where sigma is 0.05 the difference of x and D loses more than a digit.
    assert relative(raw[1:], arrays["raw"][1:]) < 2e-5
    if "denoised_null" in arrays:
        assert relative(null, arrays["denoised_null"]) < 1e-5
        assert relative(null, found) > 1e-3


def test_settings_are_what_the_snapshot_says_of_itself():
    made = torch_files.read(GOLDEN.parent / "edm_ddpmpp.pkl")["ema"]
    found = settings(made)
    expected = {
        "sde.name": "edm", "sde.sigma_min": 0.002, "sde.sigma_max": 80.0,
        "data.image_size": 32, "data.num_channels": 3, "data.centered": True,
        "model.name": "songunet", "model.nf": 16, "model.ch_mult": (2, 2, 2),
        "model.num_res_blocks": 2, "model.attn_resolutions": (16,), "model.dropout": 0.13,
        "model.augment_dim": 9, "model.num_classes": 0, "model.fir_kernel": (1, 1),
        "model.prediction": "edm", "model.conditioning": "quarter_log_sigma",
        "model.sigma_data": 0.5,
    }  # fmt: skip
    assert expected.items() <= found.items()


def test_arguments_may_be_given_by_position_and_limits_of_the_network_are_kept():
    made = copy.deepcopy(snapshot("VE, NCSN++, class"))
    made["init_args"] = [made["init_kwargs"].pop("img_resolution")]
    made["state"] |= {"sigma_min": 0.02, "sigma_max": 100}
    found = settings(made)
    assert (found["sde.sigma_min"], found["sde.sigma_max"]) == (0.02, 80.0)
    assert found["data.image_size"] == 8


def inner(made):
    return made["state"]["_modules"]["model"]


SPOILT = {
    "preconditioning in the snapshot must be one of": lambda m: m.update(class_name="Precond"),
    "network in the snapshot must be one of": lambda m: inner(m).update(class_name="DiT"),
    "no argument 'depth'": lambda m: inner(m)["init_kwargs"].update(depth=3),
    "does not say in_channels": lambda m: inner(m)["init_kwargs"].pop("in_channels"),
    "must have 2 x 3 output channels": lambda m: inner(m)["init_kwargs"].update(out_channels=3),
    "resample_filter must be symmetric": lambda m: inner(m)["init_kwargs"].update(
        resample_filter=[1, 2]
    ),
    "encoder_type must be one of": lambda m: inner(m)["init_kwargs"].update(encoder_type="cat"),
    "C_1 and C_2 must be": lambda m: m["init_kwargs"].update(C_1=0.01),
    "no network within": lambda m: m["state"].pop("_modules"),
}


@pytest.mark.parametrize("message", SPOILT)
def test_what_is_not_edms_is_refused(message):
    made = copy.deepcopy(snapshot("iDDPM, averaging skip encoder and decoder, class"))
    SPOILT[message](made)
    with pytest.raises(ValueError, match=message):
        settings(made)


def test_weights_that_do_not_fit_are_listed_one_by_one():
    made = copy.deepcopy(snapshot(FIRST))
    config = config_of(made)
    modules = inner(made)["state"]["_modules"]
    layer = modules["map_layer0"]["state"]["_parameters"]
    layer["weight"] = layer["weight"][:, :3]
    layer["extra"] = layer.pop("bias")
    with pytest.raises(MismatchError, match="does not fit") as raised:
        params(tensors(network_of(made)), models.build(config), config)
    assert str(raised.value).splitlines()[1:] == [
        "map_layer0.bias: missing, the network wants [32]",
        "map_layer0.extra: [32], the network has no such tensor",
        "map_layer0.weight: [32, 3], the network wants [32, 8]",
    ]


def plain(network: dict | None = None, **arguments):
    """The content of a snapshot of an EDMPrecond with that network within."""
    sizes = {"img_resolution": 8, "in_channels": 3, "out_channels": 3, **arguments}
    state = {"_parameters": {}, "_buffers": {}, "_modules": {}, **(network or {})}
    made = {"class_name": "SongUNet", "init_args": (), "init_kwargs": sizes, "state": state}
    outer = {"img_resolution": 8, "img_channels": 3}
    return {"ema": {"class_name": "EDMPrecond", "init_args": (), "init_kwargs": outer,
                    "state": {"_modules": {"model": made}}}}  # fmt: skip


FILES = {
    "another pickle": ({"x": 1}, "not a snapshot of EDM"),
    "no state": ({"ema": {"class_name": "EDMPrecond"}}, "no network within"),
    "numbers for tensors": (plain({"_parameters": {"w": 3}}), "w in the snapshot is no tensor"),
    "no buffers": (plain({"_buffers": None}), "damaged, or another's"),
    "words for numbers": (plain(img_resolution="many"), "damaged, or another's"),
    "endless": (plain(num_blocks=10**9), "num_blocks=1000000000, beyond"),
    "endless list": (plain(channel_mult=[1] * 99), "channel_mult="),
}


@pytest.mark.parametrize("case", FILES)
def test_snapshot_that_makes_no_sense_is_refused_in_one_line(case, tmp_path):
    content, words = FILES[case]
    path = tmp_path / "snapshot.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(PretrainedError, match=words) as caught:
        load(path)
    assert str(caught.value).startswith("snapshot.pkl")
    assert "\n" not in str(caught.value)


# Conditions --------------------------------------------------------------------------------------


def test_conditions_are_rows_whatever_their_form():
    index = jnp.asarray([1, 3, -1])
    rows = jnp.asarray([[0.0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    augment = jnp.arange(6.0).reshape(3, 2)
    for condition in (index, rows, {"label": index}, {"label": rows, "augment": None}):
        label, none = conditions.as_rows(condition, 3, 4, 2)
        np.testing.assert_array_equal(label, rows)
        np.testing.assert_array_equal(none, jnp.zeros((3, 2)))
    label, given = conditions.as_rows({"augment": augment}, 3, 4, 2)
    np.testing.assert_array_equal(label, jnp.zeros((3, 4)))
    np.testing.assert_array_equal(given, augment)


@pytest.mark.parametrize(
    "condition, classes, message",
    [
        ({"classes": jnp.zeros(3)}, 4, "label, augment, .*got 'classes'"),
        (jnp.zeros(3, jnp.int32), 0, "model.num_classes is 0"),
        ({"augment": jnp.zeros((3, 5))}, 4, r"model.augment_dim is 2.*\(3, 2\), got \(3, 5\)"),
    ],
)
def test_conditions_that_a_network_does_not_take_are_refused(condition, classes, message):
    with pytest.raises(ValueError, match=message):
        conditions.as_rows(condition, 3, classes, 2)


def test_labels_are_hidden_at_their_rate_and_in_training_only():
    rows = jnp.ones((4000, 3))
    hide, rngs = conditions.HideRows(0.3), {"dropout": jax.random.key(0)}
    seen = np.asarray(hide.apply({}, rows, True, rngs=rngs))
    assert set(seen.sum(1)) == {0.0, 3.0}
    # The standard error of a rate of 0.3 from 4000 draws is 0.0072: four of them.
    assert (seen[:, 0] == 0).mean() == pytest.approx(0.3, abs=0.029)
    np.testing.assert_array_equal(hide.apply({}, rows, False), rows)


MAPPINGS = {
    "song": lambda rate: SongMapping(models.build(config_of(snapshot(FIRST))).style, 8,
                                     Positional(4), 3, 2, rate),
    "adm": lambda rate: ADMMapping(8, Positional(4), 3, 2, rate),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPPINGS)
def test_mappings_hide_labels_and_not_augmentations(name):
    make, key = MAPPINGS[name], jax.random.key(1)
    label, augment = jnp.asarray([0.1, 0.7]), jnp.ones((2, 2))
    weights = make(0.0).init(key, label)
    weights = jax.tree.map(lambda w: jax.random.normal(key, w.shape), weights)
    told = {"label": jnp.asarray([0, 2]), "augment": augment}
    # Hidden but for one draw in ten thousand.
    hidden = make(0.9999).apply(weights, label, told, True, rngs={"dropout": key})
    plain = make(0.9999).apply(weights, label, told)
    np.testing.assert_allclose(hidden, make(0.0).apply(weights, label, {"augment": augment}))
    assert not np.allclose(plain, hidden)
    assert not np.allclose(hidden, make(0.0).apply(weights, label))


@slow
def test_gradient_reaches_every_parameter_of_adm():
    score, arrays = golden("VE, ADM, averaged in one level")

    def loss(weights):
        network = score.apply.network
        return jnp.square(network.apply({"params": weights}, arrays["x"], arrays["sigma"])).mean()

    gradients = jax.jit(jax.grad(loss), compiler_options=QUICK)(score.params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(gradient).all(), name
        # softmax does not see a shift of all its logits, which is all a bias of the keys can do.
        assert ("key" in name and "bias" in name) or np.abs(gradient).max() > 0, name


@slow
def test_adm_starts_out_as_pytorch_does():
    draws = np.asarray(fan_in_init(25)(jax.random.key(0), (25, 400)))
    assert np.abs(draws).max() <= 0.2
    # U(-a, a) has the deviation a / sqrt(3); 10,000 draws know it to 0.5%.
    assert draws.std() == pytest.approx(0.2 / 3**0.5, rel=0.02)
    config = config_of(snapshot("VE, ADM, averaged in one level"))
    weights = models.init(models.build(config), jax.random.key(0), config)
    block = weights["up_0_block_0"]
    silent = block["conv_1"], block["attention"]["project"], weights["output_conv"]
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(silent))
    assert np.any(block["conv_0"]["bias"])
