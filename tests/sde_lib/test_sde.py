"""SDEs: derived against closed form, published constants, inverses, kernels, priors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from sde_lib import SDE, VE, VP, KarrasVE, LearnedVP, SubVP, Tabulated
from tests.oracles import CONTINUOUS, SDES, correlated, isotropic

pytestmark = pytest.mark.usefixtures("float64")

TIMES = np.array([1e-5, 1e-3, 0.05, 0.3, 0.7, 0.999, 1.0])
# Exact arithmetic leaves only float64 round-off, amplified by the conditioning at t = 1e-5.
EXACT = 1e-10


def times() -> jax.Array:
    return jnp.asarray(TIMES)


@pytest.mark.parametrize("sde", CONTINUOUS.values(), ids=CONTINUOUS)
def test_closed_form_drift_and_diffusion_equal_the_derived(sde: SDE) -> None:
    np.testing.assert_allclose(sde.drift_rate(times()), SDE.drift_rate(sde, times()), rtol=EXACT)
    np.testing.assert_allclose(sde.diffusion(times()), SDE.diffusion(sde, times()), rtol=EXACT)


def test_published_coefficients_of_vp() -> None:
    t = TIMES
    beta = 0.1 + t * 19.9
    log_mean = -0.25 * t**2 * 19.9 - 0.5 * t * 0.1
    vp, subvp = VP(), SubVP()
    np.testing.assert_allclose(vp.alpha(times()), np.exp(log_mean), rtol=EXACT)
    np.testing.assert_allclose(vp.sigma(times()), np.sqrt(1 - np.exp(2 * log_mean)), rtol=1e-9)
    np.testing.assert_allclose(vp.diffusion(times()), np.sqrt(beta), rtol=EXACT)
    np.testing.assert_allclose(subvp.sigma(times()), 1 - np.exp(2 * log_mean), rtol=1e-9)
    discount = 1 - np.exp(-2 * 0.1 * t - 19.9 * t**2)
    np.testing.assert_allclose(subvp.diffusion(times()), np.sqrt(beta * discount), rtol=1e-9)
    assert float(vp.alpha(jnp.asarray(1.0)) ** 2) == pytest.approx(4.3e-5, rel=0.01)


def test_published_constants_are_the_defaults() -> None:
    assert VP() == VP(0.1, 20.0)
    assert SubVP() == SubVP(0.1, 20.0)
    assert VE() == VE(0.01, 50.0)
    assert KarrasVE() == KarrasVE(0.002, 80.0)
    assert LearnedVP() == LearnedVP(13.0, -10.0)


def test_published_coefficients_of_ve() -> None:
    sigma = 0.01 * (50 / 0.01) ** TIMES
    ve = VE()
    np.testing.assert_allclose(ve.sigma(times()), sigma, rtol=EXACT)
    np.testing.assert_allclose(ve.alpha(times()), 1.0)
    g = sigma * np.sqrt(2 * (np.log(50) - np.log(0.01)))
    np.testing.assert_allclose(ve.diffusion(times()), g, rtol=EXACT)
    assert float(ve.prior_std) == 50.0


def test_time_is_sigma_in_edms_sde() -> None:
    edm = KarrasVE(0.01, 40.0)
    np.testing.assert_array_equal(edm.sigma(times()), TIMES)
    np.testing.assert_allclose(edm.diffusion(times()) ** 2, 2 * TIMES, rtol=EXACT)
    assert (edm.t_min, edm.t_min_sampling, edm.T, float(edm.prior_std)) == (0.01, 0.01, 40, 40)


def test_ddpm_levels_have_the_published_betas() -> None:
    n = 1000
    ddpm = VP().discrete(n)
    betas = np.linspace(0.1 / n, 20 / n, n)
    alphas_bar = np.cumprod(1 - betas)
    level = jnp.arange(n, dtype=float) / (n - 1)
    # Interpolating at i / (N - 1) rounds the position by 1e-13.
    np.testing.assert_allclose(ddpm.alpha(level) ** 2, alphas_bar, rtol=EXACT)
    np.testing.assert_allclose(ddpm.sigma(level), np.sqrt(1 - alphas_bar), rtol=EXACT)
    a, b = ddpm.transition(level[:-1], level[1:])
    np.testing.assert_allclose(a**2, 1 - betas[1:], rtol=EXACT)
    np.testing.assert_allclose(b, betas[1:], rtol=1e-8)


def test_ncsn_levels_lie_on_the_ve_sde() -> None:
    n = 232
    level = jnp.arange(n, dtype=float) / (n - 1)
    sigmas = np.exp(np.linspace(np.log(0.01), np.log(50), n))
    np.testing.assert_allclose(VE().discrete(n).sigma(level), sigmas, rtol=EXACT)


def test_impossible_levels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sde\.num_scales=10 .*raise sde\.num_scales"):
        VP().discrete(10)
    with pytest.raises(ValueError, match="strictly falling"):
        Tabulated.of(np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_time_of_log_snr_inverts_log_snr(sde: SDE) -> None:
    t = times()
    np.testing.assert_allclose(sde.time_of_log_snr(sde.log_snr(t)), t, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(SDE.time_of_log_snr(sde, sde.log_snr(t)), t, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sde", CONTINUOUS.values(), ids=CONTINUOUS)
def test_float32_keeps_the_inverse_and_small_sigmas_accurate(sde: SDE) -> None:
    t32 = times().astype(jnp.float32)
    sigma = np.asarray(sde.sigma(times()))
    # 1e-5 itself is rounded to 3e-8 relative in float32; a cancellation would cost 1e-2.
    np.testing.assert_allclose(sde.sigma(t32), sigma, rtol=2e-5)
    np.testing.assert_allclose(sde.time_of_log_snr(sde.log_snr(t32)), t32, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_transition_kernel_composes_to_the_marginal(sde: SDE) -> None:
    s, t = jnp.asarray([0.01, 0.2, 0.9]), jnp.asarray([0.02, 0.8, 1.0])
    a, b = sde.transition(s, t)
    np.testing.assert_allclose(a * sde.alpha(s), sde.alpha(t), rtol=EXACT)
    np.testing.assert_allclose(a**2 * sde.sigma(s) ** 2 + b, sde.sigma(t) ** 2, rtol=1e-9)


SMOOTH = {name: sde for name, sde in CONTINUOUS.items() if not isinstance(sde, Tabulated)}


@pytest.mark.parametrize("sde", SMOOTH.values(), ids=SMOOTH)
def test_marginal_solves_the_moment_equations_of_drift_and_diffusion(sde: SDE) -> None:
    """m' = f m and v' = 2 f v + g^2, integrated from t ~ 0, give alpha and sigma^2."""
    coefficients = jax.jit(lambda t: (sde.drift_rate(t), sde.diffusion(t)))

    def rates(t: float, y: np.ndarray) -> list[float]:
        rate, g = map(float, coefficients(jnp.asarray(t)))
        return [rate * y[0], 2 * rate * y[1] + g**2]

    start = jnp.asarray(1e-5)
    y0 = [float(sde.alpha(start)), float(sde.sigma(start)) ** 2]
    y = integrate.solve_ivp(rates, (1e-5, 0.6), y0, rtol=1e-9, atol=1e-12).y[:, -1]
    end = jnp.asarray(0.6)
    np.testing.assert_allclose(y, [sde.alpha(end), sde.sigma(end) ** 2], rtol=1e-6)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_prior_is_a_normal_of_the_stated_deviation(sde: SDE) -> None:
    x = jnp.linspace(-3, 3, 12).reshape(2, 3, 2)
    expected = stats.norm.logpdf(np.asarray(x), scale=float(sde.prior_std)).sum((1, 2))
    np.testing.assert_allclose(sde.prior_log_prob(x), expected, rtol=1e-6)
    draws = sde.prior_sample(jax.random.key(0), (40_000,))
    # Standard error of a deviation from n draws is 1/sqrt(2n) = 0.35%; four of them.
    assert float(draws.std()) == pytest.approx(float(sde.prior_std), rel=4 * 0.0035)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_reverse_and_probability_flow_drifts_are_the_published_ones(sde: SDE) -> None:
    score = isotropic(sde)
    x, t = jnp.ones((3, 16)) * 0.3, jnp.asarray([0.1, 0.5, 0.9])
    f, g = sde.drift(x, t), sde.diffusion(t)[:, None]
    s = score(x, t)
    reverse, flow = sde.reverse(score), sde.probability_flow(score)
    np.testing.assert_allclose(reverse.drift(x, t), f - g**2 * s, rtol=1e-5)
    np.testing.assert_allclose(flow.drift(x, t), f - 0.5 * g**2 * s, rtol=1e-5)
    np.testing.assert_allclose(score.velocity(x, t), flow.drift(x, t), rtol=1e-5)
    np.testing.assert_array_equal(flow.diffusion(t), jnp.zeros(3))


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_perturbed_data_has_the_marginal_of_the_oracle(sde: SDE) -> None:
    score = correlated(sde)
    key_x, key_z = jax.random.split(jax.random.key(1))
    n = 40_000
    x0 = score.sample(key_x, n)
    t = jnp.full((n,), 0.4)
    x = np.asarray(sde.perturb(x0, jax.random.normal(key_z, x0.shape), t))
    alpha, sigma = (float(c) for c in sde.marginal(jnp.asarray(0.4)))
    expected = alpha**2 * np.cov(np.asarray(x0), rowvar=False) + sigma**2 * np.eye(3)
    # Entries of a sample covariance err by sqrt(2/n) = 0.7% of the scale: five of them.
    np.testing.assert_allclose(np.cov(x, rowvar=False), expected, atol=0.035 * expected.max())


def test_a_changed_number_compiles_nothing() -> None:
    traces = 0

    @jax.jit
    def sigma(sde: SDE, t: jax.Array) -> jax.Array:
        nonlocal traces
        traces += 1
        return sde.sigma(t)

    for beta_max in (10.0, 20.0, 30.0):
        sigma(VP(0.1, beta_max), jnp.asarray(0.5))
    assert traces == 1
