"""Parametrizations and exact scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs.schema import get_default
from sde_lib import (
    CONDITIONINGS,
    EDM,
    PREDICTIONS,
    ROUNDINGS,
    SDE,
    VE,
    VP,
    Conditional,
    KarrasVE,
    LogSigmaLabel,
    ModelScore,
    Noise,
    Parametrization,
    RawScore,
    ScaledScore,
    Score,
    TimeLabel,
    UnitNoise,
    empirical,
)
from sde_lib.labels import CosineLevelLabel, DescendingLevelLabel, VPTimeLabel
from sde_lib.rounding import LevelBelow, NearestLevel
from sde_lib.tables import made
from tests import oracles
from tests.oracles import SDES

pytestmark = pytest.mark.usefixtures("float64")


def predictions() -> dict:
    return {name: made(row, {"sigma_data": 0.5}) for name, row in PREDICTIONS.items()}


ORACLES = {
    "isotropic": oracles.isotropic,
    "correlated": oracles.correlated,
    "mixture_1d": oracles.mixture_1d,
    "mixture_2d": oracles.mixture_2d,
}


@pytest.mark.parametrize("sde, oracle", oracles.pairs(ORACLES, quick="isotropic"))
def test_oracle_score_is_the_gradient_of_its_log_density(sde: SDE, oracle) -> None:
    score = oracle(sde)
    d = score.mean.size if hasattr(score, "mean") else score.means.shape[1]
    x = jax.random.normal(jax.random.key(0), (5, d))
    t = jnp.asarray([1e-3, 0.05, 0.3, 0.7, 1.0])
    gradient = jax.grad(lambda x: score.log_prob(x, t).sum())(x)
    np.testing.assert_allclose(score(x, t), gradient, rtol=1e-7, atol=1e-9)


ROOT = np.asarray([[1.0, 0.2, 0.0], [0.3, 0.5, -0.4], [0.0, 0.1, 0.3]])
LAWS = {
    "isotropic": [(1.0, np.full(16, 0.7), 0.25 * np.eye(16))],
    "correlated": [(1.0, np.asarray([0.5, -1.0, 0.2]), ROOT @ ROOT.T)],
    "mixture_1d": [
        (0.3, [-1.0], [[0.25**2]]), (0.5, [0.4], [[0.15**2]]), (0.2, [1.3], [[0.3**2]])],
    "mixture_2d": [(0.4, [-1.0, 0.5], 0.04 * np.eye(2)), (0.6, [0.8, -0.6], 0.2 * np.eye(2))],
}  # fmt: skip
"""Weight, mean and covariance of each part of the data's law."""


