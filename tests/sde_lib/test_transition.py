"""Transitions between neighbours among a thousand levels keep float32's digits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import DDIM, Ancestral, Karras, ReverseDiffusion, SDEDPMSolverPP, Uniform
from sde_lib import SDE, LearnedVP
from sde_lib.tabulated import Place
from tests.oracles import SDES, isotropic
from tests.slow import but_slow

DIGITS = 5e-6
"""float32 has sigma^2 to 2e-6 where log sigma is up to 5 (VE) or the log-SNR to 13 (learned); the
difference of two neighbours' levels would be wrong by 1e-4."""


def bent() -> LearnedVP:
    """With a shape unlike the initial one."""
    rng = np.random.default_rng(0)
    bend = lambda x: jnp.asarray(x + 0.3 * rng.standard_normal(x.shape), jnp.float32)
    return LearnedVP(shape=jax.tree.map(bend, LearnedVP().initial_shape()))


ALL: dict[str, SDE] = {**SDES, "learned and bent": bent()}
STATED = [n for n, sde in ALL.items() if type(sde).log_snr_change is not SDE.log_snr_change]
"""Those that write the change of their log-SNR in terms of t - s; the others subtract."""


def levels(sde: SDE) -> np.ndarray:
    """1,000 times, even (in t, or by Karras where t is sigma), in float32."""
    grid = Karras() if float(sde.T) != 1 else Uniform()
    return np.asarray(grid(sde, 999, float(sde.T), float(sde.t_min)), np.float32)[::-1]


def uneven(sde: SDE) -> np.ndarray:
    """Equally many times, at random."""
    low = max(float(sde.t_min), 1e-4)
    return np.sort(np.random.default_rng(1).uniform(low, float(sde.T), 1000)).astype(np.float32)


def exactly(sde: SDE, t: np.ndarray):
    """alpha, sigma and log-SNR in float64."""
    as_float64 = lambda x: x if isinstance(x, float) else np.asarray(x, np.float64)
    with jax.enable_x64(True):
        exact, at = jax.tree.map(as_float64, sde), jnp.asarray(t, jnp.float64)
        return tuple(map(np.asarray, (*exact.marginal(at), exact.log_snr(at))))


def reference(sde: SDE, t: np.ndarray, i: np.ndarray, j: np.ndarray):
    """(a, b, change of the log-SNR) from times i to times j by plain subtraction in float64."""
    alpha, sigma, log_snr = exactly(sde, t)
    a = alpha[j] / alpha[i]
    return a, sigma[j] ** 2 - (a * sigma[i]) ** 2, log_snr[j] - log_snr[i]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_time_is_a_level_if_it_is_as_near_as_float32_rounds(sign: int) -> None:
    """t_i (1 + e) is t_i up to e = 2^-23, and i e beyond it from there on."""
    i, n = 500, 1000
    for e, beyond in ((0.95 * 2.0**-23, 0.0), (1.05 * 2.0**-23, 1.05 * 2.0**-23 * i)):
        at = Place.of(jnp.asarray(i / (n - 1) * (1 + sign * e)), n)
        assert float(at.i + at.rest) - i == pytest.approx(sign * beyond, abs=1e-9)


NEIGHBOURS = np.arange(999), np.arange(1, 1000)
FEW = [1, 40, 41, 500, 998, 999]
FAR = tuple(np.asarray(FEW)[index] for index in np.triu_indices(len(FEW), 1))


@pytest.mark.parametrize("times", [levels, uneven])
@pytest.mark.parametrize("name", STATED)
def test_float32_has_the_transitions_between_levels(name: str, times) -> None:
    """From each to the next, and over long ways."""
    sde = ALL[name]
    t = times(sde)
    i, j = map(np.concatenate, zip(NEIGHBOURS, FAR, strict=True))
    near = len(NEIGHBOURS[0])
    s, t_ = jnp.asarray(t[i]), jnp.asarray(t[j])
    a, b, change = reference(sde, t, i, j)
    found_a, found_b = sde.transition(s, t_)
    assert found_b.dtype == jnp.float32
    np.testing.assert_allclose(found_a[:near], a[:near], rtol=2e-7)
    # From end to end a is 0.007, the exponential of a sum of 5.
    np.testing.assert_allclose(found_a, a, rtol=DIGITS)
    np.testing.assert_allclose(found_b, b, rtol=DIGITS)
    np.testing.assert_allclose(sde.log_snr_change(s, t_), change, rtol=DIGITS)


def test_float32_has_the_betas_of_ddpm() -> None:
    """Told by float32's i / 999, which are off by up to 6e-5 of a level."""
    t = jnp.asarray(np.arange(1000) / 999, jnp.float32)
    betas = np.linspace(1e-4, 0.02, 1000)[1:]
    a, b = SDES["vp discrete"].transition(t[:-1], t[1:])
    np.testing.assert_allclose(b, betas, rtol=DIGITS)
    np.testing.assert_allclose(a, np.sqrt(1 - betas), rtol=2e-7)


@pytest.mark.usefixtures("float64")
def test_a_level_that_float32_rounds_keeps_its_slope() -> None:
    """The derivatives of a table are those of the interval, at the very levels too."""
    sde = SDES["vp discrete"]
    t = jnp.asarray(np.float32(np.array([0, 1, 500, 998, 999]) / 999), jnp.float64)
    betas = np.linspace(1e-4, 0.02, 1000)[[1, 2, 501, 999, 999]]
    np.testing.assert_allclose(sde.drift_rate(t), 999 * 0.5 * np.log1p(-betas), rtol=1e-6)


def z_weights(sampler, sde: SDE, t: np.ndarray) -> np.ndarray:
    """Weights of the noise in a plan that is made in float32."""
    plan = sampler.plan(isotropic(sde), jnp.asarray(t[::-1]))
    z = plan.program.rows["z"]
    assert z.dtype == np.float32
    return np.asarray(z[:, 0], np.float64)[::-1]


NOISES = {
    "reverse diffusion": (ReverseDiffusion(), lambda a, b, s, t: b),
    "ancestral": (Ancestral(), lambda a, b, s, t: b * (s / t) ** 2),
    "ddim": (DDIM(1.0), lambda a, b, s, t: b * (s / t) ** 2),
    "sde-dpm-solver++": (SDEDPMSolverPP(1.0, 1), lambda a, b, s, t: b * (s / t) ** 2),
}


PLANS = list(itertools.product(ALL, NOISES))


OTHERS = [pair for pair in PLANS if pair[0] != "vp" and pair[1] != "reverse diffusion"]


@pytest.mark.parametrize("pair", but_slow(PLANS, *OTHERS), ids="-".join)
def test_plans_of_a_thousand_steps_are_made_in_float64(pair: tuple[str, str]) -> None:
    """And cast once: all that a float32 plan loses is its own rounding of 6e-8, twice in z^2."""
    sde, (solver, variance) = ALL[pair[0]], NOISES[pair[1]]
    t = levels(sde)
    sigma = exactly(sde, t)[1]
    a, b, _ = reference(sde, t, *NEIGHBOURS)
    expected = variance(a, b, sigma[:-1], sigma[1:])
    np.testing.assert_allclose(z_weights(solver, sde, t) ** 2, expected, rtol=2e-7)
