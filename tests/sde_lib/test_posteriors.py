"""Posterior scores of linear measurements, against Gaussian data whose posterior is known.

Problem and values are those of three correlated numbers, of which y = A x_0 + 0.2 n measures two
combinations, computed without sampling in float64.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from sde_lib import VE, VP, Gaussian, SubVP, pytree
from sde_lib.base import SDE
from sde_lib.measurements.base import Measurement, Operator
from sde_lib.measurements.masks import Mask
from sde_lib.measurements.solve import SOLVERS
from sde_lib.posteriors.base import MeasuredScore
from sde_lib.posteriors.moments import MomentMatching, PointLikelihood, PseudoInverse, RowSums
from sde_lib.posteriors.proximal import Proximal

pytestmark = pytest.mark.usefixtures("float64")

MEAN = np.array([0.5, -0.3, 0.1])
COVARIANCE = np.array([[1, 0.6, 0.2], [0.6, 0.5, 0.1], [0.2, 0.1, 0.3]])
A = np.array([[1, 0.5, 0], [0, 1, -1]])
Y, DEVIATION = np.array([0.8, -0.6]), 0.2


@pytree
class Matrix(Operator):
    """A x of vectors."""

    values: jnp.ndarray

    def __call__(self, x):
        return x @ self.values.T


def posterior() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of x_0 given y."""
    gain = COVARIANCE @ A.T @ np.linalg.inv(A @ COVARIANCE @ A.T + DEVIATION**2 * np.eye(2))
    return MEAN + gain @ (Y - A @ MEAN), COVARIANCE - gain @ A @ COVARIANCE


def prior(sde: SDE) -> Gaussian:
    return Gaussian.of(sde, jnp.asarray(MEAN), jnp.asarray(COVARIANCE))


def measurement(n: int, deviation: float = DEVIATION) -> Measurement:
    rows = jnp.tile(jnp.asarray(Y), (n, 1))
    return Measurement(Matrix(jnp.asarray(A)), rows, jnp.asarray(deviation))


def measured(sde: SDE, n: int, iterations: int = 2, solver: str = "cg") -> MomentMatching:
    return MomentMatching(prior(sde), measurement(n), iterations, SOLVERS[solver])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("sde", [VP(), SubVP(), VE(0.01, 20.0)], ids=["vp", "subvp", "ve"])
def test_the_posterior_of_gaussian_data_is_exact(sde: SDE, solver: str) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))
    t = jnp.linspace(0.05, 1.0, 5)
    found = measured(sde, 5, solver=solver).predict(x, t)
    mean, covariance = posterior()
    expected = Gaussian.of(sde, jnp.asarray(mean), jnp.asarray(covariance)).predict(x, t)
    for one, other in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def test_one_iteration_gives_the_published_approximation() -> None:
    sde, x, t = known_level()
    one = measured(sde, 1, iterations=1).predict(x, t)[0]
    expected = [[0.847585690253, -0.183122428916, 0.346781919331]]
    np.testing.assert_allclose(one, expected, rtol=0, atol=1e-9)
    both = measured(sde, 1).predict(x, t)[0]
    expected = [[0.845534375042, -0.184776704978, 0.347117640055]]
    np.testing.assert_allclose(both, expected, rtol=0, atol=1e-9)


def known_level() -> tuple[SDE, jnp.ndarray, jnp.ndarray]:
    """(VP, x, t) with alpha = 0.8 and sigma = 0.6, at which the values were computed."""
    sde = VP()
    t = sde.time_of_log_snr(jnp.asarray(2 * np.log(0.8 / 0.6)))
    return sde, jnp.asarray([[0.4, 0.1, -0.2]]), t


APPROXIMATIONS = {
    "pigdm": (
        lambda *known: PseudoInverse(*known),
        [0.839497031292, -0.090477454477, 0.175780918641],
    ),
    "pigdm of any variance": (
        lambda *known: PseudoInverse(*known, data_variance=jnp.inf),
        [0.753867800458, -0.115895150291, 0.113965653531],
    ),
    "tmpd": (RowSums, [0.661986956999, -0.200582245903, 0.147405464248]),
    "likelihood of x_0": (PointLikelihood, [2.292652150587, -0.259428556464, 2.267945317287]),
    "diffpir": (Proximal, [0.786953439892, -0.265716885059, 0.192615589388]),
}