@pytest.mark.parametrize("name", LAWS)
def test_oracle_density_is_scipys(name: str) -> None:
    score, t = ORACLES[name](VP()), jnp.asarray([1e-3, 0.1, 0.3, 0.6, 1.0])
    parts = [(w, np.asarray(m), np.asarray(c)) for w, m, c in LAWS[name]]
    x = np.random.default_rng(0).standard_normal((5, len(parts[0][1])))
    for point, alpha, sigma, found in zip(
        x, *score.sde.marginal(t), score.log_prob(jnp.asarray(x), t), strict=True
    ):
        of = lambda m, c, alpha=float(alpha), sigma=float(sigma): stats.multivariate_normal(
            alpha * m, alpha**2 * c + sigma**2 * np.eye(len(m))
        )
        each = [np.log(w) + of(m, c).logpdf(point) for w, m, c in parts]
        assert float(found) == pytest.approx(np.logaddexp.reduce(each), rel=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_draws_of_an_oracle_have_the_moments_of_its_law(name: str) -> None:
    n = 40_000
    x = np.asarray(ORACLES[name](VP()).sample(jax.random.key(2), n))
    parts = [(w, np.asarray(m), np.asarray(c)) for w, m, c in LAWS[name]]
    mean = sum(w * m for w, m, _ in parts)
    covariance = sum(w * (c + np.outer(m - mean, m - mean)) for w, m, c in parts)
    deviations = np.sqrt(np.diag(covariance))
    # Five standard errors, of a mean and of an entry of a covariance.
    np.testing.assert_allclose((x.mean(axis=0) - mean) / deviations, 0, atol=5 / n**0.5)
    gaps = (np.cov(x, rowvar=False).reshape(covariance.shape) - covariance) / np.outer(
        deviations, deviations
    )
    np.testing.assert_allclose(gaps, 0, atol=5 * (2 / n) ** 0.5)


@pytest.mark.parametrize("sde, oracle", oracles.pairs(ORACLES, quick="isotropic"))
def test_prediction_pair_recomposes_x(sde: SDE, oracle) -> None:
    """alpha E[x_0 | x] + sigma E[eps | x] = x, which ties the denoiser to the score."""
    score = oracle(sde)
    d = score.mean.size if hasattr(score, "mean") else score.means.shape[1]
    x, t = jax.random.normal(jax.random.key(1), (4, d)), jnp.asarray([1e-3, 0.1, 0.6, 1.0])
    x0, noise, *_ = score.predict(x, t)
    alpha, sigma = (c[:, None] for c in sde.marginal(t))
    np.testing.assert_allclose(alpha * x0 + sigma * noise, x, rtol=1e-9, atol=1e-12)


def test_empirical_score_denoises_to_the_nearest_point_as_noise_vanishes() -> None:
    points = jax.random.normal(jax.random.key(0), (7, 2, 2))
    score = empirical(VP(), points)
    x = points + 1e-3 * jax.random.normal(jax.random.key(1), points.shape)
    np.testing.assert_allclose(score.denoise(x, jnp.asarray(1e-4)), points, atol=1e-6)


def test_gaussian_refuses_an_indefinite_covariance() -> None:
    with pytest.raises(ValueError, match="negative eigenvalue"):
        oracles.Gaussian.of(VP(), jnp.zeros(2), jnp.asarray([[1.0, 2.0], [2.0, 1.0]]))


@pytest.mark.parametrize("name", PREDICTIONS)
@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_every_prediction_is_inverted_exactly_at_both_ends_of_time(sde: SDE, name: str) -> None:
    """F is solved from (x_0, eps) by least squares on its two stated equations; both must hold."""
    prediction = predictions()[name]
    t = jnp.asarray([1e-5, 0.02, 0.5, 1.0])
    alpha, sigma = sde.marginal(t)
    x0, noise = 0.37, -1.4
    x = alpha * x0 + sigma * noise
    c = prediction.coefficients(alpha, sigma)
    by_noise = jnp.abs(c.noise_out) > jnp.abs(c.data_out)
    raw = jnp.where(
        by_noise, (noise - c.noise_skip * x) / c.noise_out, (x0 - c.data_skip * x) / c.data_out
    )
    # At t = 1 the mean coefficient of VP is 7e-3, at t = 1e-5 sub-VP's sigma is 1e-6: errors of
    # 1e-16 grow by at most their inverses.
    np.testing.assert_allclose(c.data_skip * x + c.data_out * raw, x0, rtol=1e-8)
    np.testing.assert_allclose(c.noise_skip * x + c.noise_out * raw, noise, rtol=1e-8)


def test_edm_is_the_published_preconditioning() -> None:
    sigma = jnp.asarray([0.002, 0.5, 80.0])
    d = 0.5
    edm = predictions()["edm"]
    c = edm.coefficients(jnp.ones_like(sigma), sigma)
    np.testing.assert_allclose(c.data_skip, d**2 / (sigma**2 + d**2), rtol=1e-12)
    np.testing.assert_allclose(c.data_out, sigma * d / np.sqrt(sigma**2 + d**2), rtol=1e-12)
    scale = edm.input_scale(jnp.ones_like(sigma), sigma)
    np.testing.assert_allclose(scale, 1 / np.sqrt(sigma**2 + d**2), rtol=1e-12)


def test_edm_with_unit_data_is_minus_v() -> None:
    alpha, sigma = VP().marginal(jnp.asarray([0.01, 0.4, 1.0]))
    edm = EDM(1.0).coefficients(alpha, sigma)
    v = predictions()["v"].coefficients(alpha, sigma)
    np.testing.assert_allclose(edm.data_skip, v.data_skip, rtol=1e-12)
    np.testing.assert_allclose(edm.data_out, -v.data_out, rtol=1e-12)


def linear(params, x, label, condition, key):
    """A stand-in for a network: everything it is given leaves a trace in its output."""
    return params * x + label.reshape(-1, 1) / 1000 + (0.0 if condition is None else condition)


def model(sde: SDE, parametrization: Parametrization) -> ModelScore:
    return ModelScore(linear, jnp.asarray(0.5), sde, parametrization)


def test_published_scores_of_continuous_models() -> None:
    x, t = jnp.ones((3, 2)) * 0.4, jnp.asarray([0.01, 0.5, 1.0])
    vp = model(VP(), Parametrization(Noise(), TimeLabel(999.0)))
    raw = 0.5 * x + (999 * t / 1000)[:, None]
    np.testing.assert_allclose(vp(x, t), -raw / VP().sigma(t)[:, None], rtol=1e-10)
    sigma = VE().sigma(t)[:, None]
    raw = 0.5 * x + jnp.log(sigma) / 1000
    divided = model(VE(), Parametrization(ScaledScore(), LogSigmaLabel()))
    np.testing.assert_allclose(divided(x, t), raw / sigma, rtol=1e-10)
    plain = model(VE(), Parametrization(RawScore(), LogSigmaLabel()))
    np.testing.assert_allclose(plain(x, t), raw, rtol=1e-10)


def test_published_scores_of_discrete_models_between_levels() -> None:
    """score_sde feeds t (N - 1) and divides by the level below (VP), or rounds from above (VE)."""
    n = 1000
    x, t = jnp.ones((4, 2)) * 0.4, jnp.asarray([0.0, 0.1234, 0.777, 1.0])
    ddpm = model(VP().discrete(n), Parametrization(Noise(), TimeLabel(n - 1.0), LevelBelow(n)))
    alphas_bar = np.cumprod(1 - np.linspace(0.1 / n, 20 / n, n))
    std = np.sqrt(1 - alphas_bar)[np.floor(np.asarray(t) * (n - 1)).astype(int)]
    raw = 0.5 * x + ((n - 1) * t / 1000)[:, None]
    np.testing.assert_allclose(ddpm(x, t), -raw / std[:, None], rtol=1e-9)

    parametrization = Parametrization(ScaledScore(), DescendingLevelLabel(n), NearestLevel(n))
    labels = np.round((1 - np.asarray(t)) * (n - 1))
    sigmas = np.exp(np.linspace(np.log(50), np.log(0.01), n))[labels.astype(int)][:, None]
    raw = 0.5 * x + labels[:, None] / 1000
    np.testing.assert_allclose(model(VE(), parametrization)(x, t), raw / sigmas, rtol=1e-9)


def test_levels_are_found_exactly_in_float32() -> None:
    n = 1000
    t = (jnp.arange(n, dtype=jnp.float32) / (n - 1)).astype(jnp.float32)
    for rounding in (LevelBelow(n), NearestLevel(n)):
        levels = np.round(np.asarray(rounding.snap(t)) * (n - 1))
        np.testing.assert_array_equal(levels, np.arange(n))


def test_condition_can_be_fixed_ahead() -> None:
    score = model(VP(), Parametrization(Noise(), TimeLabel()))
    x, t = jnp.ones((2, 2)), jnp.asarray([0.3, 0.6])
    fixed: Score = Conditional(score, jnp.asarray(2.0))
    np.testing.assert_array_equal(fixed(x, t), score(x, t, jnp.asarray(2.0)))
    np.testing.assert_array_equal(fixed.sde.sigma(t), score.sde.sigma(t))
    assert not np.allclose(fixed(x, t), score(x, t))


@pytest.mark.parametrize("name", CONDITIONINGS)
def test_every_conditioning_tells_noise_levels_apart(name: str) -> None:
    """One number a time, for one time or many, and another for another level."""
    sde = VP()
    conditioning = made(CONDITIONINGS[name], get_default().sde)
    t = jnp.asarray([0.01, 0.1, 0.5, 1.0])
    labels = conditioning.label(sde, t)
    one = jnp.stack([conditioning.label(sde, s) for s in t])
    np.testing.assert_allclose(labels, one, rtol=1e-12)
    steps = np.diff(labels)
    assert (steps > 0).all() or (steps < 0).all()


@pytest.mark.parametrize("name", ROUNDINGS)
def test_every_rounding_is_to_a_time_that_stays(name: str) -> None:
    """At most one of the 50 levels away, and itself where it was rounded to."""
    rounding, t = made(ROUNDINGS[name], {"num_scales": 50}), jnp.linspace(0.0, 1.0, 200)
    snapped = rounding.snap(t)
    assert float(jnp.abs(snapped - t).max()) < 1.01 / 49
    np.testing.assert_allclose(rounding.snap(snapped), snapped, atol=1e-12)


def test_published_constants_are_the_defaults() -> None:
    assert TimeLabel() == TimeLabel(999.0)
    assert VPTimeLabel() == VPTimeLabel(VP(0.1, 20.0), 999.0)
    assert LogSigmaLabel() == LogSigmaLabel(1.0)
    assert EDM() == EDM(0.5)


def test_a_vp_networks_label_and_input_are_its_own_under_vp_and_found_by_snr_elsewhere() -> None:
    vp, t = VP(), jnp.asarray([1e-5, 0.01, 0.5, 1.0])
    label = VPTimeLabel(vp, 999.0)
    np.testing.assert_allclose(label.label(vp, t), 999 * t, rtol=1e-9)
    sigma = vp.sigma(t) / vp.alpha(t)
    np.testing.assert_allclose(label.label(KarrasVE(), sigma), 999 * t, rtol=1e-9)
    # EDM's closed form, in float64.
    inverse = (jnp.sqrt(0.1**2 + 2 * 19.9 * jnp.log1p(sigma**2)) - 0.1) / 19.9
    np.testing.assert_allclose(label.label(KarrasVE(), sigma), 999 * inverse, rtol=1e-7)
    np.testing.assert_allclose(UnitNoise().input_scale(*vp.marginal(t)), 1.0, rtol=1e-12)
    np.testing.assert_allclose(
        UnitNoise().input_scale(jnp.ones(4), sigma) * jnp.sqrt(1 + sigma**2), 1.0, rtol=1e-12
    )


def test_iddpm_levels_are_numbered_by_the_nearest_sigma() -> None:
    label = CosineLevelLabel.of(1000)
    u = np.asarray(label.levels)
    assert u.shape == (1001,)
    assert u[-1] == 0
    assert np.all(np.diff(u) < 0)
    kept = np.sin(np.pi / 2 * np.arange(1001) / 1000 / 1.008) ** 2
    # Until the ratio is clipped at the first step, alpha_bar = 1 / (1 + u^2) up to a constant.
    free = slice(40, 1001)
    np.testing.assert_allclose(1 / (1 + u[free] ** 2), kept[free] / kept[-1], rtol=1e-9)
    assert u[0] == pytest.approx(np.sqrt((u[1] ** 2 + 1) / 0.001 - 1))
    expected = 999 - np.arange(1001)
    for sigma in (u, np.nextafter(u, np.inf, dtype=np.float32)):
        found = label.label(KarrasVE(), jnp.asarray(sigma, jnp.float32))
        np.testing.assert_array_equal(found, expected)
    between = 0.6 * u[300] + 0.4 * u[301]
    assert float(label.label(KarrasVE(), jnp.asarray(between))) == 699
