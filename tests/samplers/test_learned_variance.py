"""Ancestral chains of fixed and learned variance, on Gaussian data, without Monte Carlo."""

from __future__ import annotations

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

from samplers import DDIM, Ancestral, respaced
from sde_lib import VP, Predicted, Score, expand, pytree
from sde_lib.iddpm import iddpm
from tests.samplers.exact import Isotropic, one_step, variance

pytestmark = pytest.mark.usefixtures("float64")

LINEAR = iddpm("linear", 1000)


def times_of(count: int):
    return jnp.asarray(respaced(1000, str(count), "key")[::-1] / 999)


@pytree
class Spread(Score):
    """The score of N(0, I), with a fraction for each number of x."""

    sde: object
    fraction: object

    says_variance = True

    def predict(self, x, t, condition=None):
        alpha, sigma = (expand(c, x) for c in self.marginal(t))
        return Predicted(alpha * x, sigma * x, jnp.broadcast_to(self.fraction, x.shape))


PUBLISHED = {
    25: {"kernel": 0.9999, "posterior": 0.7466311547, "ddim": 0.8586781704},
    250: {"kernel": 0.9999, "posterior": 0.9660923705, "ddim": 0.9853378416},
}
"""Levels -> variance of the result of data N(0, 1), which a linear log p would only move."""
SAMPLERS = {"kernel": Ancestral(large=1.0), "posterior": Ancestral(), "ddim": DDIM(0.0)}


@pytest.mark.parametrize("count", PUBLISHED)
@pytest.mark.parametrize("name", SAMPLERS)
def test_short_chains_end_with_the_published_variance(name: str, count: int) -> None:
    found = variance(SAMPLERS[name], Isotropic(LINEAR, 1.0), times_of(count), 1.0)
    denoised = found * 0.9999  # by alpha of the least level
    assert denoised == pytest.approx(PUBLISHED[count][name], rel=2e-9)


@pytest.mark.parametrize("v", [0.0, 0.5, 1.0, 1.3])
def test_a_learned_variance_lies_between_the_logarithms_of_both(v: float) -> None:
    """The recursion of the variance of x through the chain, in NumPy."""
    times = times_of(25)
    a_bar = np.asarray(LINEAR.alpha(times)) ** 2
    expected = 1.0
    for t, s in pairwise(a_bar):
        b = 1 - t / s
        small = b * (1 - s) / (1 - t)
        gain = np.sqrt(s) * b / (1 - t) * np.sqrt(t) + np.sqrt(t / s) * (1 - s) / (1 - t)
        expected = gain**2 * expected + b**v * small ** (1 - v)
    found = variance(Ancestral(learned=True), Spread(LINEAR, v), times, 1.0)
    assert found == pytest.approx(expected, rel=1e-9)


def test_every_number_has_a_variance_of_its_own() -> None:
    t, s = times_of(25)[3:5]
    x, z = jnp.zeros((1, 3)), jnp.ones((1, 3))
    score = Spread(LINEAR, jnp.asarray([[0.0, 0.5, 1.0]]))
    small, middle, large = one_step(Ancestral(learned=True), score, x, z, t, s)[0]
    for fixed, found in ((0.0, small), (1.0, large)):
        alone = one_step(Ancestral(large=fixed), score, x, z, t, s)[0, 0]
        assert float(found) == pytest.approx(float(alone), rel=1e-9)
    assert float(middle) == pytest.approx(float(small * large) ** 0.5, rel=1e-9)


def test_a_network_that_says_none_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="needs a network that says a variance") as error:
        Ancestral(learned=True).plan(Isotropic(VP()), jnp.asarray([1.0, 0.5]))
    assert "\n" not in str(error.value)
