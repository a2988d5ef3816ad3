"""Bins, dequantization and the bounds: probabilities sum to one, bounds meet their closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from data_lib.codec import GrayLevels
from eval_lib.likelihood.bins import (
    DEQUANTIZATIONS,
    TruncatedNormal,
    UniformNoise,
    bits_per_dim,
)
from eval_lib.likelihood.bounds import chain_terms, discrete_bound, sde_bound
from eval_lib.likelihood.divergence import Exact
from eval_lib.likelihood.estimators import ContinuousData, Dequantized, FlowEstimator
from eval_lib.likelihood.evaluator import estimate_batch
from eval_lib.likelihood.flow import ProbabilityFlow
from samplers.adaptive.integrate import Tolerance
from sde_lib import SDE, VE, VP, Gaussian, Predicted, Score, SubVP, expand, pytree
from sde_lib.bins import LAYOUTS, Bins
from sde_lib.chain import VARIANCES, GaussianDecoder, LevelDecoder
from tests.slow import slow

pytestmark = pytest.mark.usefixtures("float64")

V = 0.25
SNR_ENDS = VE(10**-1.5, 10**1.5)
"""SNR from 1e3 at t = 0 to 1e-3 at t = 1, log-linear in t."""


def keys(n: int, seed: int = 0):
    return jax.random.split(jax.random.key(seed), n)


def within(found, expected, deviations=4.0):
    """True if the mean of `found` is the expected one, within so many of its standard errors."""
    error = float(found.std(ddof=1)) / found.size**0.5
    assert error < 0.02 * abs(expected)  # so that it says something
    return abs(float(found.mean()) - expected) < deviations * error


@partial(jax.jit, static_argnames="draws")
def bounded(score, x, data, decoder, eps, draws):
    return sde_bound(score, x, data, keys(len(x)), eps=eps, decoder=decoder, draws=draws)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("deviation", [1e-3, 0.05, 3.0])
def test_levels_have_probabilities_that_sum_to_one(layout, centered, deviation):
    bins = Bins.of(layout, 17, centered)
    v = jnp.arange(17)
    for mean in (-1.3, 0.02, 0.9):
        log_probs = bins.log_prob(v, jnp.asarray(mean), jnp.asarray(deviation))
        assert float(jnp.exp(log_probs).sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("mean", [-0.7, 0.4])
def test_the_probability_of_a_level_is_the_mass_between_its_edges(mean):
    bins, deviation = Bins.of("equal", 16, False), 0.8
    found = bins.log_prob(jnp.arange(16), jnp.asarray(mean), jnp.asarray(deviation))
    below = stats.norm.cdf((np.arange(1, 16) / 16 - mean) / deviation)
    np.testing.assert_allclose(jnp.exp(found), np.diff([0, *below, 1]), rtol=1e-9)


@pytest.mark.parametrize("deviation", [0.05, 0.02])
def test_a_level_far_from_the_mean_keeps_its_digits(deviation):
    """19 and 48 deviations away: the latter has a probability below float64's least."""
    bins = Bins.of("nearest", 256, True)
    found = bins.log_prob(jnp.asarray([250, 5]), jnp.asarray(0.0), jnp.asarray(deviation))
    edge = (bins.center(jnp.asarray(250)) - bins.spacing / 2) / deviation
    far = edge + bins.spacing / deviation
    near_tail, far_tail = stats.norm.logsf(edge), stats.norm.logsf(far)
    expected = near_tail + np.log(-np.expm1(far_tail - near_tail))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("centered", [False, True])
def test_a_density_of_values_in_the_unit_interval_integrates_to_a_probability(centered):
    """Whatever the network's range: exp(log p(x) + c) over the values is p over the range."""
    values = np.linspace(0.0, 1.0, 2001)
    x, c = ContinuousData(GrayLevels(centered))(jnp.asarray(values)[:, None], keys(2001))
    law = stats.norm(0.1, 0.5)
    found = np.trapezoid(np.exp(law.logpdf(np.asarray(x)[:, 0]) + np.asarray(c)), values)
    # The rule's error is 1 / 12 of the step's square times the change of slope: below 1e-6.
    assert found == pytest.approx(law.cdf(1.0) - law.cdf(-1.0 if centered else 0.0), abs=1e-6)


