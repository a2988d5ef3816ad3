"""The embedding of a noise level and of a condition's tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from models import any_rank
from models.layers.embeddings import (
    ConditionEmbedding,
    LevelEmbedding,
    Positional,
    VectorEmbedding,
    pooled,
)
from models.layers.norm import standardized
from tests.models.cases import config_of

TOKENS = jax.random.normal(jax.random.key(0), (2, 3, 8))
SHOWN = jnp.array([[True, True, False], [False, False, False]])


def test_tokens_are_pooled_by_the_mean_of_those_that_are_shown():
    found = pooled(TOKENS, SHOWN)
    np.testing.assert_allclose(found[0], standardized(TOKENS)[0, :2].mean(0), atol=1e-6)
    np.testing.assert_array_equal(found[1], 0)
    alone = pooled(TOKENS, jnp.array([[False, True, False]] * 2))
    np.testing.assert_allclose(alone, standardized(TOKENS)[:, 1], atol=1e-6)


def test_classes_are_told_if_there_are_any_and_hidden_if_it_is_asked_for():
    style = any_rank.read(config_of("unet", (4, 4, 1))).style()
    label, classes = jnp.ones(2), {"label": jnp.array([0, 2])}
    plain = ConditionEmbedding(style, 16, Positional(8)).init(jax.random.key(1), label)
    assert "classes" not in plain["params"]
    layer = ConditionEmbedding(style, 16, Positional(8), 3)
    params = layer.init(jax.random.key(1), label, classes)
    shown, trained, untold = (
        layer.apply(params, label, *told) for told in ((classes,), (classes, True), (None,))
    )
    np.testing.assert_array_equal(shown, trained)
    assert not np.allclose(shown, untold)
    with pytest.raises(ValueError, match="augment"):
        layer.apply(params, label, classes | {"augment": jnp.zeros((2, 1))})


@pytest.mark.parametrize("tokens", [True, False])
def test_pooled_tokens_are_added_to_the_embedding_if_they_are_asked_for(tokens):
    style = any_rank.read(config_of("unet", (4, 4, 1))).style()
    layer = ConditionEmbedding(style, 16, Positional(8), tokens=tokens)
    parts = {"tokens": TOKENS, "mask": jnp.ones((2, 3), bool)}
    assert (layer.takes(parts) is None) is not tokens
    params = layer.init(jax.random.key(1), jnp.ones(2), layer.takes(parts))
    one, other = (
        layer.apply(params, jnp.ones(2), layer.takes(parts | {"tokens": told}))
        for told in (TOKENS, -TOKENS)
    )
    assert np.allclose(one, other) is not tokens


def dense_of(params):
    """(name of a layer, its input) -> its output, in NumPy."""
    weights = jax.tree.map(np.asarray, params["params"])
    return lambda name, x: np.asarray(x) @ weights[name]["kernel"] + weights[name]["bias"]


def test_a_level_is_told_by_two_layers_of_64_waves_and_an_unknown_one_by_zeros():
    layer, levels = LevelEmbedding(8, nn.silu), jnp.array([0.25, jnp.nan, 1.0])
    params = layer.init(jax.random.key(1), levels)
    dense = dense_of(params)
    angle = 1000 * np.array([0.25, 1.0])[:, None] * 10000 ** (-np.arange(32) / 31)
    waves = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    h = dense("0", waves)
    expected = dense("1", h / (1 + np.exp(-h)))
    found = layer.apply(params, levels)
    # float32 keeps angles up to 1000 to 3e-5.
    np.testing.assert_allclose(found[::2], expected, atol=1e-3)
    np.testing.assert_array_equal(found[1], 0)


def test_a_vector_is_told_by_residual_layers():
    layer, vector = VectorEmbedding(8, nn.silu), jax.random.normal(jax.random.key(0), (2, 3))
    params = layer.init(jax.random.key(1), vector)
    dense = dense_of(params)
    h = dense("input", vector)
    for i in range(2):
        h = h + dense(f"block_{i}_1", nn.silu(dense(f"block_{i}_0", nn.silu(h))))
    np.testing.assert_allclose(layer.apply(params, vector), h, atol=1e-6)
    assert len(params["params"]) == 1 + 2 * 2
