"""Exact likelihood and codes: closed forms, units, and what the estimate may not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eval_lib.likelihood.coder import decode_batch, encode_batch
from eval_lib.likelihood.divergence import Exact, Hutchinson
from eval_lib.likelihood.flow import ProbabilityFlow, prior_mismatch, slerp, truncation
from samplers.adaptive.integrate import INTEGRATORS, Tolerance
from samplers.adaptive.ode import CLOCKS
from sde_lib import (
    PREDICTIONS,
    VE,
    VP,
    ClassifierFree,
    Gaussian,
    ModelScore,
    Parametrization,
    SubVP,
    TimeLabel,
)
from sde_lib.rounding import Continuous
from sde_lib.tables import made
from tests.oracles import (
    FURTHER,
    REPEATING,
    SDES,
    correlated,
    isotropic,
    mixture_1d,
    mixture_2d,
)
from tests.samplers.exact import Isotropic
from tests.slow import but_slow

pytestmark = pytest.mark.usefixtures("float64")

PROBLEMS = {"correlated": correlated, "mixture_1d": mixture_1d, "mixture_2d": mixture_2d}


def keys(n: int, seed: int = 0):
    return jax.random.split(jax.random.key(seed), n)


def flow(tol=1e-9, solver="dopri8", clock="log_snr", shared=False):
    return ProbabilityFlow(Tolerance(tol, tol, shared, 20_000), solver, CLOCKS[clock]())


def exact(score, x, eps, z):
    """log p(x) of the closed form, with the prior that the flow ends in put for the law at T."""
    t = jnp.full(len(x), eps)
    alpha = score.sde.alpha(t)[:, None]
    d = x[0].size
    owed = score.sde.prior_log_prob(z) - score.log_prob(z, jnp.full(len(x), score.sde.T))
    return score.log_prob(alpha * x, t) + d * jnp.log(alpha[:, 0]) + owed


def eps_of(sde):
    return max(float(sde.t_min), 1e-5)


CASES = {
    **{f"{name} {problem}": (name, problem, "adams", "log_snr")
       for name in SDES for problem in PROBLEMS},
    **{f"vp mixture_1d {solver}": ("vp", "mixture_1d", solver, "log_snr")
       for solver in ("tsit5", "dopri5", "dopri8")},
    "vp mixture_1d time": ("vp", "mixture_1d", "dopri8", "time"),
    "ve mixture_1d sigma": ("ve", "mixture_1d", "dopri8", "sigma"),
}  # fmt: skip
# Off the mixture and a Gaussian of each kind of SDE nothing is left to be proved; every other test
# here takes dopri8 in the log-SNR.
SLOW = [c for c in CASES if c.endswith("mixture_2d")]
SLOW += [f"{sde} correlated" for sde in REPEATING]
SLOW += [f"{sde} mixture_1d" for sde in FURTHER]
SLOW += ["vp mixture_1d tsit5", "vp mixture_1d dopri8", "vp discrete mixture_1d"]


@pytest.mark.parametrize("case", but_slow(CASES, *SLOW))
def test_log_likelihood_is_that_of_the_closed_form_to_a_millionth_of_a_nat(case):
    name, problem, solver, clock = CASES[case]
    sde = SDES[name]
    score = PROBLEMS[problem](sde)
    x = score.sample(jax.random.key(1), 5)
    # The pair of order 3 needs steps by the thousand for less.
    tol = 1e-8 if solver == "adams" else 1e-9
    found = jax.jit(
        lambda: flow(tol, solver, clock).density(score, x, eps_of(sde), keys(5), Exact())
    )()
    expected = exact(score, x, eps_of(sde), found.z)
    np.testing.assert_allclose(found.log_prob[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("name", but_slow(PREDICTIONS, *(set(PREDICTIONS) - {"noise", "edm"})))
def test_every_prediction_gives_the_same_likelihood(name):
    """A network whose output is that of a Gaussian's exact score, in its own terms."""
    sde = VP()
    prediction = made(PREDICTIONS[name], {"sigma_data": 0.5})
    oracle = isotropic(sde)

    def apply(params, x, label, condition=None, dropout_key=None):
        t = label / 999
        alpha, sigma = (c[:, None] for c in sde.marginal(t))
        c = [v[:, None] for v in prediction.coefficients(alpha[:, 0], sigma[:, 0])]
        unscaled = x / prediction.input_scale(alpha[:, 0], sigma[:, 0])[:, None]
        x0, eps, *_ = oracle.predict(unscaled, t)
        # Of the two equations for F the one that divides by the larger number.
        by_data = (x0 - c[0] * unscaled) / jnp.where(c[1] == 0, 1.0, c[1])
        by_noise = (eps - c[2] * unscaled) / jnp.where(c[3] == 0, 1.0, c[3])
        return jnp.where(jnp.abs(c[1]) > jnp.abs(c[3]), by_data, by_noise)

    network = ModelScore(
        apply, None, sde, Parametrization(prediction, TimeLabel(999.0), Continuous())
    )
    x = oracle.sample(jax.random.key(1), 3)
    run = jax.jit(lambda: flow(1e-8, "adams").density(network, x, 1e-5, keys(3), Exact()))
    found = run()
    # eps_hat = (x - alpha x_0) / sigma of a network that gives x_0 keeps ten digits at t = 1e-5.
    np.testing.assert_allclose(found.log_prob[:, 0], exact(oracle, x, 1e-5, found.z), atol=1e-6)


