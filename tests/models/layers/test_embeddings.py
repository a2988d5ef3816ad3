"""The embedding of a noise level and of a condition's tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import any_rank
from models.layers.embeddings import ConditionEmbedding, Positional, pooled
from models.layers.norm import standardized
from tests.models.cases import config_of

TOKENS = jax.random.normal(jax.random.key(0), (2, 3, 8))
SHOWN = jnp.array([[True, True, False], [False, False, False]])


def test_tokens_are_pooled_by_the_mean_of_those_that_are_shown():
    found = pooled(TOKENS, SHOWN)
    np.testing.assert_allclose(found[0], standardized(TOKENS)[0, :2].mean(0), atol=1e-6)
    np.testing.assert_array_equal(found[1], 0)


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