def test_layouts_are_the_published_ones():
    equal, nearest = Bins.of("equal", 256, True), Bins.of("nearest", 256, True)
    v = jnp.asarray([0, 255])
    np.testing.assert_allclose(equal.center(v) - equal.spacing / 2, [-1, 1 - 2 / 256])
    np.testing.assert_allclose(nearest.center(v), [-1, 1])
    # Published as an offset of 7 bits for data in [-1, 1] and of 8 in [0, 1].
    assert bits_per_dim(np.log(equal.spacing), 1) == pytest.approx(7)
    assert bits_per_dim(np.log(Bins.of("equal", 256, False).spacing), 1) == pytest.approx(8)


@pytest.mark.parametrize("deviation", [0.1, 0.6, 5.0])
@pytest.mark.parametrize("name", DEQUANTIZATIONS)
def test_a_dequantization_is_a_density_on_its_bin(name, deviation):
    """E_q[1 / q] is the length of the bin where q fills it, and E_q[-log q] the entropy."""
    law = DEQUANTIZATIONS[name](deviation)
    u, log_q = jax.vmap(lambda key: law.draw(key, (1,)))(keys(40_000))
    assert float(jnp.abs(u).max()) <= 0.5
    edge = 0.5 / deviation
    cut = stats.truncnorm(-edge, edge, scale=deviation)
    known = {"uniform": stats.uniform(-0.5, 1), "truncated_normal": cut}
    np.testing.assert_allclose(log_q, known[name].logpdf(u[:, 0]), atol=1e-9)
    # Kolmogorov's distance of 40,000 draws: above 0.0097 once in a thousand.
    assert stats.kstest(u[:, 0], known[name].cdf).statistic < 0.0097


@pytest.mark.parametrize("law", [pytest.param(UniformNoise(), marks=slow), TruncatedNormal(0.3)])
def test_weights_of_dequantization_have_the_mean_of_the_levels_probability(law):
    """E_q[p(x) / q(x)] = P(v): importance sampling is unbiased, and one draw in the log a bound."""
    sde, d = VP(), 2
    score = Gaussian.isotropic(sde, jnp.full(d, 0.1), V)
    bins = Bins.of("equal", 5, True)
    flow = ProbabilityFlow(Tolerance(1e-6, 1e-6))
    zeros = np.zeros(d)
    n, k = 40, 30

    def estimate(draws):
        filling = Dequantized(bins, law)
        estimator = FlowEstimator(flow, Exact(), filling, 1e-5, (zeros, zeros + 1), draws)
        data = jnp.tile(jnp.asarray([[1, 3]]), (n, 1))
        return estimate_batch(estimator, score, data, keys(n)).log_prob[:, 0]

    edges = bins.center(jnp.asarray([1, 3])) - bins.spacing / 2
    law_at_zero = stats.norm(0.1, np.sqrt(V))
    true = np.sum(np.log(law_at_zero.cdf(edges + bins.spacing) - law_at_zero.cdf(edges)))
    one, many = estimate(1), estimate(k)
    # What the prior owes at T is 2e-5; the mean of n x k weights is the probability, to four
    # standard errors.
    shares = np.exp(np.asarray(many) - true)
    assert abs(shares.mean() - 1) < 4 * shares.std(ddof=1) / n**0.5 < 0.1
    assert float(many.std()) < float(one.std()) / 3  # the square root of k is 5.5


def test_the_diffusion_term_is_that_of_the_closed_form_for_any_schedule():
    """Gaussian v = 0.25, SNR in [1e-3, 1e3]: log((1 + 250) / (1 + 0.00025)) / 2 nats."""
    expected = 0.5 * np.log((1 + V * 1e3) / (1 + V * 1e-3))
    assert expected == pytest.approx(2.762601485188, abs=1e-12)
    d = 256
    for sde in (SNR_ENDS, VP(), SubVP()):
        # T is the SDE's own: the integral is cut to the same SNR by its own ends for VE only.
        score = Gaussian.isotropic(sde, jnp.zeros(d), V)
        x = score.sample(jax.random.key(1), 40)
        ends = sde.log_snr(jnp.asarray([float(sde.t_min) or 0.0, 1.0]))
        own = 0.5 * np.log((1 + V * np.exp(ends[0])) / (1 + V * np.exp(ends[1])))
        bound = bounded(score, x, x, GaussianDecoder(), sde.t_min, draws=8)
        assert within(bound.diffusion.mean(axis=1) / d, float(own))
        if sde is SNR_ENDS:
            assert float(own) == pytest.approx(expected, rel=1e-3)


