"""EDM's networks and preconditionings against the original: tests/golden/edm/README.md."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
import sde_lib
from configs import schema
from models.apply import Apply
from models.pretrained import edm
from sde_lib import ModelScore
from tests import edm_snapshots

GOLDEN = Path(__file__).parents[1] / "golden" / "edm"
CASES = json.loads((GOLDEN / "edm.json").read_text())
QUICK = {"xla_backend_optimization_level": 0}
FIRST = next(iter(CASES))


def weight(name, shape, stream):
    """As README.md says the weights of the golden networks were drawn."""
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
    for name, value in edm.settings(made).items():
        section, key = name.split(".")
        config[section][key] = value
    schema.check(config)
    return config


def score_of(made):
    config = config_of(made)
    network = models.build(config)
    parametrization = sde_lib.build_parametrization(config)
    weights = jax.tree.map(jnp.asarray, edm.params(made, network, config))
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


@pytest.mark.parametrize("case", CASES)
def test_denoiser_and_network_equal_the_original(case):
    score, arrays = golden(case)
    x, sigma, condition = arrays["x"], arrays["sigma"], condition_of(arrays)
    evaluate = jax.jit(denoise, compiler_options=QUICK)
    found = evaluate(score, x, sigma, condition)
    # float32 round-off: each example by itself, for they differ in size by their noise.
    for i in range(len(x)):
        assert relative(found[i], arrays["denoised"][i]) < 1e-5
    # And without the part of it that is x: D = data_skip x + data_out F.
    c = score.parametrization.prediction.coefficients(jnp.ones_like(sigma), sigma)
    raw = (found - x * c.data_skip[:, None, None, None]) / c.data_out[:, None, None, None]
    # Where sigma is 0.05 the difference loses a digit to its size.
    assert relative(raw[1:], arrays["raw"][1:]) < 2e-5
    if condition is not None:
        null = evaluate(score, x, sigma, None)
        assert relative(null, arrays["denoised_null"]) < 1e-5
        assert relative(null, found) > 1e-3
