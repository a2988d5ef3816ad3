"""The adversarial terms against their formulas, written out in NumPy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from train_lib.adversary import ADVERSARIES, balance, fooling

REAL = np.array([[[0.3], [-2.0]], [[1.5], [0.9]]])
FAKE = np.array([[[-0.4], [2.5]], [[-1.5], [0.2]]])
BOTH = jnp.asarray(REAL, jnp.float32), jnp.asarray(FAKE, jnp.float32)


@pytest.mark.parametrize("name, term", [
    ("hinge", lambda logit: np.maximum(1 - logit, 0)),
    ("vanilla", lambda logit: -np.log(1 / (1 + np.exp(-logit)))),  # of the true class
])  # fmt: skip
def test_the_discriminator_is_to_tell_real_pictures_from_others(name, term):
    expected = (term(REAL) + term(-FAKE)).mean(axis=(1, 2)) / 2
    np.testing.assert_allclose(ADVERSARIES[name](*BOTH), expected, rtol=1e-6)


def test_the_autoencoder_is_to_raise_the_logits():
    np.testing.assert_allclose(fooling(BOTH[1]), -FAKE.mean(axis=(1, 2)), rtol=1e-6)


@pytest.mark.parametrize("slope, expected", [
    (0.5, 0.7 * 3 / (0.5 + 1e-4)), (1e-3, 0.7 * 3 / (1e-3 + 1e-4)), (0.0, 0.7 * 1e4),
])  # fmt: skip
def test_the_weight_makes_both_gradients_alike_up_to_ten_thousand(slope, expected):
    """Losses that are linear in the last kernel, with gradients of length 3 and `slope`."""
    along = jnp.array([2.0, -1.0, 2.0])
    losses = lambda kernel: (jnp.sum(along * kernel), slope * kernel[1])
    np.testing.assert_allclose(balance(losses, jnp.zeros(3), 0.7), expected, rtol=1e-6)
