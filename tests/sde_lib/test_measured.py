"""Posterior scores of linear measurements, against Gaussian data whose posterior is known.

Problem and values are those of three correlated numbers, of which y = A x_0 + 0.2 n measures two
combinations, computed without sampling in float64.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from sde_lib import VE, VP, Gaussian, SubVP, pytree
from sde_lib.base import SDE
from sde_lib.measured import Mask, Measured, conjugate_gradients

pytestmark = pytest.mark.usefixtures("float64")

MEAN = np.array([0.5, -0.3, 0.1])
COVARIANCE = np.array([[1, 0.6, 0.2], [0.6, 0.5, 0.1], [0.2, 0.1, 0.3]])
A = np.array([[1, 0.5, 0], [0, 1, -1]])
Y, DEVIATION = np.array([0.8, -0.6]), 0.2


@pytree
class Matrix:
    """A x of vectors."""

    values: jnp.ndarray

    def __call__(self, x):
        return x @ self.values.T


def posterior() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of x_0 given y."""
    gain = COVARIANCE @ A.T @ np.linalg.inv(A @ COVARIANCE @ A.T + DEVIATION**2 * np.eye(2))
    return MEAN + gain @ (Y - A @ MEAN), COVARIANCE - gain @ A @ COVARIANCE


def measured(sde: SDE, n: int, iterations: int = 2) -> Measured:
    prior = Gaussian.of(sde, jnp.asarray(MEAN), jnp.asarray(COVARIANCE))
    rows = jnp.tile(jnp.asarray(Y), (n, 1))
    return Measured(prior, Matrix(jnp.asarray(A)), rows, jnp.asarray(DEVIATION), iterations)


@pytest.mark.parametrize("sde", [VP(), SubVP(), VE(0.01, 20.0)], ids=["vp", "subvp", "ve"])
def test_the_posterior_of_gaussian_data_is_exact(sde: SDE) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))
    t = jnp.linspace(0.05, 1.0, 5)
    found = measured(sde, 5).predict(x, t)
    mean, covariance = posterior()
    expected = Gaussian.of(sde, jnp.asarray(mean), jnp.asarray(covariance)).predict(x, t)
    for one, other in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def test_one_iteration_gives_the_published_approximation() -> None:
    # alpha = 0.8 and sigma = 0.6, at which the values were computed.
    sde = VP()
    t = sde.time_of_log_snr(jnp.asarray(2 * np.log(0.8 / 0.6)))
    x = jnp.asarray([[0.4, 0.1, -0.2]])
    one = measured(sde, 1, iterations=1).predict(x, t)[0]
    expected = [[0.847585690253, -0.183122428916, 0.346781919331]]
    np.testing.assert_allclose(one, expected, rtol=0, atol=1e-9)
    both = measured(sde, 1).predict(x, t)[0]
    expected = [[0.845534375042, -0.184776704978, 0.347117640055]]
    np.testing.assert_allclose(both, expected, rtol=0, atol=1e-9)


def test_a_mask_that_keeps_nothing_changes_nothing() -> None:
    sde = VP()
    prior = Gaussian.of(sde, jnp.asarray(MEAN), jnp.asarray(COVARIANCE))
    x, t = jnp.ones((2, 3)), jnp.asarray(0.5)
    nothing = jnp.zeros((2, 3))
    found = Measured(prior, Mask(nothing), nothing, jnp.asarray(0.1)).predict(x, t)
    for one, other in zip(found[:2], prior.predict(x, t)[:2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_examples_are_solved_alone() -> None:
    # One has converged at once, with a right side of zeros, and the other has not.
    systems = jnp.asarray([[[2.0, 1.0], [1.0, 3.0]], [[4.0, 0.0], [0.0, 1.0]]])
    right = jnp.asarray([[0.0, 0.0], [1.0, 2.0]])
    found = conjugate_gradients(lambda u: jnp.einsum("bij,bj->bi", systems, u), right, 5)
    np.testing.assert_allclose(found, [[0, 0], [0.25, 2]], atol=1e-12)


def test_evaluations_count_backward_passes() -> None:
    assert measured(VP(), 1, iterations=3).evaluations == 5