@pytree
class Blind(Score):
    """Noise that is 0 wherever the SNR is below `limit`, and elsewhere that of data at 0."""

    sde: SDE
    limit: float = np.inf

    def predict(self, x, t, condition=None):
        blind = expand(self.sde.log_snr(t) < jnp.log(self.limit), x)
        eps = jnp.where(blind, 0.0, x / expand(self.sde.sigma(t), x))
        return Predicted(x - expand(self.sde.sigma(t), x) * eps, eps)


def test_every_term_of_a_bound_has_a_noise_of_its_own():
    """A score that takes x_t for the data shows each term's z^2."""
    x, high = jnp.zeros((500, 1)), 2 * SNR_ENDS.log_snr(jnp.zeros(()))
    bound = bounded(Blind(SNR_ENDS), x, x, GaussianDecoder(), 0.0, draws=3)
    least = 0.5 * np.log(2 * np.pi) + np.log(SNR_ENDS.sigma(jnp.zeros(())))
    squares = jnp.stack([2 * (bound.reconstruction - least), 2 * bound.diffusion / high])
    assert len(np.unique(np.round(squares, 9))) == squares.size
    times = jnp.asarray([0.2, 0.4, 0.6])
    run = jax.jit(partial(discrete_bound, times=times, decoder=GaussianDecoder()))
    found = run(Blind(SNR_ENDS), x, x, keys(500))
    one, other = found.reconstruction[:, 0], found.diffusion[:, 0]
    # Of 500 independent pairs; the same noise in one of the two terms has 0.3 or 0.9.
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / 500**0.5


def test_the_noise_of_a_bound_knows_nothing_of_its_time():
    """E[z^2] is 1 at the quarter of the log-SNRs that are seen."""
    x, high = jnp.zeros((40_000, 1)), 2 * SNR_ENDS.log_snr(jnp.zeros(()))
    score = Blind(SNR_ENDS, 10**-1.5)
    bound = bounded(score, x, x, GaussianDecoder(), 0.0, draws=1)
    assert within(2 * bound.diffusion / high, 0.25)


DISCRETE = {
    ("log_snr", 10): 5.219569609004, ("log_snr", 100): 2.925657157791,
    ("log_snr", 1000): 2.778309955294, ("cosine", 10): 16.0428, ("cosine", 100): 3.257405,
}  # fmt: skip


@pytest.mark.parametrize("case", DISCRETE)
def test_discrete_bounds_have_their_published_values(case):
    grid, n = case
    sde, d = SNR_ENDS, 128
    if grid == "log_snr":
        times = jnp.linspace(0, 1, n + 1)
    else:
        # alpha = cos, sigma = sin of an angle that is even between the ends.
        low, high = np.arctan(10**-1.5), np.arctan(10**1.5)
        times = sde.time_of_log_snr(-2 * jnp.log(jnp.tan(jnp.linspace(low, high, n + 1))))
    score = Gaussian.isotropic(sde, jnp.zeros(d), V)
    x = score.sample(jax.random.key(1), 40)
    run = jax.jit(lambda variance: discrete_bound(
        score, x, x, keys(40), times=times, decoder=GaussianDecoder(), variance=VARIANCES[variance]
    ), static_argnums=0)  # fmt: skip
    assert within(run("posterior").diffusion[:, 0] / d, DISCRETE[case])