@pytest.mark.parametrize("name", APPROXIMATIONS)
def test_approximations_are_off_by_their_own_amounts(name: str) -> None:
    sde, x, t = known_level()
    row, expected = APPROXIMATIONS[name]
    approximation: MeasuredScore = row(prior(sde), measurement(1))
    found = approximation.predict(x, t)
    np.testing.assert_allclose(found.x0, [expected], rtol=0, atol=1e-9)
    np.testing.assert_allclose(0.8 * found.x0 + 0.6 * found.noise, x, rtol=0, atol=1e-12)


def test_without_noise_pigdm_follows_the_pseudo_inverse() -> None:
    sde, x, t = known_level()
    found = PseudoInverse(prior(sde), measurement(1, 0.0)).predict(x, t).x0
    slope = np.array([0.232889564523, 0.073721763826, 0.160141887803])
    expected = prior(sde).predict(x, t).x0[0] + 0.36 / 0.8 * slope / 0.36
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-9)


def test_a_mask_that_keeps_nothing_changes_nothing() -> None:
    nothing, (x, t) = jnp.zeros((2, 3)), (jnp.ones((2, 3)), jnp.asarray(0.5))
    empty, own = Measurement(Mask(nothing), nothing, jnp.asarray(0.1)), prior(VP())
    for row in (MomentMatching, PseudoInverse, RowSums, PointLikelihood, Proximal):
        for one, other in zip(
            row(own, empty).predict(x, t)[:2], own.predict(x, t)[:2], strict=True
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("solver", SOLVERS)
def test_examples_are_solved_alone(solver: str) -> None:
    # One has converged at once, with a right side of zeros, and the other has not.
    systems = jnp.asarray([[[2.0, 1.0], [1.0, 3.0]], [[4.0, 0.0], [0.0, 1.0]]])
    found = solved(solver, systems, jnp.asarray([[0.0, 0.0], [1.0, 2.0]]), 5)
    np.testing.assert_allclose(found, [[0, 0], [0.25, 2]], atol=1e-12)


def solved(solver: str, systems: jnp.ndarray, right: jnp.ndarray, iterations: int) -> jnp.ndarray:
    product = lambda u: (jnp.einsum("bij,bj->bi", systems, u), u)
    return SOLVERS[solver](product, right, iterations)


def test_gmres_solves_what_is_not_symmetric_and_is_never_further_off_with_more_iterations() -> None:
    draws = np.random.default_rng(1)
    systems, right = draws.normal(size=(3, 4, 4)), draws.normal(size=(3, 4))
    exact = np.linalg.solve(systems, right[..., None])[..., 0]
    left = []
    for k in range(1, 5):
        found = solved("gmres", jnp.asarray(systems), jnp.asarray(right), k)
        left.append(np.linalg.norm(right - np.einsum("bij,bj->bi", systems, found), axis=1))
        if k == 1:
            moved = np.einsum("bij,bj->bi", systems, right)
            nearest = np.sum(moved * right, 1) / np.sum(moved**2, 1)
            np.testing.assert_allclose(found, nearest[:, None] * right, rtol=1e-9)
    np.testing.assert_allclose(found, exact, rtol=1e-9)
    assert (np.diff(left, axis=0) < 0).all()
    astray = solved("cg", jnp.asarray(systems), jnp.asarray(right), 4)
    assert np.abs(astray - exact).max() > 0.1


def test_a_singular_system_moves_nothing_that_it_maps_to_nothing() -> None:
    systems = jnp.asarray([[[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]]])
    found = solved("gmres", systems, jnp.asarray([[2.0, 6.0, 0.0]]), 3)
    np.testing.assert_allclose(found, [[1, 2, 0]], atol=1e-12)


def test_evaluations_count_backward_passes() -> None:
    assert measured(VP(), 1, iterations=3).evaluations == 4
