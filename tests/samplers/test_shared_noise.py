"""Rows of one step that share a noise, and the weak order that this brings on any data."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import make_interp_spline

import samplers
from samplers import (
    DDIM,
    SEEDS,
    EulerMaruyama,
    Karras,
    LinearSampler,
    Restart,
    Rise,
    Row,
    State,
    StochasticHeun,
)
from sde_lib import VP, KarrasVE, Mixture, pytree
from tests.oracles import isotropic
from tests.samplers.exact import Isotropic, Scripted, run
from tests.slow import but_slow

pytestmark = pytest.mark.usefixtures("float64")


def test_stochastic_heun_is_its_formula_with_one_noise_for_both_slopes() -> None:
    sde, tau = VP(), 0.7
    score, times = Isotropic(sde), jnp.asarray([0.6, 0.4])
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(3))
    state = State.of(jnp.asarray([[-1.0], [0.2], [3.0]]), keys)
    found = run(score, StochasticHeun(tau).plan(score, times), state)
    (alpha, sigma), (alpha_s, sigma_s) = sde.marginal(times[0]), sde.marginal(times[1])
    r, r_s, z = sigma / alpha, sigma_s / alpha_s, state.normal()[1]
    p = (r_s / r) ** (1 + tau**2)
    kept = p * state.x / alpha + jnp.sqrt(r_s**2 - p**2 * r**2) * z
    x0 = score.denoise(state.x, times[0])
    after = score.denoise(alpha_s * (kept + (1 - p) * x0), times[1])
    w = 1 + (1 - p) / jnp.log(p)
    expected = alpha_s * (kept + (1 - p - w) * x0 + w * after)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def weights_of_noise(sampler: samplers.Sampler, times: jax.Array) -> np.ndarray:
    """[draws] of what becomes of every draw in x at the end, on Gaussian data."""
    score = Isotropic(VP())
    start = Scripted(jnp.zeros((1, 64), times.dtype), jnp.zeros((), jnp.int32))
    return np.asarray(run(score, sampler.plan(score, times), start))[0, 1:]


def test_a_draw_that_no_row_weighs_does_nothing() -> None:
    """Two rows draw one noise each; Heun's second is not used, the path of SEEDS has two pieces."""
    times = jnp.asarray([0.6, 0.5, 0.4])
    assert (weights_of_noise(StochasticHeun(), times)[:4] != 0).tolist() == [1, 0, 1, 0]
    assert (weights_of_noise(SEEDS(2), times)[:4] != 0).tolist() == [1, 1, 1, 1]


def test_noises_are_renumbered_within_restarts() -> None:
    """Every step of both ways down weighs its own draw, after the one of the way up."""
    times = jnp.asarray([0.6, 0.4, 0.2])
    low = float(np.exp(-VP().log_snr(times[-1]) / 2))
    found = weights_of_noise(Restart(StochasticHeun(), low, 1.5 * low, steps=2), times)
    # Each row draws for its rise, which one row has, and for its end, which the first of two has.
    assert np.flatnonzero(found).tolist() == [1, 5, 8, 9, 13]


# Weak order ---------------------------------------------------------------------------------------

WEIGHTS, MEANS = np.array([0.3, 0.5, 0.2]), np.array([-1.0, 0.4, 1.3])
DEVIATIONS = np.array([0.4, 0.3, 0.35])
HIGH, LOW = 8.0, 0.2
"""sigma / alpha at the ends."""
NODES, AT_NODES = np.polynomial.hermite_e.hermegauss(8)


@pytree
class TwoNoises:
    """A state that draws z[0], then z[1]."""

    x: jax.Array
    z: jax.Array
    draws: jax.Array
    history: Any = None

    def normal(self):
        return replace(self, draws=self.draws + 1), self.z[self.draws]