def test_the_kernels_variance_costs_what_its_divergence_says():
    """One step: KL(N(m, v) | N(m', w)) of the true posterior against the wider reverse kernel."""
    sde = VE(0.1, 2.0)
    score = Gaussian.isotropic(sde, jnp.zeros(1), V)
    x, times = jnp.full((1, 1), 0.3), jnp.asarray([0.3, 0.6])
    run = jax.jit(lambda name: discrete_bound(
        score, x, x, keys(1), times=times, decoder=GaussianDecoder(), variance=VARIANCES[name]
    ), static_argnums=0)  # fmt: skip
    s2, t2 = (float(sde.sigma(t)) ** 2 for t in times)
    v, w = s2 * (t2 - s2) / t2, t2 - s2
    posterior = float(run("posterior").diffusion[0, 0])  # (m - m')^2 / (2 v)
    expected = 0.5 * (v / w - 1 - np.log(v / w)) + posterior * v / w
    assert float(run("kernel").diffusion[0, 0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["gaussian", "level"])
def test_prior_and_reconstruction_are_those_of_their_gaussians(name):
    """The score of data at 0, whatever x: the denoiser says 0, so that neither term is random."""
    sde = VE(0.1, 2.0) if name == "level" else VP(1.0, 3.0)  # far from their priors
    score = Gaussian.isotropic(sde, jnp.zeros(2), 1e-14)
    bins = Bins.of("equal", 17, True)
    v = jnp.asarray([[5, 9]])
    x, t = bins.center(v), jnp.asarray([0.2, 0.6])
    decoder = {"gaussian": GaussianDecoder(), "level": LevelDecoder(bins)}[name]
    bound = discrete_bound(score, x, v, keys(1), times=t, decoder=decoder)
    law = stats.norm(0, float(sde.sigma(t[0]) / sde.alpha(t[0])))
    edges = np.asarray(x) - bins.spacing / 2
    expected = {
        "gaussian": law.logpdf(np.asarray(x)),
        "level": np.log(law.cdf(edges + bins.spacing) - law.cdf(edges)),
    }[name]
    assert float(bound.reconstruction[0, 0]) == pytest.approx(-expected.sum(), rel=1e-6)
    prior = stats.norm(0, float(sde.prior_std))
    alpha, sigma = (float(c) for c in sde.marginal(t[1]))
    ends = [stats.norm(alpha * float(mean), sigma) for mean in x[0]]
    owed = sum(q.expect(lambda z, q=q: q.logpdf(z) - prior.logpdf(z)) for q in ends)
    assert float(bound.prior[0, 0]) == pytest.approx(owed, rel=1e-6)
    assert owed > 0.05
    total = bound.prior + bound.reconstruction + bound.diffusion
    assert float(bound.log_prob[0, 0]) == pytest.approx(-float(total[0, 0]))


@slow
def test_the_bound_of_levels_is_below_their_probability_and_near_it():
    """Gaussian data with the exact score: the gap is the decoder's and the prior's only."""
    sde, d = VP(), 16
    score = Gaussian.isotropic(sde, jnp.zeros(d), V)
    bins = Bins.of("nearest", 17, True)
    x = score.sample(jax.random.key(1), 50)
    v = jnp.clip(jnp.round((x + 1) / bins.spacing), 0, 16).astype(int)
    mass = bins.log_prob(v, jnp.zeros(d)[None], jnp.sqrt(jnp.asarray(V))).sum(axis=1)
    bound = bounded(score, bins.center(v), v, LevelDecoder(bins), 1e-5, draws=64)
    gap = (mass - bound.log_prob.mean(axis=1)) / d
    error = float(gap.std(ddof=1) / 50**0.5)
    # A model that is smooth across a bin of a quarter of the data's deviation knows nothing of it.
    assert -3 * error < float(gap.mean()) < 6.0
    assert float(bound.reconstruction.mean()) < 1e-3 * d  # at eps the level is all but certain


def test_a_learned_variance_of_a_score_that_says_none_is_refused() -> None:
    score = Gaussian.isotropic(VP(), jnp.zeros(2), 1.0)
    x, times = jnp.zeros((1, 2)), jnp.asarray([0.1, 0.5, 1.0])
    with pytest.raises(ValueError, match="needs a score that says one"):
        chain_terms(score, x, x, lambda i: x, times, GaussianDecoder(), None, False)