def test_published_number_of_a_gaussian_and_what_it_owes():
    """v = 0.25, x = 0.3 under VE [0.01, 50]: log p, the prior's share, the truncation's."""
    sde = VE()
    score = Gaussian.isotropic(sde, jnp.zeros(1), 0.25)
    x = jnp.full((1, 1), 0.3)
    found = jax.jit(lambda: flow(1e-11).density(score, x, 0.0, keys(1), Exact()))()
    assert float(found.log_prob[0, 0]) == pytest.approx(-0.405887336747, abs=1e-9)
    owed = prior_mismatch(sde, found.z, jnp.zeros(1), jnp.full(1, 0.25))
    at_eps = float(jax.scipy.stats.norm.logpdf(0.3, 0, np.sqrt(0.25 + 1e-4)))
    assert at_eps == pytest.approx(-0.405919341444, abs=1e-12)
    assert float(found.log_prob[0, 0] - owed[0]) == pytest.approx(at_eps, abs=1e-9)
    assert float(owed[0]) == pytest.approx(3.20e-5, abs=5e-8)
    cut = jax.jit(lambda: truncation(score, x, 0.0, keys(1), Exact()))()
    true = at_eps - float(jax.scipy.stats.norm.logpdf(0.3, 0, 0.5))
    assert true == pytest.approx(-1.28e-4, abs=5e-7)
    # To first order in r^2 / v = 4e-4.
    assert float(cut[0]) == pytest.approx(true, rel=1e-3)


def test_truncation_is_of_all_numbers_of_an_image():
    """For a Gaussian at 0: eps_hat = sigma x_t / (alpha^2 v + sigma^2), number by number."""
    sde, v = SubVP(), 0.25
    score = Isotropic(sde, v)
    x = jnp.asarray([[[0.3, -1.0], [0.5, 0.1]], [[2.0, 0.0], [-0.4, 0.7]]])
    alpha, sigma = sde.marginal(jnp.asarray(0.2))
    gain = sigma / (alpha**2 * v + sigma**2)
    expected = 0.5 * np.sum((gain * alpha * x) ** 2 - sigma * gain, axis=(1, 2))
    np.testing.assert_allclose(truncation(score, x, 0.2, keys(2), Exact()), expected, rtol=1e-9)


@pytest.mark.parametrize("law", ["rademacher", pytest.param("gaussian", marks=pytest.mark.slow)])
def test_hutchinson_is_within_three_standard_errors(law):
    score = correlated(VP())
    x = score.sample(jax.random.key(1), 4)
    # The same solver for both, so that only the trace differs.
    run = jax.jit(lambda trace: flow(1e-6, "adams").density(score, x, 1e-5, keys(4), trace))
    true, found = run(Exact()).log_prob[:, 0], run(Hutchinson(law, 2000)).log_prob
    error = found.std(axis=1, ddof=1) / np.sqrt(2000)
    assert float(error.min()) > 1e-3
    assert np.all(np.abs(found.mean(axis=1) - true) < 3 * error)


