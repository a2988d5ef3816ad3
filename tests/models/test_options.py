"""Every option of the published architectures against the original, on tiny networks."""

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
from models.pretrained.score_sde import networks
from tests.slow import but_slow

OPTIONS = Path(__file__).parents[1] / "golden" / "options"
CASES = json.loads((OPTIONS / "options.json").read_text())
BASE = "fir biggan fourier"
# Same parameters, another function of them.
SWITCHES = [
    ("model", "fir", False),
    ("model", "fir_kernel", (1, 2, 1)),
    ("model", "skip_rescale", False),
    ("model", "nonlinearity", "relu"),
    ("model", "nonlinearity", "elu"),
    ("model", "nonlinearity", "lrelu"),
    ("data", "centered", True),
]
# Other parameters altogether.
STRUCTURES = {
    "attn_resolutions": (),
    "num_res_blocks": 2,
    "ch_mult": (1, 1),
    "nf": 12,
    "conditional": False,
    "embedding_type": "positional",
    "resblock_type": "ddpm",
    "progressive": "residual",
    "progressive_input": "input_skip",
    "num_classes": 3,
    "name": "ddpm",
}


def weight(shape, stream):
    """A weight of the golden networks, drawn as README.md says."""
    draw = stream.standard_normal(shape)
    draw = 1 + 0.2 * draw if len(shape) == 1 else draw / np.sqrt(np.prod(shape) / shape[0])
    return draw.astype(np.float32)


def config_of(case):
    return ConfigDict({"model": CASES[case]["model"], "data": CASES[case]["data"]})


@functools.cache
def golden(case):
    """Config, network, parameters, x, label and the original's output."""
    config = config_of(case)
    network = models.build(config)
    stream = np.random.RandomState(list(CASES).index(case))
    weights = {k: weight(tuple(shape), stream) for k, shape in CASES[case]["weights"].items()}
    with np.load(OPTIONS / "options.npz") as arrays:
        x, label, raw = (jnp.asarray(arrays[f"{case}/{k}"]) for k in ("x", "label", "raw"))
    weights = {f"all_modules.{name}": weight for name, weight in weights.items()}
    return config, network, networks.to_params(weights, network, config, "torch"), x, label, raw


def relative(found, expected):
    return float(jnp.linalg.norm((found - expected).ravel()) / jnp.linalg.norm(expected.ravel()))


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


REPEATING = (
    "odd width, one channel, attention in the middle only", "both skips, three levels, two blocks",
    "fir biggan fourier",
    "plain biggan", "output_skip plain", "output residual plain", "input_skip cat plain",
    "input residual plain", "ddpm blocks plain conv", "ddpm blocks plain no conv", "centered",
    "relu", "lrelu", "three taps", "two taps", "six uneven taps", "ddpm centered no conv",
    "ddpm unconditional elu three levels", "both residual, sums not rescaled, three levels",
)  # fmt: skip


@pytest.mark.parametrize("case", but_slow(CASES, *REPEATING))
def test_output_equals_the_original(case):
    _, network, params, x, label, raw = golden(case)
    # Not jitted: the cases share their shapes, so operations compiled for one serve the others.
    found = network.apply({"params": params}, x, label)
    assert found.shape == x.shape
    assert found.dtype == jnp.float32
    # float32 round-off; wider groups of one channel in DDPM amplify it to some 5e-6.
    assert relative(found, raw) < 1e-5


@pytest.mark.parametrize(("section", "key", "value"), SWITCHES)
def test_option_changes_the_output(section, key, value):
    config, _, params, x, label, before = golden(BASE)
    other = ConfigDict(config)
    del other[section][key]
    other[section][key] = value
    after = models.build(other).apply({"params": params}, x, label)
    assert relative(after, before) > 0.01


def shapes(config):
    network = models.build(config)
    tree = jax.eval_shape(lambda k: models.init(network, k, config), jax.random.key(0))
    return {jax.tree_util.keystr(p): v.shape for p, v in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize("key", STRUCTURES)
def test_option_changes_the_parameters(key):
    config = config_of(BASE)
    # The weights of the original are those of the base: its outputs are the original's.
    before = {jax.tree_util.keystr(p): v.shape
              for p, v in jax.tree_util.tree_leaves_with_path(golden(BASE)[2])}  # fmt: skip
    for name, value in {"nf": 32 if key == "name" else 8, key: STRUCTURES[key]}.items():
        del_key(config.model, name)
        config.model[name] = value
    assert shapes(config) != before


def del_key(section, name):
    if name in section:
        del section[name]
    section.unlock()


# Between them: all blocks, both resamplings, both residual pyramids, both skip pyramids.
@pytest.mark.parametrize(
    "case", but_slow(["two taps", "output residual, input cat, ddpm blocks"], "two taps")
)
def test_gradient_reaches_every_parameter_but_the_frequencies(case):
    _, network, params, x, label, _ = golden(case)

    def loss(p):
        return jnp.square(network.apply({"params": p}, x, label)).mean()

    # Run once on little data, so most of the time would go into optimizing it.
    quick = {"xla_backend_optimization_level": 0}
    gradients = jax.jit(jax.grad(loss), compiler_options=quick)(params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(gradient).all(), name
        # softmax does not see a shift of all its logits, which is all a bias of the keys can do.
        silent = "key" in name and "bias" in name
        assert silent or (np.abs(gradient).max() > 0) != ("frequencies" in name), name
