"""DAPS: the law of its result on Gaussian numbers, exact where it can be, and off as published."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import sample, sample_keys
from samplers.rules import daps
from samplers.rules.daps import DAPS
from sde_lib import VE, VP, Gaussian
from sde_lib.measurements.base import Measurement
from sde_lib.measurements.masks import Mask
from tests.samplers.rules import laws

DEVIATION = 0.5


@pytest.fixture
def exactly(monkeypatch):
    """Draws by columns in place of random ones, in float64."""
    monkeypatch.setattr(daps, "aside", laws.aside)
    with jax.enable_x64(True):
        yield


def ratios(count: int) -> np.ndarray:
    """Levels from 100 to the one before 0.1."""
    return np.linspace(100 ** (1 / 7), 0.1 ** (1 / 7), count)[:-1] ** 7


def expected(r: np.ndarray, gain) -> tuple[float, float]:
    """(mean, variance) given y = 1 of data N(0, 1), x_0 of the flow being gain(r) x / alpha."""
    mean, variance = 0.0, r[0] ** 2
    for i in range(len(r)):
        kept = DEVIATION**2 / (r[i] ** 2 + DEVIATION**2)
        mean = kept * gain(r[i]) * mean + 1 - kept
        variance = (kept * gain(r[i])) ** 2 * variance + kept * r[i] ** 2
        variance += r[i + 1] ** 2 if i < len(r) - 1 else 0.0
    return mean, variance


def exact_flow(r: float) -> float:
    return ((1 + 0.01**2) / (1 + r**2)) ** 0.5


def euler(r: float) -> float:
    """Five steps of Euler's down to 0.01, on data N(0, 1)."""
    levels = np.linspace(r ** (1 / 7), 0.01 ** (1 / 7), 6) ** 7
    return float(np.prod(1 + np.diff(levels) * levels[:-1] / (1 + levels[:-1] ** 2)))


def test_the_recursion_is_that_of_the_published_values() -> None:
    np.testing.assert_allclose(
        expected(ratios(200), exact_flow), [0.891879465979, 0.221578190604], rtol=0, atol=1e-11
    )
    np.testing.assert_allclose(expected(ratios(50), exact_flow), [0.896911, 0.220642], atol=1e-6)


SDE = VE(0.001, 100.0)


def law(sampler_of, count: int) -> tuple[float, float]:
    times = SDE.time_of_log_snr(-2 * jnp.log(jnp.asarray(ratios(count))))
    size = 4 * count + 16
    sampler = sampler_of(laws.known([1.0], [1], size, DEVIATION))
    found = laws.moments(sampler, laws.law_of(SDE, 1.0), times, 1, size, 100.0)
    return found[0][0], found[1][0, 0]


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("count", [50, 200])
def test_as_published_the_posterior_is_too_wide(count: int) -> None:
    # The levels come from times of the SDE, by bisection.
    np.testing.assert_allclose(law(DAPS, count), expected(ratios(count), euler), rtol=1e-9)


@pytest.mark.usefixtures("exactly")
def test_the_exact_inner_law_gives_the_posterior() -> None:
    found = law(lambda known: DAPS(known, steps=1, least=0.0, data_variance=1.0), 50)
    np.testing.assert_allclose(found, [0.8, 0.2], rtol=0, atol=1e-14)


@pytest.mark.usefixtures("exactly")
def test_langevin_steps_draw_from_their_own_law_at_every_level() -> None:
    """A recursion of mean and variance through all steps, sizes falling from level to level."""
    steps, tau, lr, lr_end = 7, 0.3, 0.02, 0.005
    r = ratios(5)
    gain = lambda r: 1 / (1 + r**2)
    mean, variance = 0.0, r[0] ** 2
    for i in range(len(r)):
        size, (m, v) = (
            lr + i / len(r) * (lr_end - lr),
            (gain(r[i]) * mean, gain(r[i]) ** 2 * variance),
        )
        slope = 1 / tau**2 + 1 / r[i] ** 2
        kept = (1 - size * slope) ** steps
        start = kept + (1 - kept) / r[i] ** 2 / slope  # of x_0 at the start and in the slope
        mean = start * m + (1 - kept) / tau**2 / slope
        variance = start**2 * v + 2 * size * (1 - kept**2) / (1 - (1 - size * slope) ** 2)
        variance += r[i + 1] ** 2 if i < len(r) - 1 else 0.0
    times = SDE.time_of_log_snr(-2 * jnp.log(jnp.asarray(r)))
    size_of = 1 + 4 * steps * len(r)
    sampler = DAPS(laws.known([1.0], [1], size_of, 9.0), 1, 0.0, np.inf, steps, lr, lr_end, tau)
    found = laws.moments(sampler, laws.law_of(SDE, 1.0), times, 1, size_of, 100.0)
    np.testing.assert_allclose([found[0][0], found[1][0, 0]], [mean, variance], rtol=1e-9)


TIMES = jnp.linspace(1.0, 0.01, 4)
GAUSSIAN = Gaussian.isotropic(VP(), jnp.zeros(2), 1.0)


def measured(operator=None, deviation: float = 0.0) -> Measurement:
    operator = operator or Mask(jnp.asarray([[1.0, 0.0]]))
    return Measurement(operator, jnp.asarray([[7.1, 0.0]]), jnp.asarray(deviation))


def test_values_without_noise_are_kept_and_evaluations_counted() -> None:
    keys = sample_keys(jax.random.key(0), jnp.arange(2))
    found = sample(GAUSSIAN, DAPS(measured(), steps=3), TIMES, keys, shape=(2,))
    np.testing.assert_allclose(found.x[:, 0], 7.1, rtol=1e-6)
    assert float(jnp.ptp(found.x[:, 1])) > 0.01
    np.testing.assert_array_equal(found.evaluations, 4 * 3)


@pytest.mark.parametrize(
    "sampler, message",
    [
        (DAPS(measured(laws.Square(), 0.1)), "draws exactly for a linear measurement only"),
        (DAPS(measured(), langevin=10), "divide by the noise of the measurement"),
        (DAPS(measured(), steps=0), "flow_steps must be positive, got 0"),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(sampler, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        sampler.plan(GAUSSIAN, TIMES)
    assert "\n" not in str(error.value)
