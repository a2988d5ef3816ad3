"""Composition of scores, against the closed form of Gaussian data with several observations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sde_lib import VE, VP, Gaussian, Score, SubVP, pytree
from sde_lib.base import SDE
from sde_lib.composed import Composed

pytestmark = pytest.mark.usefixtures("float64")

RNG = np.random.default_rng(0)
HALF = RNG.normal(size=(3, 3))
PRIOR = np.linalg.inv(HALF @ HALF.T / 3 + 0.2 * np.eye(3))
NOISE = np.linalg.inv(np.diag([0.3, 1.0, 0.05]))
MEAN = RNG.normal(size=3)
SEEN = RNG.normal(size=(4, 3))
"""Precisions of theta and of y = theta + noise, the mean of theta, and observations."""


def law(sde: SDE, seen: np.ndarray) -> Gaussian:
    """p(theta | all of these)."""
    covariance = np.linalg.inv(PRIOR + len(seen) * NOISE)
    mean = covariance @ (PRIOR @ MEAN + NOISE @ seen.sum(axis=0))
    return Gaussian.of(sde, jnp.asarray(mean), jnp.asarray(covariance))


@pytree
class GivenOne(Score):
    """The score of theta given one y, or, where that is NaN, given none."""

    sde: SDE

    def predict(self, x, t, condition=None):
        none = law(self.sde, SEEN[:0]).predict(x, t)

        def one(x, t, y):
            covariance = jnp.linalg.inv(jnp.asarray(PRIOR + NOISE))
            mean = covariance @ (jnp.asarray(PRIOR @ MEAN) + jnp.asarray(NOISE) @ y)
            found = Gaussian(self.sde, mean, *jnp.linalg.eigh(covariance))
            return jax.tree.map(lambda a: a[0], found.predict(x[None], t[None]))

        some = jax.vmap(one)(x, t, jnp.nan_to_num(condition))
        unknown = jnp.isnan(condition).any(axis=1)[:, None]
        return jax.tree.map(lambda a, b: jnp.where(unknown, a, b), none, some)


@pytest.mark.parametrize(
    ("sde", "n"), [(VP(), 1), (SubVP(), 2), (VE(0.01, 20.0), 4)], ids=["vp", "subvp", "ve"]
)
def test_the_composition_is_exact_for_gaussian_laws(sde: SDE, n: int) -> None:
    x, t = jnp.asarray(RNG.normal(size=(5, 3))), jnp.linspace(0.02, 1.0, 5)
    precisions = jnp.tile(jnp.asarray(PRIOR + NOISE), (n, 1, 1))
    null = jnp.full((1, 3), jnp.nan)
    made = Composed(GivenOne(sde), jnp.asarray(SEEN[:n]), null, precisions, jnp.asarray(PRIOR))
    found, expected = made.predict(x, t), law(sde, SEEN[:n]).predict(x, t)
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=1e-7)
    assert made.evaluations == n + 1
