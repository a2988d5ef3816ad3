"""Published networks: their sizes to the unit, their outputs to round-off."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import models
from configs.published import PUBLISHED
from models.apply import Apply
from models.pretrained import MismatchError, score_sde
from sde_lib import (
    VE,
    VP,
    LogSigmaLabel,
    ModelScore,
    Noise,
    Parametrization,
    ScaledScore,
    TimeLabel,
)
from tests.models.published import published

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = ("ve_ncsnpp_continuous", "vp_ddpmpp_continuous", "vp_ddpm_continuous")


@functools.cache
def count(network, size):
    """Networks of the same make are counted once."""
    config = ConfigDict({"data": {"image_size": size, "num_channels": 3}})
    shapes = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    return models.count(shapes)


BUILT = [name for name in PUBLISHED if published(name).model.name in models.NETWORKS]


@pytest.mark.parametrize("name", BUILT)
def test_parameter_count_is_the_published_one(name):
    config = published(name)
    assert count(models.build(config), config.data.image_size) == PUBLISHED[name].parameters


SCORES = {
    "vp": (VP(0.1, 20.0), Parametrization(Noise(), TimeLabel(999.0))),
    "ve": (VE(0.01, 50.0), Parametrization(ScaledScore(), LogSigmaLabel())),
}


@functools.cache
def golden(case):
    """Config, network, score function, checkpoint and arrays of one case."""
    facts = json.loads((GOLDEN / f"{case}.json").read_text())
    overrides = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["overrides"].items()}
    config = published(facts["source_config"], overrides)
    network = models.build(config)
    sde, parametrization = SCORES[case[:2]]

    def evaluate(params, x, t):
        return ModelScore(Apply(network), params, sde, parametrization)(x, t)

    # Run twice on little data, so most of the time would go into optimizing it.
    score = jax.jit(evaluate, compiler_options={"xla_backend_optimization_level": 0})
    checkpoint = score_sde.read(GOLDEN / f"{case}.pth")
    return config, network, score, checkpoint, np.load(GOLDEN / f"{case}.npz")


@pytest.mark.parametrize("weights", ["raw", "ema"])
@pytest.mark.parametrize("case", CASES)
def test_score_equals_the_original(case, weights):
    config, network, score, checkpoint, arrays = golden(case)
    x, t = jnp.asarray(arrays["x"]), jnp.asarray(arrays["t"])
    params = score_sde.params(checkpoint.weights(weights == "ema"), network, config)
    with jax.default_matmul_precision("highest"):
        found = np.asarray(score(params, x, t))
    expected = arrays[f"score_{weights}"]
    # Two float32 implementations of some 40 layers differ by a few 1e-6 (norm over norm).
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


def test_parameters_and_outputs_of_the_golden_networks_are_told_apart():
    """Raw and averaged weights differ, so neither test above can pass with the other's."""
    arrays = golden(CASES[0])[-1]
    difference = np.linalg.norm(arrays["score_raw"] - arrays["score_ema"])
    assert difference > 0.01 * np.linalg.norm(arrays["score_raw"])


def test_weights_of_another_network_are_refused():
    checkpoint = golden("vp_ddpmpp_continuous")[3]
    config = published("vp/cifar10_ddpmpp_continuous", {"nf": 8, "num_res_blocks": 2})
    with pytest.raises(MismatchError, match="of another shape"):
        score_sde.params(checkpoint.weights(ema=False), models.build(config), config)