def weak_error(sampler: samplers.Sampler, steps: int, points: int = 201) -> float:
    """Error of E cos(x) at the end, on a mixture of Gaussians, without Monte Carlo.

    u_k(x) = E[cos(x_n) | x_k = x] follows from u_{k+1} by quadrature over both noises of a step, on
    a grid of x with splines between its points; E u_0 is an integral over the law at the start.
    """
    sde = KarrasVE(LOW, HIGH)
    score = Mixture(sde, jnp.asarray(WEIGHTS), jnp.asarray(MEANS)[:, None], DEVIATIONS**2)
    times, u = jnp.asarray(Karras(3.0)(sde, steps, HIGH, LOW)), np.cos
    z = jnp.asarray([np.tile(np.ravel(side), points) for side in np.meshgrid(NODES, NODES)])
    weights = np.outer(AT_NODES, AT_NODES).ravel() / AT_NODES.sum() ** 2
    for k in reversed(range(steps)):
        x = np.linspace(-1, 1, points) * (2.5 + 5.5 * float(times[k]))
        start = jnp.asarray(np.repeat(x, len(weights)))[:, None]
        given = TwoNoises(start, z[..., None], jnp.zeros((), jnp.int32))
        after = np.asarray(run(score, sampler.plan(score, times[k : k + 2]), given))
        u = make_interp_spline(x, u(after).reshape(points, -1) @ weights, k=5)
    variances = DEVIATIONS**2 + HIGH**2
    law = WEIGHTS * np.exp(-((x[:, None] - MEANS) ** 2) / 2 / variances) / np.sqrt(variances)
    found = u(x) @ law.sum(1) * (x[1] - x[0]) / np.sqrt(2 * np.pi)
    exact = WEIGHTS * np.exp(-(DEVIATIONS**2 + LOW**2) / 2) * np.cos(MEANS)
    return float(found - exact.sum())


WEAK = {
    "stochastic_heun": StochasticHeun(),
    "stochastic_heun_half": StochasticHeun(0.5),
    "seeds_2": SEEDS(2),
    "ddim": DDIM(1.0),
    "euler_maruyama": EulerMaruyama(),
}
"""Samplers with one noise a step, or two."""


@pytest.mark.parametrize(
    "name", but_slow(WEAK, "stochastic_heun_half", "euler_maruyama", "seeds_2")
)
def test_weak_orders_on_data_that_is_not_gaussian(name: str) -> None:
    errors = [weak_error(WEAK[name], n) for n in (20, 40)]
    order = np.log2(errors[0] / errors[1])
    # At these numbers of steps from 1.84 to 2.31, and 0.93 and 1.06; quadrature is right to 1e-6.
    assert order == pytest.approx(WEAK[name].order, abs=0.35), errors


# Rows that say what cannot be ---------------------------------------------------------------------


@pytree
class Rows(LinearSampler):
    """Given rows."""

    given: tuple[Row, ...]
    order, stochastic = 1, False

    def rows(self, schedule, levels):
        return list(self.given)


@pytest.mark.parametrize("row, error, message", [
    (Row(0.6, eps=1.0, f={1: 1.0}), ValueError, "weighs the f or z of a row that comes after it"),
    (Row(0.6, eps=1.0, f={0: 1.0}, z={0: 1.0}), TypeError, "Rows draws noise: it must say"),
    (Row(0.6, f={0: 1.0}, rise=Rise(0.5, 1.0, 1.0)), TypeError, "Rows draws noise: it must say"),
    (Row(0.6, x=np.inf), ValueError, "not finite in its step from t = 0.6: two"),
])  # fmt: skip
def test_rows_that_cannot_be_are_refused(row, error, message) -> None:
    with pytest.raises(error, match=message):
        Rows((row,)).plan(isotropic(VP()), jnp.asarray([0.6, 0.4]))


def test_steps_that_are_not_defined_are_refused() -> None:
    score = isotropic(VP())
    with pytest.raises(ValueError, match=r"step from t = 0.3: .*raise sampling.eps"):
        samplers.RungeKutta("heun", "data").plan(score, jnp.asarray([0.6, 0.3, 0.0]))
    with pytest.raises(ValueError, match=r"step from t = 0.6: .*lower sampling.num_steps"):
        StochasticHeun().plan(score, jnp.asarray([0.6, 0.6, 0.3]))