def test_probes_have_the_variance_that_their_law_says():
    """For a linear map A: Rademacher sum over i != j of A_ij (A_ij + A_ji); Gaussian 2 |A|^2."""
    a = jnp.asarray([[1.0, 0.5, 0.0], [0.5, -2.0, 0.3], [0.0, 0.3, 0.7]])
    x = jnp.ones((1, 3))
    diagonal = jnp.diag(jnp.diag(a))
    expected = {"rademacher": 2 * jnp.sum((a - diagonal) ** 2), "gaussian": 2 * jnp.sum(a**2)}
    n = 40_000
    for law, variance in expected.items():
        trace = Hutchinson(law, n)
        value, found = trace(lambda x: x @ a.T, x, trace.draw(keys(1), x))
        np.testing.assert_allclose(value, x @ a.T, rtol=1e-12)
        assert abs(float(found.mean()) + 0.3) < 4 * float(jnp.sqrt(variance / n))
        # The sample variance of so many has a relative deviation of about 2%.
        assert float(found.var()) == pytest.approx(float(variance), rel=0.1)
    signs = Hutchinson("rademacher", 1)
    exact_for_diagonal = signs(lambda x: x @ diagonal, x, signs.draw(keys(1), x))[1]
    assert float(exact_for_diagonal[0, 0]) == pytest.approx(-0.3, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["adams", "dopri5"])
def test_an_image_has_its_likelihood_whatever_the_batch(solver):
    score = mixture_2d(VP())
    x = score.sample(jax.random.key(2), 6)
    run = jax.jit(lambda x, k: flow(1e-6, solver).density(score, x, 1e-5, k, Hutchinson()))
    whole, part = run(x, keys(6)), run(x[4:], keys(6)[4:])
    np.testing.assert_allclose(part.log_prob, whole.log_prob[4:], rtol=1e-9)
    np.testing.assert_array_equal(part.evaluations, whole.evaluations[4:])


@pytest.mark.parametrize("solver", but_slow(INTEGRATORS, "tsit5", "bosh3", "dopri8", "dopri5"))
@pytest.mark.parametrize("name", but_slow(["vp", "ve"], "ve"))
def test_a_code_decodes_to_its_image(name, solver):
    sde = SDES[name]
    score = mixture_2d(sde)
    x = score.sample(jax.random.key(3), 4)
    for tol in (1e-4, 1e-6):
        both = flow(tol, solver)
        z = encode_batch(both, score, x, 1e-5)
        back = decode_batch(both, score, z.z, 1e-5)
        # Errors of a step are held; those of two ways of a hundred steps add up.
        assert float(jnp.abs(back.z - x).max()) < 100 * tol
        assert int(z.evaluations.min()) > 0


def test_codes_of_a_guided_score_count_its_network_evaluations():
    score = mixture_2d(VP())
    x, labels = score.sample(jax.random.key(3), 4), jnp.zeros(4, int)
    guided = ClassifierFree(score, labels, labels, 3.0)  # that its classes have all in common
    for run in (encode_batch, decode_batch):
        plain, found = (run(flow(1e-4, "adams"), s, x, 1e-5) for s in (score, guided))
        np.testing.assert_array_equal(found.evaluations, 2 * plain.evaluations)
        np.testing.assert_allclose(found.z, plain.z, rtol=1e-9, atol=1e-12)


def test_codes_and_densities_begin_at_the_law_of_the_smallest_time():
    """x_eps = alpha x; along the flow of a Gaussian, values keep their place in its law."""
    sde, eps = SubVP(), 0.2  # where alpha is 0.8 and |(alpha, sigma)| is not 1
    score = Gaussian.isotropic(sde, jnp.zeros(1), 0.25)
    x = jnp.asarray([[0.7], [-1.1]])
    alpha, sigma = sde.marginal(jnp.asarray([eps, 1.0]))
    deviations = jnp.sqrt(alpha**2 * 0.25 + sigma**2)
    z = alpha[0] * x * deviations[1] / deviations[0]
    both = flow(1e-7, "adams")
    # Errors of some 500 steps add up.
    np.testing.assert_allclose(encode_batch(both, score, x, eps).z, z, rtol=1e-5)
    np.testing.assert_allclose(decode_batch(both, score, z, eps).z, x, rtol=1e-5)
    found = jax.jit(lambda: both.density(score, x, eps, keys(2), Exact()))()
    np.testing.assert_allclose(found.z, z, rtol=1e-5)
    np.testing.assert_allclose(found.log_prob[:, 0], exact(score, x, eps, found.z), atol=1e-5)


