"""The Brownian motion of the adaptive SDE solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers.brownian import DEPTH, brownian

LEAF = 2.0**-DEPTH
PARTS = np.array([0.0, LEAF / 3, 0.1, 0.35, 0.35 + LEAF / 4, 0.35 + 3 * LEAF, 0.5, 0.7, 1.0])
PATHS = 20_000


@pytest.fixture(scope="module")
def paths() -> np.ndarray:
    """[paths, parts], in float64."""
    with jax.enable_x64(True):
        like = jax.ShapeDtypeStruct((), jnp.float64)
        keys = jax.random.split(jax.random.key(0), PATHS)
        at = jax.vmap(lambda key, part: brownian(key, part, like), (None, 0))
        return np.asarray(jax.jit(jax.vmap(at, (0, None)))(keys, jnp.asarray(PARTS)))


def test_its_covariance_is_the_smaller_part(paths):
    """E W(s) W(t) = min(s, t), and nothing in the mean, also within a leaf and across its edge."""
    expected = np.minimum.outer(PARTS, PARTS)
    products = paths.T @ paths / PATHS
    # Of five standard errors, each at most sqrt((s t + min^2) / n).
    spread = np.sqrt((np.outer(PARTS, PARTS) + expected**2) / PATHS)
    assert np.all(np.abs(products - expected) <= 5 * spread)
    assert np.all(np.abs(paths.mean(0)) <= 5 * np.sqrt(PARTS / PATHS))


def test_its_increments_have_their_own_variance_and_are_independent(paths):
    steps, widths = np.diff(paths, axis=1), np.diff(PARTS)
    scaled = steps / np.sqrt(widths)
    # Two neighbours in one leaf share its draw: that is what a leaf is.
    within = PARTS.tolist().index(0.35)
    apart = np.delete(scaled, within, axis=1)
    error = np.abs(apart.T @ apart / PATHS - np.eye(apart.shape[1]))
    assert np.all(error <= 5 * np.sqrt((1 + np.eye(len(error))) / PATHS))


def test_it_is_one_path_whatever_is_asked_and_how():
    like, key = jax.ShapeDtypeStruct((3,), jnp.float32), jax.random.key(1)
    many = jax.vmap(lambda part: brownian(key, part, like))(jnp.asarray(PARTS, jnp.float32))
    alone = brownian(key, jnp.float32(0.35), like)
    np.testing.assert_array_equal(many[3], alone)
    np.testing.assert_array_equal(many[0], np.zeros(3))
    assert len(set(many[-1].tolist())) == 3
    assert alone.dtype == jnp.float32
