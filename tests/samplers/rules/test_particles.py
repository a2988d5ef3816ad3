"""Particles: weights whose mean is right for any twist, and a result that nears the posterior."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import DDIM, AdaptiveODE, Ancestral, State, run, sample, sample_keys
from samplers.rules import particles
from samplers.rules.particles import Cloud, TwistedSMC
from sde_lib import VP, Gaussian
from sde_lib.measurements.base import Measurement
from sde_lib.measurements.masks import Mask
from tests.samplers.rules import laws
from tests.samplers.test_learned_variance import Spread

NODES = 80
Z, SHARES = np.polynomial.hermite_e.hermegauss(NODES)
SHARES = SHARES / SHARES.sum()


def numbers(b: int, deviation: float = 0.5) -> Measurement:
    """y = x_0 + n = 1."""
    return Measurement(Mask(jnp.ones((b, 1))), jnp.ones((b, 1)), jnp.asarray(deviation))


@jax.jit
def one_step(method, score, state, row, s):
    cloud = method.step(score, state, row).history
    return cloud, method.weighed(score, cloud, s)[0]


def one_weight(x: float, twist: float, solver, fraction: float) -> np.ndarray:
    """(mean, mean square) of the weight of a step from alpha 0.6 to 0.8, by quadrature."""
    sde = VP()
    alpha = jnp.asarray([0.6, 0.8])
    times = sde.time_of_log_snr(jnp.log(alpha**2 / (1 - alpha**2)))
    score = Spread(sde, jnp.asarray(fraction))
    plan = TwistedSMC(numbers(1), NODES, solver, twist, 0.0).plan(score, times)
    method = plan.program.method
    none = jnp.zeros((NODES, 1))
    cloud = Cloud(jnp.full((NODES, 1, 1), x), none - np.log(NODES), none, none[0])
    state = laws.Deviations(cloud.x[0], jnp.zeros((), int), cloud)
    row = {name: jnp.asarray(leaf[0]) for name, leaf in plan.program.rows.items()}
    cloud, after = one_step(method, score, state, row, times[1])
    weights = cloud.log_weights + cloud.pending
    w = np.exp(np.asarray(weights - after.pending))[:, 0] * NODES
    # The twists' normalizers, which no comparison of particles needs.
    w *= ((0.64 * twist + 0.25) / (0.36 * twist + 0.25)) ** 0.5
    return np.array([SHARES @ w, SHARES @ w**2])


EXACT, SMALL, LEARNED = Ancestral(large=1.0), Ancestral(), Ancestral(learned=True)
WEIGHTS = {
    "exact": (-0.5, 1.0, EXACT, 1.0),
    "exact elsewhere": (1.0, 1.0, EXACT, 1.0),
    "certain": (-0.5, 0.0, EXACT, 4.095760166886),
    "certain elsewhere": (1.0, 0.0, EXACT, 0.813303085049),
    "small kernel": (-0.5, 1.0, SMALL, 0.925429333509),
    "small kernel elsewhere": (1.0, 1.0, SMALL, 1.061512315842),
    "learned kernel": (-0.5, 1.0, LEARNED, 0.925429333509),
}
"""x_t, variance of the data of the twist, solver, mean of the weight."""


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_mean_of_a_weight_is_the_published_one(name: str, monkeypatch) -> None:
    nodes = lambda *_: jnp.asarray(Z)[:, None, None]
    monkeypatch.setattr(particles, "scattered", nodes)
    monkeypatch.setattr(particles, "turn_keys", lambda *_: jax.random.split(jax.random.key(0), 1))
    x, twist, solver, expected = WEIGHTS[name]
    mean, square = one_weight(x, twist, solver, 0.0)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-9)
    if expected == 1:
        np.testing.assert_allclose(square, 1.053494222605, rtol=0, atol=1e-9)
        # A network that says the larger variance says the same.
        learned = one_weight(x, twist, LEARNED, 1.0)
        np.testing.assert_allclose(learned, [mean, square], rtol=1e-12)


STEPS = jnp.linspace(1.0, 0.02, 13)


def drawn(count: int, b: int):
    """Results given y = 1 of N(0, 1), whose posterior is N(0.8, 0.2)."""
    sampler = TwistedSMC(numbers(b), count, Ancestral(large=1.0))
    keys = sample_keys(jax.random.key(0), jnp.arange(b))
    return sample(Gaussian.isotropic(VP(), jnp.zeros(1), 1.0), sampler, STEPS, keys, shape=(1,))


def apart(x) -> tuple[float, float]:
    """Distances of mean and variance from the posterior's, in standard errors."""
    n = len(x)
    return (float(jnp.mean(x) - 0.8) / (0.2 / n) ** 0.5,
            float(jnp.var(x) - 0.2) / (0.2 * (2 / n) ** 0.5))  # fmt: skip


def test_many_particles_draw_from_the_posterior_and_one_does_not() -> None:
    many, one = drawn(64, 512), drawn(1, 512)
    assert max(map(abs, apart(many.x))) < 5
    assert min(map(abs, apart(one.x))) > 5
    np.testing.assert_array_equal(many.evaluations, 13 * 64 * 2)


@jax.jit
def estimate(score, plan, state):
    done = run(score, plan, state)
    return plan.program.method.weighed(score, done.history, STEPS[-1])[0].log_evidence


@pytest.mark.parametrize("share", [0.0, 0.5, 2.0])
def test_the_mean_weight_is_the_evidence(share: float) -> None:
    """However often particles are drawn anew, within five standard errors."""
    b, score = 64, Gaussian.isotropic(VP(), jnp.zeros(1), 1.0)
    plan = TwistedSMC(numbers(b), 16, Ancestral(large=1.0), 1.0, share).plan(score, STEPS)
    keys = sample_keys(jax.random.key(1), jnp.arange(b))
    start = jax.random.normal(jax.random.key(2), (b, 1))
    r2 = float(score.sde.sigma(STEPS[-1])) ** 2
    found = np.exp(estimate(score, plan, State.of(start, keys))) / (2 * np.pi * (r2 + 0.25)) ** 0.5
    error = found.std() / b**0.5
    assert error < 0.1 * found.mean()
    assert abs(found.mean() - np.exp(-1.430510308862)) < 5 * error


def test_places_are_taken_by_weight() -> None:
    weights = np.array([[0.05, 0.4], [0.62, 0.1], [0.33, 0.5]])
    us, n = (np.arange(500) + 0.5) / 500, len(weights)
    draw = jax.vmap(lambda u: particles.systematic(jnp.full(2, u), jnp.log(jnp.asarray(weights))))
    found = np.asarray(draw(jnp.asarray(us)))
    counts = np.stack([(found == k).sum(axis=1) for k in range(n)], axis=1)
    assert np.all(np.abs(counts - n * weights) < 1)
    np.testing.assert_allclose(counts.mean(axis=0), n * weights, atol=1e-2)


@pytest.mark.parametrize(
    "sampler, message",
    [
        (TwistedSMC(numbers(1), solver=DDIM()), "weighs particles by the noise of each step"),
        (TwistedSMC(numbers(1), solver=AdaptiveODE()), "steps of one evaluation"),
        (TwistedSMC(numbers(1), 0), "particles must be positive, got 0"),
        (TwistedSMC(Measurement(laws.Square(), jnp.ones((1, 1)), 0.5)), "needs a linear"),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(sampler, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        sampler.plan(Gaussian.isotropic(VP(), jnp.zeros(1), 1.0), STEPS)
    assert "\n" not in str(error.value)