def test_a_code_does_not_depend_on_the_schedule():
    """Codes in units of the prior agree between SDEs, but for what their ends differ by."""
    x = mixture_2d(VP()).sample(jax.random.key(3), 4)
    codes = {}
    for name in ("vp", "ve"):
        sde = SDES[name]
        # The same first and last ratio of signal to noise.
        eps = sde.time_of_log_snr(jnp.asarray(8.0))
        found = encode_batch(flow(1e-6, "adams"), mixture_2d(sde), x, eps)
        codes[name] = found.z / sde.prior_std
    # VP ends at alpha = 0.0066, VE at 1 / 50 of noise: p_T is not quite the prior.
    np.testing.assert_allclose(codes["vp"], codes["ve"], atol=0.05)


def test_memory_does_not_grow_with_the_steps():
    score, x = mixture_2d(VP()), jnp.zeros((4, 2))

    def memory(solver, steps):
        both = ProbabilityFlow(Tolerance(1e-6, 1e-6, False, steps), solver)
        run = jax.jit(lambda x, keys: both.density(score, x, 1e-5, keys, Hutchinson()))
        return run.lower(x, keys(4)).compile().memory_analysis().temp_size_in_bytes

    assert 0 < memory("adams", 50_000) < 1.1 * memory("adams", 50)


def test_prior_mismatch_is_exact_for_independent_gaussians():
    sde = VE(0.01, 3.0)  # a prior that is far from the law at T
    score = Gaussian(sde, jnp.asarray([0.5, -1.0]), jnp.asarray([0.3, 2.0]), jnp.eye(2))
    z = jnp.asarray([[1.0, 2.0], [-3.0, 0.4]])
    found = prior_mismatch(sde, z, score.mean, score.variances)
    expected = sde.prior_log_prob(z) - score.log_prob(z, jnp.ones(2))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert float(jnp.abs(found).min()) > 0.1


@pytest.mark.parametrize("sde", [VE(0.01, 3.0), VP(), VE()], ids=["ve, far", "vp", "ve"])
def test_prior_mismatch_is_exact_for_correlated_gaussians(sde):
    """In float32 too, to the digits of z^2, whose parts cancel where prior and law nearly agree."""
    score = correlated(sde)
    t = jnp.asarray(float(sde.T))
    z = sde.alpha(t) * score.sample(jax.random.key(0), 4) + sde.sigma(t)
    law = score.mean, score.variances, score.basis
    found = prior_mismatch(sde, z, *law)
    expected = sde.prior_log_prob(z) - score.log_prob(z, jnp.ones(4))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13)
    with jax.enable_x64(False):
        single = [jnp.asarray(np.asarray(x), jnp.float32) for x in (z, *law)]
        rough = prior_mismatch(sde, *single)
    assert rough.dtype == jnp.float32
    # sigma(T) of VP differs from 1 by 2e-5, of which float32 keeps 3e-3.
    np.testing.assert_allclose(rough, expected, rtol=5e-3, atol=1e-6)


def test_interpolation_goes_along_the_great_circle():
    a, b = jnp.asarray([[3.0, 0.0]]), jnp.asarray([[0.0, 2.0]])
    part = jnp.asarray([0.0, 1 / 3, 1.0])
    found = slerp(a, b, part)
    np.testing.assert_allclose(found[0], a, atol=1e-12)
    np.testing.assert_allclose(found[2], b, atol=1e-12)
    np.testing.assert_allclose(found[1, 0], [3 * np.cos(np.pi / 6), 2 * np.sin(np.pi / 6)])
    np.testing.assert_allclose(slerp(a, 2 * a, part)[1], 4 / 3 * a)  # parallel: a straight line


def test_interpolation_of_codes_of_one_length_keeps_it_and_shares_out_the_angle():
    angles, part = np.asarray([0.5, 2.0]), np.asarray([0.0, 0.25, 0.7, 1.0])
    at = lambda angle: 3 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)[..., None]
    found = slerp(at(0 * angles), at(angles), jnp.asarray(part))
    np.testing.assert_allclose(found, at(part[:, None] * angles), atol=1e-12)
