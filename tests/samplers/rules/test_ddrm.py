"""DDRM's published run, and the law of its result on numbers, where it forgets the variance."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import respaced
from samplers.rules.ddrm import DDRM
from sde_lib.iddpm import iddpm
from sde_lib.measurements.base import Decomposed, Measurement
from sde_lib.pytree import pytree
from tests.samplers.rules import golden, laws

LINEAR = iddpm("linear", 1000)
TIMES = jnp.linspace(1.0, 0.01, 5)
TABLE = {
    "usual": (1.0, 0.1, 20, 0.85, 0.971437322595, 0.017781429917),
    "noisy": (1.0, 0.5, 20, 0.85, 0.792409968931, 0.064897170506),
    "wide data": (100.0, 0.5, 20, 0.85, 0.997351655811, 0.082700382470),
    "many steps": (1.0, 0.5, 1000, 0.85, 0.939448816576, 0.016849833863),
}
"""Variance of the data, deviation, steps, eta -> coefficient of y, variance."""


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", TABLE)
def test_the_law_of_the_result_is_the_published_one(name: str) -> None:
    variance, deviation, steps, eta, mean, spread = TABLE[name]
    size = 2 * steps + 8
    sampler = DDRM(laws.known([1.0], [1], size, deviation), eta)
    times = jnp.asarray(respaced(1000, f"ddim{steps}", "key")[::-1] / 999)
    start = float(LINEAR.sigma(times[0]))
    found = laws.moments(sampler, laws.law_of(LINEAR, variance), times, 1, size, start)
    np.testing.assert_allclose([found[0][0], found[1][0, 0]], [mean, spread], rtol=0, atol=1e-9)


@pytest.mark.usefixtures("float64")
def test_with_all_noise_new_y_is_forgotten() -> None:
    size = 2 * 1000 + 8
    sampler = DDRM(laws.known([1.0], [1], size, 0.5), 1.0)
    times = jnp.arange(1000)[::-1] / 999
    found = laws.moments(sampler, laws.law_of(LINEAR, 1.0), times, 1, size)
    assert found[0][0] == pytest.approx(1.1e-5, abs=5e-7)
    assert found[1][0, 0] == pytest.approx(0.493592, abs=5e-7)


@pytree
class Means(Decomposed):
    """The means of 2 x 2 patches, in the golden run's own basis."""

    basis: jax.Array
    sign: jax.Array

    def __call__(self, x):
        return x.reshape(-1, 4, 2, 4, 2, 3).mean((2, 4))

    def singular_values(self):
        return jnp.asarray([0.5, 0.0, 0.0, 0.0])[None, None, None, None]

    def analyse(self, x):
        patches = x.reshape(-1, 4, 2, 4, 2, 3).transpose(0, 1, 3, 5, 2, 4)
        return patches.reshape(-1, 4, 4, 3, 4) @ self.basis

    def synthesise(self, c):
        patches = (c @ self.basis.T).reshape(-1, 4, 4, 3, 2, 2)
        return patches.transpose(0, 1, 4, 2, 5, 3).reshape(-1, 8, 8, 3)

    def analyse_measurement(self, y):
        return jnp.pad(self.sign * y[..., None], [(0, 0)] * 4 + [(0, 3)])

    def synthesise_measurement(self, c):
        return self.sign * c[..., 0]


def spectral(vector: jax.Array) -> jax.Array:
    """Their coordinates as ours: the first of all patches, then the others patch by patch."""
    first, rest = vector[:, :48].reshape(1, 3, 4, 4, 1), vector[:, 48:].reshape(1, 3, 4, 4, 3)
    return jnp.concatenate([first, rest], axis=-1).transpose(0, 2, 3, 1, 4)


def test_a_run_ends_where_theirs_does() -> None:
    told, c = golden.told("ddrm_run"), golden.stored("ddrm_run")
    operator = Means(c["patch_basis"], c["patch_sign"][0, 0])
    y = c["measurement_vector"].reshape(1, 3, 4, 4).transpose(0, 2, 3, 1)
    measurement = Measurement(operator, y, jnp.float32(told["sigma_0"]))
    score = golden.score_of(c["y"])
    times = golden.times_of(np.asarray(told["times"])[::-1])
    alpha, sigma = score.sde.marginal(times)
    noises = []
    for k, ratio in enumerate(np.asarray(sigma / alpha)[1:]):
        every, less, above = (c[f"draw_{3 * k + j:03d}"] for j in range(3))
        told_of = less if ratio < told["sigma_0"] / 0.5 else above
        noises.append(operator.synthesise(spectral(jnp.concatenate([told_of, every[:, 48:]], 1))))
    noises = jnp.stack(noises)
    z = operator.synthesise(spectral(c["z"].transpose(0, 3, 1, 2).reshape(1, -1)))
    program = DDRM(measurement, told["eta"], told["etaB"]).plan(score, times).program
    method, rows = program.method, program.rows
    first = method.step(
        score, golden.Given(sigma[0] * z, noises), {k: v[0] for k, v in rows.items()}
    )
    # Theirs begins at x / r in place of alpha x, r = sigma / alpha.
    started = golden.Given(c["start"] * sigma[0], noises)
    rows = {**rows, "first": jnp.zeros_like(rows["first"])}
    own = method.step(score, started, {k: v[0] for k, v in rows.items()})
    assert golden.apart(first.x, own.x) < 1e-5
    state = golden.Given(c["start"], noises)
    states = []
    for k in range(len(times) - 1):
        state = method.step(score, state, {name: leaf[k] for name, leaf in rows.items()})
        states.append(state.x)
    assert golden.apart(states[0], c["after_step_1"]) < 1e-5
    assert golden.apart(method.finish(score, state, times[-1]), c["x"]) < 1e-5


def test_an_operator_without_a_decomposition_is_refused_in_one_line() -> None:
    measurement = Measurement(laws.Square(), jnp.zeros((1, 3)), jnp.zeros(()))
    with pytest.raises(ValueError, match="singular value decomposition, which Square") as error:
        DDRM(measurement).plan(None, TIMES)
    assert "\n" not in str(error.value)
