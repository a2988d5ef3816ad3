"""Ways up and back: as far off as Euler's method is, or exact."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import DDIM, Karras, sample, sample_keys
from samplers.inversion import EDICT, INVERSIONS, DDIMInversion
from sde_lib import VE, VP
from tests.samplers.exact import Isotropic

pytestmark = pytest.mark.usefixtures("float64")

SDE = VE(0.01, 50.0)
BACK = {10: 0.619513907457, 20: 0.786944572361, 50: 0.908605395498, 100: 0.953207589578}
"""Steps -> the part of an example that comes back; data N(0, 0.25), rho = 7."""


def rising(steps: int, sde=SDE) -> jax.Array:
    if sde is SDE:
        ratios = np.linspace(50 ** (1 / 7), 0.01 ** (1 / 7), steps + 1) ** 7
        return sde.time_of_log_snr(-2 * jnp.log(jnp.asarray(ratios)))[::-1]
    return Karras()(sde, steps, 1.0, 1e-5)[::-1]


def moved(sampler, times, start, sde=SDE) -> jax.Array:
    keys = sample_keys(jax.random.key(0), jnp.arange(len(start)))
    shape = start.shape[1:]
    return sample(Isotropic(sde), sampler, times, keys, shape=shape, start=start, denoise=False).x


@pytest.mark.parametrize("steps", BACK)
def test_the_way_up_and_ddim_down_lose_the_published_part(steps: int) -> None:
    times = rising(steps)
    up = moved(DDIMInversion(), times, jnp.ones((1, 1)))
    if steps == 10:
        np.testing.assert_allclose(up, 78.697403235246, rtol=1e-9)
    back = moved(DDIM(), times[::-1], up)
    np.testing.assert_allclose(back, BACK[steps], rtol=0, atol=1e-9)


def test_two_states_come_back_exactly() -> None:
    times = rising(10)
    up = moved(EDICT(), times, jnp.full((1, 2, 1), 0.3))
    expected = np.array([12.262544906207, 9.665806770803])
    np.testing.assert_allclose(up[0, :, 0], expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(moved(EDICT(), times[::-1], up), 0.3, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mixing", [0.93, 1.0])
def test_two_states_come_back_whatever_alpha_is(mixing: float) -> None:
    times, start = rising(8, VP()), jnp.asarray([[[0.3, -1.0], [0.31, -0.9]]])
    up = moved(EDICT(mixing), times, start, VP())
    assert float(jnp.max(jnp.abs(up - start))) > 0.1
    np.testing.assert_allclose(moved(EDICT(mixing), times[::-1], up, VP()), start, atol=1e-12)


def test_without_mixing_each_moves_by_the_noise_of_the_other() -> None:
    """One step of DDIM for the first state, which the second one follows."""
    times, start = jnp.asarray([0.5, 0.3]), jnp.asarray([[[0.7], [0.7]]])
    found = moved(EDICT(1.0), times, start, VP())
    one = moved(DDIM(), times, start[:, 0], VP())
    np.testing.assert_allclose(found[:, 0], one, rtol=1e-12)
    a_t, s_t = VP().marginal(times[0])
    a_s, s_s = VP().marginal(times[1])
    inner = one * a_t / a_s
    eps = s_t * inner / (a_t**2 * 0.25 + s_t**2)
    expected = a_s * (0.7 / a_t + (s_s / a_s - s_t / a_t) * eps)
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-12)


@pytest.mark.parametrize("name", INVERSIONS)
def test_the_first_and_the_last_level_are_finite(name: str) -> None:
    start = jnp.asarray([[0.3, -1.0]])
    times = rising(4, VP()).at[0].set(1e-12)
    found = moved(INVERSIONS[name](), times, start, VP())
    assert float(jnp.max(jnp.abs(found))) < 5  # which NaN is not


def test_evaluations_are_counted_and_a_mixing_of_nothing_is_refused() -> None:
    score, times = Isotropic(SDE), rising(5)
    assert EDICT().plan(score, times).nfe == 10
    assert DDIMInversion().plan(score, times).nfe == 5
    with pytest.raises(ValueError, match=r"^EDICT\.mixing must be in \(0, 1\], got 0") as error:
        EDICT(0.0).plan(score, times)
    assert "\n" not in str(error.value)
