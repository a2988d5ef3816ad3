"""FPS: the law of one particle, which is not the posterior, and more of them, which come nearer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import respaced, sample, sample_keys
from samplers.rules import filtering, particles
from samplers.rules.filtering import FPS
from sde_lib import VP, Gaussian
from sde_lib.iddpm import iddpm
from sde_lib.measurements.base import Measurement
from sde_lib.measurements.masks import Mask
from tests.samplers.rules import laws

TABLE = {
    50: (0.824661418612, 0.175800234384),
    250: (0.825243081917, 0.173614332450),
}
"""Steps -> (mean, variance) of one particle, given y = 1 of N(0, 1) and deviation 0.5."""


@pytest.fixture
def exactly(monkeypatch):
    """Draws by columns in place of random ones, in float64."""
    monkeypatch.setattr(filtering, "aside", laws.aside)
    scattered = lambda state, turn, count, shape=None: laws.aside(state, turn, shape)[None]
    monkeypatch.setattr(filtering, "scattered", scattered)
    keys = lambda state, turn: jax.random.split(jax.random.key(0), len(state.x))
    monkeypatch.setattr(particles, "turn_keys", keys)
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("steps", TABLE)
@pytest.mark.usefixtures("exactly")
def test_the_law_of_one_particle_is_the_published_one(steps: int) -> None:
    size = 10 * steps + 32
    sampler = FPS(laws.known([1.0], [1], size, 0.5), 1)
    times = jnp.asarray(respaced(1000, str(steps), "key")[::-1] / 999)
    score = laws.law_of(iddpm("linear", 1000), 1.0)
    found = laws.moments(sampler, score, times, 1, size)
    np.testing.assert_allclose([found[0][0], found[1][0, 0]], TABLE[steps], rtol=0, atol=1e-10)


GAUSSIAN = Gaussian.isotropic(VP(), jnp.zeros(2), 1.0)
TIMES = jnp.linspace(1.0, 0.02, 16)


def measured(operator=None, b: int = 1) -> Measurement:
    """y = x_0 + n = 1 of both numbers."""
    return Measurement(operator or Mask(jnp.ones((1, 2))), jnp.ones((b, 2)), jnp.asarray(0.5))


def test_many_particles_draw_from_the_posterior_and_the_published_ones_do_not() -> None:
    """Theirs count one noise of y as that of every level."""
    right, published = spread(24), spread(24, published=True)
    assert max(map(abs, right)) < 5
    assert min(map(abs, published)) > 5


def spread(count: int, published: bool = False, b: int = 256) -> tuple[float, float]:
    """Distances of mean and variance from those of N(0.8, 0.2), in standard errors."""
    sampler = FPS(measured(b=b), count, published=published)
    keys = sample_keys(jax.random.key(0), jnp.arange(b))
    found = sample(GAUSSIAN, sampler, TIMES, keys, shape=(2,))
    assert int(found.evaluations[0]) == len(TIMES) * count
    n = 2 * b
    return (float(jnp.mean(found.x) - 0.8) / (0.2 / n) ** 0.5,
            float(jnp.var(found.x) - 0.2) / (0.2 * (2 / n) ** 0.5))  # fmt: skip


@pytest.mark.parametrize(
    "sampler, message",
    [
        (FPS(measured(laws.Square())), "needs a linear measurement"),
        (FPS(measured(), 0), "particles must be positive, got 0"),
        (FPS(measured(), 1, 0.0), "data_variance must be positive with inverse.method='fps'"),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(sampler, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        sampler.plan(GAUSSIAN, TIMES)
    assert "\n" not in str(error.value)
