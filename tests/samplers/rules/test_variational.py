"""RED-diff: iteration by iteration, and its end where nothing regularizes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import sample, sample_keys
from samplers.rules.variational import RedDiff
from sde_lib import VP, Gaussian
from sde_lib.measurements.base import Measurement
from tests.samplers.rules import golden, laws
from tests.sde_lib.test_posteriors import A, Matrix, Y

pytestmark = pytest.mark.usefixtures("float64", "promoting")

MEAN, VARIANCE = np.array([0.5, -0.3, 0.1]), 0.4
GAUSSIAN = lambda: Gaussian.isotropic(VP(), jnp.asarray(MEAN), VARIANCE)


@pytest.fixture
def promoting():
    with jax.numpy_dtype_promotion("standard"):  # optax takes powers of Python and int32 numbers
        yield


def measured(operator=None) -> Measurement:
    return Measurement(operator or Matrix(jnp.asarray(A)), jnp.asarray(Y)[None], jnp.zeros(()))


def test_every_iteration_is_adams_of_the_published_gradient() -> None:
    times, weight, lr = jnp.linspace(1.0, 0.1, 6), 0.3, 0.07
    z = np.random.default_rng(0).normal(size=(5, 1, 3))
    state = golden.Given(jnp.zeros((1, 3)), jnp.asarray(z))
    states = golden.steps(RedDiff(measured(), weight, lr), GAUSSIAN(), times, state, True)[1]
    mu, m, v = np.linalg.pinv(A) @ Y, 0.0, 0.0
    for k, (t, found) in enumerate(zip(np.asarray(times)[:-1], states, strict=True)):
        alpha, sigma = (float(c) for c in VP().marginal(jnp.asarray(t)))
        x = alpha * mu + sigma * z[k, 0]
        eps = sigma * (x - alpha * MEAN) / (alpha**2 * VARIANCE + sigma**2)
        slope = A.T @ (A @ mu - Y) + weight * sigma / alpha * (eps - z[k, 0])
        m, v = 0.9 * m + 0.1 * slope, 0.99 * v + 0.01 * slope**2
        step = (m / (1 - 0.9 ** (k + 1))) / (np.sqrt(v / (1 - 0.99 ** (k + 1))) + 1e-8)
        mu = mu - lr * step
        np.testing.assert_allclose(found.x[0], mu, rtol=1e-7)


def test_evaluations_are_those_of_the_steps_and_the_end_is_mu() -> None:
    keys, times = sample_keys(jax.random.key(0), jnp.arange(1)), jnp.linspace(1.0, 0.1, 401)
    found = sample(GAUSSIAN(), RedDiff(measured(), 0.0, 0.01), times, keys, shape=(3,))
    # Adam's steps are not small until its slopes are below its own 1e-8.
    np.testing.assert_allclose(A @ found.x[0], Y, atol=5e-3)
    np.testing.assert_array_equal(found.evaluations, 400)


def test_an_operator_that_is_not_linear_begins_at_nothing() -> None:
    y = jnp.ones((1, 3))
    method = RedDiff(Measurement(laws.Square(), y, jnp.zeros(()))).plan(None, y[0]).program.method
    assert not np.any(method.init(golden.Given(y, None)).x)


def test_a_rate_of_nothing_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="lr must be positive, got 0") as error:
        RedDiff(measured(), lr=0.0).plan(GAUSSIAN(), jnp.linspace(1.0, 0.1, 6))
    assert "\n" not in str(error.value)
