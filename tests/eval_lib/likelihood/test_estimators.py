"""Estimators by their parts: what is added to a density or a bound, what is counted, what is built.

Data at 0 makes bounds closed forms: the denoiser says 0, so that |z - z_hat|^2 = SNR |x|^2.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs.schema import get_default
from data_lib.bounds import Bounded
from data_lib.codec import Codec, GrayLevels, Standardize
from eval_lib.likelihood import estimators
from eval_lib.likelihood.bins import TruncatedNormal, UniformNoise
from eval_lib.likelihood.divergence import Exact
from eval_lib.likelihood.estimators import (
    FILL_STREAM,
    TERM_STREAM,
    TRACE_STREAM,
    BoundEstimator,
    ContinuousData,
    Dequantized,
    DiscreteBoundEstimator,
    FlowEstimator,
    Middle,
)
from eval_lib.likelihood.evaluator import estimate_batch
from eval_lib.likelihood.flow import Density, ProbabilityFlow
from samplers.adaptive.integrate import Tolerance
from samplers.adaptive.ode import CLOCKS
from sde_lib import VP, Gaussian, pytree
from sde_lib.bins import Bins
from sde_lib.chain import GaussianDecoder, LevelDecoder

pytestmark = pytest.mark.usefixtures("float64")

SDE = VP()
BINS = Bins.of("equal", 17, True)
LEVELS = jnp.asarray([[5, 9], [0, 16], [8, 3]])
V, EPS = 0.25, 0.02


def keys(n: int):
    return jax.random.split(jax.random.key(0), n)


def at_zero() -> Gaussian:
    """The score of data at 0."""
    return Gaussian.isotropic(SDE, jnp.zeros(2), 1e-14)


def snr(t: float) -> float:
    return float(jnp.exp(SDE.log_snr(jnp.asarray(t))))


def test_streams_of_one_key_differ() -> None:
    assert len({FILL_STREAM, TRACE_STREAM, TERM_STREAM}) == 3


def test_a_discrete_bound_is_the_sum_of_its_terms_and_takes_an_evaluation_for_each_time() -> None:
    times = jnp.asarray([0.2, 0.5, 0.6, 0.8])
    estimator = DiscreteBoundEstimator(Middle(BINS), LevelDecoder(BINS), times)
    found = estimate_batch(estimator, at_zero(), LEVELS, keys(3))
    x = BINS.center(LEVELS)
    # The steps' parts add up to the difference of the SNRs at the ends.
    expected = -0.5 * (snr(0.2) - snr(0.8)) * np.sum(x**2, axis=1)
    np.testing.assert_allclose(found.terms["diffusion"], expected, rtol=1e-6)
    np.testing.assert_allclose(found.log_prob[:, 0], sum(found.terms.values()), rtol=1e-12)
    assert found.evaluations.tolist() == [4, 4, 4]


def test_a_bound_is_the_mean_of_its_draws_on_the_scale_of_the_data() -> None:
    data = jnp.asarray([[0.1, 0.9], [0.5, 0.7], [0.2, 0.4]])
    estimator = BoundEstimator(ContinuousData(GrayLevels(True)), GaussianDecoder(), 0.2, 3)
    found = estimate_batch(estimator, at_zero(), data, keys(3))
    assert found.log_prob.shape == (3, 3)
    assert found.evaluations.tolist() == [6, 6, 6]
    # A density of values in [0, 1] is that in [-1, 1] times 2 for each.
    total = sum(found.terms.values()) + 2 * np.log(2)
    np.testing.assert_allclose(found.log_prob.mean(axis=1), total, rtol=1e-12)
    x = 2 * np.asarray(data) - 1
    law = stats.norm(0, snr(0.2) ** -0.5)
    np.testing.assert_allclose(found.terms["reconstruction"], law.logpdf(x).sum(1), rtol=1e-6)


@pytree
class Given:
    """A flow whose log-density is `slope` times the sum of x, and whose code is x."""

    slope: float

    def density(self, score, x, eps, keys, trace):
        return Density(self.slope * x.sum(axis=1, keepdims=True), x, jnp.full(len(x), 7))


def flowed(slope: float, draws: int):
    law, filling = (jnp.zeros(1), jnp.full(1, V)), Dequantized(BINS, UniformNoise())
    estimator = FlowEstimator(Given(slope), Exact(), filling, EPS, law, draws)
    score = Gaussian.isotropic(SDE, jnp.zeros(1), V)
    return estimate_batch(estimator, score, LEVELS[:, :1], keys(3))


def test_draws_are_inside_the_logarithm_and_terms_are_those_of_the_first() -> None:
    flat, one, many = flowed(0.0, 3), flowed(1.0, 1), flowed(1.0, 3)
    volume = np.log(2 / 17)
    np.testing.assert_allclose(flat.log_prob, np.full((3, 1), volume), rtol=1e-12)
    assert (one.evaluations.tolist(), many.evaluations.tolist()) == ([7] * 3, [21] * 3)
    for name, term in one.terms.items():
        np.testing.assert_allclose(many.terms[name], term, rtol=1e-12)
    x = (one.log_prob - volume)[:, 0]  # of one number, which the first filling drew
    alpha, sigma = SDE.marginal(jnp.asarray(EPS))
    gain = sigma / (alpha**2 * V + sigma**2)
    expected = 0.5 * ((gain * alpha * x) ** 2 - sigma * gain)
    np.testing.assert_allclose(one.terms["truncation"], expected, rtol=1e-9)


def test_a_filling_is_drawn_within_its_bin_by_the_law_that_it_is_weighed_by() -> None:
    filling = Dequantized(BINS, TruncatedNormal(0.3))
    x, volume = filling(LEVELS, keys(3))
    u = np.asarray(x - BINS.center(LEVELS)) / BINS.spacing
    assert len(np.unique(u)) == u.size
    edge = 0.5 / 0.3
    log_q = stats.truncnorm(-edge, edge, scale=0.3).logpdf(u).sum(axis=1)
    np.testing.assert_allclose(volume, 2 * np.log(2 / 17) - log_q, rtol=1e-9)


@pytest.mark.parametrize("centered", [False, True])
def test_one_image_alone_is_on_the_scale_of_its_range(centered: bool) -> None:
    data = jnp.asarray([[0.25, 0.5]])
    x, volume = ContinuousData(GrayLevels(centered))(data, keys(1))
    np.testing.assert_allclose(x, 2 * data - 1 if centered else data)
    np.testing.assert_allclose(volume, [2 * np.log(1 + centered)])
    _, volume = Dequantized(BINS, UniformNoise())(LEVELS[:1], keys(1))
    np.testing.assert_allclose(volume, [2 * np.log(2 / 17)])


# By a config --------------------------------------------------------------------------------------


def built(levels: int | None = 17, **settings: object):
    config = get_default()
    config.eval.update(settings)
    config.training.continuous = False
    return estimators.build(config, SDE, levels, ())


def test_the_noise_in_a_bin_is_the_models_at_the_smallest_time() -> None:
    law = built(dequantization="truncated_normal", eps=0.01, bins="equal").filling.law
    assert isinstance(law, TruncatedNormal)
    assert float(law.deviation) == pytest.approx(snr(0.01) ** -0.5 * 17, rel=1e-6)


def test_times_of_a_discrete_bound_rise_from_the_smallest_to_the_last() -> None:
    given = built(likelihood="discrete_bound", bound_steps=6, eps=0.01).times
    assert len(given) == 7
    assert np.all(np.diff(given) > 0)
    # T and eps by way of their log-SNRs.
    np.testing.assert_allclose([given[0], given[-1]], [0.01, 1.0], rtol=1e-6)
    of_the_model = built(likelihood="discrete_bound", bound_steps=0).times
    np.testing.assert_allclose(of_the_model, np.linspace(0, 1, 1000), rtol=1e-12)


@pytest.mark.parametrize("likelihood", ["bound", "discrete_bound"])
def test_bounds_take_one_draw_only(likelihood: str) -> None:
    built(likelihood=likelihood, importance_samples=1)
    for draws in (2, 3):
        with pytest.raises(ValueError, match="importance_samples must be 1"):
            built(likelihood=likelihood, importance_samples=draws)


def test_densities_have_no_bits() -> None:
    built(None, units="nats")
    with pytest.raises(ValueError, match=r"use eval.units=nats"):
        built(None, units="bits_per_dim")


MEAN, STD, LOW, HIGH = (3.0, -200.0), (0.5, 40.0), (0.0, -1.0), (1.0, 5.0)
CODECS = {
    "standardized": (
        Standardize(MEAN, STD), np.asarray([[3.3, -180.0], [2.0, -250.0]]),
        lambda x: stats.norm.logpdf(x, MEAN, STD).sum(axis=1),
    ),
    "bounded": (
        Bounded(LOW, HIGH), np.asarray([[0.1, 4.0], [0.9, -0.9]]),
        lambda x: np.full(len(x), -np.log(6.0)),
    ),
}  # fmt: skip
"""Name -> (codec, data, log-density of the data whose encoding is standard normal)."""


@pytest.mark.parametrize("name", CODECS)
def test_a_density_is_of_the_data_before_they_were_encoded(name: str) -> None:
    """Standard normal x_0 stays so under VP: neither the prior nor the end at eps is off."""
    made: Codec
    made, x, log_prob = CODECS[name]
    flow = ProbabilityFlow(Tolerance(1e-9, 1e-9, False, 20_000), "dopri8", CLOCKS["log_snr"]())
    score = Gaussian.isotropic(SDE, jnp.zeros(2), 1.0)
    estimator = FlowEstimator(flow, Exact(), ContinuousData(made), 1e-7, (), 1)
    found = estimate_batch(estimator, score, jnp.asarray(x), keys(len(x)))
    np.testing.assert_allclose(found.log_prob[:, 0], log_prob(x), rtol=0, atol=1e-6)
