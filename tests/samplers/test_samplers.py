"""Every SDE x predictor x corrector on exact scores: moments, orders, stationarity."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samplers
from samplers import (
    DDIM,
    ERSDE,
    IDDPM,
    AdamsBashforth,
    Ancestral,
    BatchMean,
    Borrowed,
    Churn,
    DPMSolver,
    EulerMaruyama,
    Flow,
    Grid,
    Idle,
    Karras,
    Langevin,
    LogSNR,
    NoiseLevel,
    PerSample,
    Posterior,
    Power,
    PredictorCorrector,
    ReverseDiffusion,
    RungeKutta,
    Sampler,
    SASolver,
    SDEDPMSolverPP,
    State,
    Uniform,
    UniPC,
)
from sde_lib import SDE, VE, VP, Gaussian, Score
from sde_lib.base import time_derivative
from tests.oracles import (
    DIMS,
    FURTHER,
    MEAN,
    REPEATING,
    SDES,
    VARIANCE,
    isotropic,
    mixture_1d,
    pairs,
)
from tests.samplers.exact import one_step
from tests.slow import but_slow, slow

PREDICTORS: dict[str, Sampler] = {
    "euler_maruyama": EulerMaruyama(),
    "reverse_diffusion": ReverseDiffusion(),
    "ancestral": Ancestral(),
    "ancestral_large": Ancestral(1.0),
    "ddim": DDIM(),
    "euler_flow": EulerMaruyama(probability_flow=True),
    "reverse_diffusion_flow": ReverseDiffusion(probability_flow=True),
    "heun": RungeKutta(),
    "unipc": UniPC(),
}
CORRECTORS: dict[str, samplers.Corrector] = {
    "none": Idle(),
    "langevin": Langevin(0.05),
    "posterior": Posterior(0.01),
    "langevin_sample": Langevin(0.05, 1, PerSample()),
    "langevin_batch": Langevin(0.05, 1, BatchMean()),
}
GRIDS = {
    "uniform": Uniform(),
    "quadratic": Power(2.0),
    "log_snr": LogSNR(),
    "karras": Karras(7.0),
    "vp": Borrowed(),
    "flow": Flow(),
    "shifted flow": Flow(3.0),
    "iddpm": IDDPM(),
}


def draw(score: Score, sampler: Sampler, times: jax.Array, n: int, shape=(DIMS,), **options):
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(n))
    return samplers.sample(score, sampler, times, keys, shape=shape, **options)


# Moments on the Gaussian --------------------------------------------------------------------------


def steps_of(sde: SDE) -> int:
    """300, or more where even steps of t would be longer than VE's at as much signal as noise.

    (In the log-SNR, of which VE goes through 17 from 0 to T: what an error of first order is of.)
    """
    if float(sde.T) != 1:
        return 300
    middle = sde.time_of_log_snr(jnp.zeros(()))
    rate = -float(time_derivative(sde.log_snr, middle))
    return round(300 * max(1.0, rate / 17.04))


# Every SDE with every predictor with and without a corrector; the other norms, being a matter of
# the corrector alone, with one predictor.
COMBINATIONS = [
    *itertools.product(SDES, PREDICTORS, ["none", "langevin"]),
    *itertools.product(SDES, ["euler_maruyama"], ["langevin_sample", "langevin_batch"]),
    *itertools.product(SDES, ["euler_maruyama", "ddim"], ["posterior"]),
]
OTHERS = set(PREDICTORS) - {"euler_maruyama", "ancestral", "heun"}
REPEATED = {
    *itertools.product(SDES, OTHERS, ["langevin"]),
    *itertools.product(REPEATING, set(PREDICTORS) - {"euler_maruyama"}, ["none"]),
    # Linear solvers have exact variances under VE in test_orders.
    *itertools.product(["ve"], OTHERS, ["none"]),
    *itertools.product(set(SDES) - {"vp"}, set(PREDICTORS) - {"euler_maruyama"}, ["langevin"]),
    *itertools.product(set(SDES) - {"vp"}, ["ddim"], ["posterior"]),
    *itertools.product(REPEATING, ["euler_maruyama"], ["posterior", "langevin"]),
    ("vp", "heun", "langevin"),
    ("vp", "ancestral", "langevin"),
    ("ve", "heun", "none"),
    ("ve", "euler_maruyama", "posterior"),
    *itertools.product(
        set(SDES) - {"vp"}, ["euler_maruyama"], ["langevin_sample", "langevin_batch"]
    ),
}


@pytest.mark.parametrize("name, predictor, corrector", [
    pytest.param(*c, marks=slow) if c in REPEATED else c for c in COMBINATIONS
])  # fmt: skip
def test_samples_of_a_gaussian_have_its_mean_and_variance(
    name: str, predictor: str, corrector: str
) -> None:
    sde = SDES[name]
    n, steps = 1500, steps_of(sde)
    score = isotropic(sde)
    # Where t is sigma, even times would be all noise and a last step from T / 300 to 0.
    grid = Uniform() if float(sde.T) == 1 else Karras()
    times = grid(sde, steps, float(sde.T), sde.t_min_sampling)
    sampler = PredictorCorrector(PREDICTORS[predictor], CORRECTORS[corrector])
    x = draw(score, sampler, times, n).x
    count = n * DIMS
    # Five standard errors; the prior of VP and sub-VP leaves out a mean of alpha(T) = 0.7% of it,
    # and first-order predictors with 300 steps miss 2% of it.
    assert float(x.mean()) == pytest.approx(MEAN, abs=5 * (VARIANCE / count) ** 0.5 + 0.02)
    # Bias of the variance: the step is first order in a grid whose largest log-SNR step is 0.6 for
    # the flow's crudest form (measured 0.15 there, 0.14 for VE's Euler), 4% for the others;
    # the norms of single samples add 2 / d = 12%. Five standard errors: 5 sqrt(2 / count) = 4.6%.
    bias = 0.16 if "flow" in predictor and corrector == "none" else 0.05
    bias += 2 / DIMS if corrector == "langevin_sample" else 0.01
    assert float(x.var()) == pytest.approx(VARIANCE, rel=bias + 5 * (2 / count) ** 0.5)


# Published formulas -------------------------------------------------------------------------------


@pytest.mark.usefixtures("float64")
def test_published_rules_on_ddpm_and_ncsn_levels() -> None:
    """One step of each predictor equals score_sde's formula for its level."""
    n, i = 1000, 400
    t, s = jnp.asarray(i / (n - 1.0)), jnp.asarray((i - 1) / (n - 1.0))
    x, z = 0.8, -0.3
    at, noise = jnp.full((1, 1), x), jnp.full((1, 1), z)

    def steps(score: Score) -> dict[str, float]:
        return {k: float(one_step(p, score, at, noise, t, s)[0, 0]) for k, p in PREDICTORS.items()}

    vp = VP().discrete(n)
    score = Gaussian.isotropic(vp, jnp.ones(1), 0.25)
    beta, g = 0.1 / n + i * 19.9 / n / (n - 1), float(score(at, t)[0, 0])
    ours = steps(score)
    root = (1 - beta) ** 0.5
    assert ours["ancestral_large"] == pytest.approx((x + beta * g) / root + beta**0.5 * z, rel=1e-8)
    expected = (2 - root) * x + beta * g + beta**0.5 * z
    assert ours["reverse_diffusion"] == pytest.approx(expected, rel=1e-8)
    expected = (2 - root) * x + 0.5 * beta * g
    assert ours["reverse_diffusion_flow"] == pytest.approx(expected, rel=1e-8)

    ve = VE()
    score = Gaussian.isotropic(ve, jnp.ones(1), 0.25)
    g, hi, lo = float(score(at, t)[0, 0]), float(ve.sigma(t)), float(ve.sigma(s))
    ours = steps(score)
    gap = hi**2 - lo**2
    expected = x + gap * g + (lo**2 * gap / hi**2) ** 0.5 * z
    assert ours["ancestral"] == pytest.approx(expected, rel=1e-8)
    assert ours["reverse_diffusion"] == pytest.approx(x + gap * g + gap**0.5 * z, rel=1e-8)


# Correctors ---------------------------------------------------------------------------------------


@jax.jit
def correct(corrector: samplers.Corrector, score: Score, state: State, t: jax.Array) -> State:
    return corrector.step(score, state, {"t": t, "s": t})


MOMENTS = [(name, t) for name in SDES for t in (0.05, 0.5, 1.0)]


@pytest.mark.parametrize(
    "name, t",
    [
        pytest.param(*c, marks=slow) if c[0] in FURTHER or (c[1] != 0.05 and c[0] != "vp") else c
        for c in MOMENTS
    ],
)
def test_langevin_corrector_leaves_marginal_unchanged(name: str, t: float) -> None:
    """400 steps at a fixed time; ULA's own closed-form bias is the only one allowed."""
    n, steps, snr, sde = 2000, 400, 0.2, SDES[name]
    score = isotropic(sde)
    now = jnp.asarray(t)
    alpha, sigma = (float(c) for c in sde.marginal(now))
    mean, var = alpha * MEAN, alpha**2 * VARIANCE + sigma**2
    x = mean + var**0.5 * jax.random.normal(jax.random.key(7), (n, DIMS))
    keys = samplers.sample_keys(jax.random.key(3), jnp.arange(n))
    state = correct(Langevin(snr, steps), score, State.of(x, keys), now)
    epsilon = 2 * (snr * sigma) ** 2
    stationary = var / (1 - epsilon / (2 * var))
    # The chain has had 400 epsilon / var > 3 relaxation times where sigma dominates; where it has
    # not, it is still between the two variances, which differ by snr^2 = 4% at most.
    count = n * DIMS
    low, high = sorted((var, stationary))
    slack = 5 * (2 / count) ** 0.5
    assert low * (1 - slack) <= float(state.x.var()) <= high * (1 + slack)
    assert float(state.x.mean()) == pytest.approx(mean, abs=5 * (high / count) ** 0.5)


def test_published_langevin_step_uses_batch_norms_and_alpha() -> None:
    n, i = 1000, 600
    vp = VP().discrete(n)
    score = isotropic(vp)
    t, s = jnp.asarray(i / (n - 1.0)), jnp.asarray((i - 1) / (n - 1.0))
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(8))
    x = jax.random.normal(jax.random.key(1), (8, DIMS))
    state = State.of(x, keys)
    z, g = state.normal()[1], score(x, t)
    alpha = 1 - (0.1 / n + i * 19.9 / n / (n - 1))
    norm = lambda v: jnp.mean(jnp.linalg.norm(v, axis=1))
    step = 2 * alpha * (0.16 * norm(z) / norm(g)) ** 2
    step_of = jax.jit(lambda corrector: corrector.step(score, state, {"t": t, "s": s}).x)
    got = step_of(Langevin(0.16, 1, BatchMean()))
    # float32: exp and log of the mean ratio keep 1e-6.
    np.testing.assert_allclose(got, x + step * g + jnp.sqrt(2 * step) * z, rtol=2e-5, atol=2e-6)
    step = 2 * alpha * (0.16 * vp.sigma(t)) ** 2
    got = step_of(Langevin(0.16, 1, NoiseLevel()))
    np.testing.assert_allclose(got, x + step * g + jnp.sqrt(2 * step) * z, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("t", [0.05, 0.5, 1.0])
def test_posterior_corrector_settles_where_it_says(t: float) -> None:
    n, steps, delta = 2000, 400, 0.1
    sde, now = VP(), jnp.asarray(t)
    score = isotropic(sde)
    alpha, sigma = (float(c) for c in sde.marginal(now))
    mean, var = alpha * MEAN, alpha**2 * VARIANCE + sigma**2
    x = mean + var**0.5 * jax.random.normal(jax.random.key(7), (n, DIMS))
    keys = samplers.sample_keys(jax.random.key(3), jnp.arange(n))
    state = correct(Posterior(delta, steps), score, State.of(x, keys), now)
    kept = (1 - delta) ** 0.5
    gain = kept + (1 - kept) * alpha**2 * VARIANCE / var
    stationary = delta * sigma**2 / (1 - gain**2)
    assert stationary == pytest.approx(var, rel=0.06)
    low, high = sorted((var, stationary))
    slack = 5 * (2 / (n * DIMS)) ** 0.5
    assert low * (1 - slack) <= float(state.x.var()) <= high * (1 + slack)
    assert float(state.x.mean()) == pytest.approx(mean, abs=5 * (high / (n * DIMS)) ** 0.5)


@pytest.mark.usefixtures("float64")
def test_short_posterior_steps_are_langevin_steps() -> None:
    sde, t = VP(), jnp.asarray(0.3)
    score, delta = isotropic(sde), 1e-6
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(4))
    state = State.of(jax.random.normal(jax.random.key(1), (4, DIMS)), keys)
    row = {"t": t, "s": t}
    # epsilon = 2 (snr sigma)^2 = delta sigma^2 / 2
    moved = jax.jit(lambda corrector: corrector.step(score, state, row).x - state.x)
    langevin, posterior = moved(Langevin(delta**0.5 / 2)), moved(Posterior(delta))
    np.testing.assert_allclose(posterior, langevin, rtol=1e-5, atol=1e-9)


def test_posterior_corrector_is_exact_where_the_data_is_one_point() -> None:
    sde, n = VP(), 4000
    score = Gaussian.isotropic(sde, jnp.full((2,), MEAN), 0.0)
    alpha, sigma = (float(c) for c in sde.marginal(jnp.asarray(0.4)))
    x = alpha * MEAN + sigma * jax.random.normal(jax.random.key(7), (n, 2))
    keys = samplers.sample_keys(jax.random.key(3), jnp.arange(n))
    after = correct(Posterior(0.7, 20), score, State.of(x, keys), jnp.asarray(0.4)).x
    assert float(after.mean()) == pytest.approx(alpha * MEAN, abs=5 * sigma / (2 * n) ** 0.5)
    assert float(after.var()) == pytest.approx(sigma**2, rel=5 * (2 / (2 * n)) ** 0.5)


def test_corrector_alone_reaches_the_data_with_enough_steps() -> None:
    """Annealed Langevin without a predictor, as NCSN samples."""
    sde = VE(0.05, 5.0)
    sampler = PredictorCorrector(Idle(), Langevin(0.3, 20))
    x = draw(isotropic(sde), sampler, Uniform()(sde, 60, 1.0, 0.0), 500).x
    # ULA inflates the variance by up to snr^2 = 9%; the chain must have forgotten N(0, 25).
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(x.var()) == pytest.approx(VARIANCE, rel=0.15)


# Grids --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sde, grid", pairs(GRIDS, quick="uniform"))
def test_grids_fall_from_start_to_end(sde: SDE, grid: Grid) -> None:
    end = sde.t_min_sampling
    times = np.asarray(grid(sde, 20, 1.0, end))
    assert times.shape == (21,)
    assert times[0] == 1.0
    assert times[-1] == end
    assert np.all(np.diff(times) < 0)


@pytest.mark.usefixtures("float64")
def test_grids_are_even_in_their_variable() -> None:
    sde = VP()
    sb = lambda t: np.exp(-0.5 * np.asarray(sde.log_snr(jnp.asarray(t))))
    even = {
        "quadratic": lambda t: np.sqrt(t),
        "log_snr": lambda t: np.log(sb(t)),
        "karras": lambda t: sb(t) ** (1 / 7),
    }
    for name, variable in even.items():
        gaps = np.diff(variable(np.asarray(GRIDS[name](sde, 12, 1.0, 1e-3))))
        np.testing.assert_allclose(gaps, gaps[0], rtol=1e-6)


def test_karras_grid_is_edms() -> None:
    sde = VE(0.002, 80.0)
    times = Karras(7.0)(sde, 17, 1.0, 0.0)
    i = np.arange(18) / 17
    expected = (80 ** (1 / 7) + i * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(sde.sigma(times), expected, rtol=2e-4)


# The loop -----------------------------------------------------------------------------------------


PC = PredictorCorrector(EulerMaruyama(), Langevin(0.1))
# Four samples by ten steps wherever it matters not how many: tests then share compiled programs.


def test_sample_k_does_not_depend_on_the_batch() -> None:
    sde = VP()
    times = Uniform()(sde, 10, 1.0, 1e-3)
    score = isotropic(sde)
    whole = draw(score, PC, times, 12).x
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(5, 9))
    part = samplers.sample(score, PC, times, keys, shape=(DIMS,)).x
    # Equal to round-off: the batched matrix products of the oracle may be blocked differently.
    np.testing.assert_allclose(part, whole[5:9], rtol=1e-4, atol=1e-5)
    assert not np.allclose(whole[0], whole[1])


def test_both_orders_of_predictor_and_corrector() -> None:
    """With one step each the two orders are the two compositions."""
    sde = VP()
    score, times = isotropic(sde), jnp.asarray([0.6, 0.4])
    predictor = EulerMaruyama(probability_flow=True)
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(3))
    start = jax.random.normal(jax.random.key(1), (3, DIMS))
    run = lambda first: samplers.sample(
        score, PredictorCorrector(predictor, Langevin(0.1), first), times, keys,
        shape=(DIMS,), start=start, denoise=False,
    ).x  # fmt: skip
    state = State.of(start, samplers.base._stream(keys, 1))
    t, s = times
    flow = predictor.plan(score, times)
    predict = lambda state: samplers.run(score, flow, state)
    correct = lambda state, t, s: Langevin(0.1).step(score, state, {"t": t, "s": s})
    compositions = lambda state: (predict(correct(state, t, s)).x, correct(predict(state), s, t).x)
    first, last = jax.jit(compositions)(state)
    np.testing.assert_allclose(run(True), first, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run(False), last, rtol=1e-5, atol=1e-6)
    assert not np.allclose(first, last)


def test_denoising_returns_the_posterior_mean_of_the_last_state() -> None:
    sde = VP()
    score, times = isotropic(sde), Uniform()(sde, 10, 1.0, 0.2)
    noisy = draw(score, PC, times, 4, denoise=False).x
    clean = draw(score, PC, times, 4, denoise=True).x
    np.testing.assert_allclose(clean, score.denoise(noisy, times[-1]), rtol=1e-5, atol=1e-6)


def test_frames_are_states_along_the_way() -> None:
    sde = VP()
    score, times = isotropic(sde), Uniform()(sde, 10, 1.0, 1e-3)
    result = draw(score, PC, times, 4, denoise=False, frames=5)
    assert result.frames is not None
    assert result.frames.shape == (5, 4, DIMS)
    np.testing.assert_array_equal(result.frames[-1], result.x)
    shorter = draw(score, PC, times[:3], 4, denoise=False).x
    np.testing.assert_allclose(result.frames[0], shorter, rtol=1e-6)


def test_there_is_at_most_one_frame_per_step() -> None:
    sde = VP()
    score, times = isotropic(sde), Uniform()(sde, 3, 1.0, 1e-3)
    result = draw(score, PC, times, 4, denoise=False, frames=50)
    assert result.frames is not None
    assert result.frames.shape == (3, 4, DIMS)
    np.testing.assert_array_equal(result.frames[-1], result.x)
    second = draw(score, PC, times[:3], 4, denoise=False).x
    # Two programs of float32, values of up to 10: round-off of 1e-6 where terms cancel.
    np.testing.assert_allclose(result.frames[1], second, rtol=1e-6, atol=1e-5)


def test_start_replaces_the_prior() -> None:
    """One step of Euler's on the flow from there, by the drift and the score of that time."""
    sde, start, t = VP(), jnp.full((2, DIMS), 3.0), jnp.asarray(0.2)
    score, flow = isotropic(sde), EulerMaruyama(probability_flow=True)
    x = draw(score, flow, jnp.asarray([0.2, 0.1]), 2, start=start, denoise=False).x
    expected = start - 0.1 * score.velocity(start, t)
    assert float(jnp.abs(expected - start).max()) > 0.05
    np.testing.assert_allclose(x, expected, rtol=1e-5)


def compiled() -> int:
    return samplers.base._sample._cache_size()


def test_numbers_of_samplers_and_scores_recompile_nothing() -> None:
    sde, times = VP(), Uniform()(VP(), 8, 1.0, 1e-3)
    before = compiled()
    for snr, large, variance in itertools.product((0.1, 0.2), (0.0, 0.5), (0.1, 0.3)):
        score = Gaussian.isotropic(sde, jnp.zeros(DIMS), variance)
        draw(score, PredictorCorrector(Ancestral(large), Langevin(snr)), times * 0.9, 2)
    assert compiled() == before + 1
    for delta in (0.1, 0.2):
        draw(isotropic(sde), PredictorCorrector(DDIM(), Posterior(delta)), times, 2)
    assert compiled() == before + 2


def test_linear_solvers_of_one_size_are_one_program() -> None:
    """Eta, churn, tau, the order, the family and the grid are numbers in a table."""
    sde = VP()
    score, n = isotropic(sde), 12
    before = compiled()
    noisy = [EulerMaruyama(), Ancestral(0.3), DDIM(0.0), DDIM(0.7), ReverseDiffusion()]
    for sampler, grid in itertools.product(noisy, (Uniform(), Karras(5.0))):
        draw(score, sampler, grid(sde, n, 1.0, 1e-3), 3)
    assert compiled() == before + 1
    two = [SDEDPMSolverPP(eta) for eta in (0.0, 0.4)] + [
        ERSDE(2),
        SASolver(0.3, degree=2, correct=0),
    ]
    for sampler in two:
        draw(score, sampler, Karras()(sde, n, 1.0, 1e-3), 3)
    assert compiled() == before + 2
    flows = [RungeKutta("heun"), RungeKutta("midpoint", "angle"), DPMSolver(2)]
    adams = [AdamsBashforth(2, form, "log_snr") for form in ("data", "noise")]
    for sampler in flows:
        draw(score, sampler, Karras()(sde, n, 1.0, 1e-3), 3)
    for sampler in adams:  # one evaluation per step: as many rows on twice the steps
        draw(score, sampler, Karras()(sde, 2 * n, 1.0, 1e-3), 3)
    assert compiled() == before + 3
    for churn in (10.0, 20.0):
        draw(score, Churn(churn), Karras()(sde, n, 1.0, 1e-3), 3)
    assert compiled() == before + 4


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("predictor", ["heun", "unipc"])
def test_a_corrector_acts_once_per_step_whatever_the_stages(predictor: str, first: bool) -> None:
    sde = VP()
    score, times = isotropic(sde), LogSNR()(sde, 6, 1.0, 1e-3)
    sampler = PredictorCorrector(PREDICTORS[predictor], Langevin(0.1, 2), first)
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(3))
    plan = sampler.plan(score, times)
    alone = PREDICTORS[predictor].plan(score, times)
    assert plan.nfe == alone.nfe + 12
    state = State.of(jnp.ones((3, DIMS)), keys)
    # Of the program the compiler leaves nothing but the counting.
    assert int(jax.jit(lambda: samplers.run(score, plan, state).draws)()) == 12


class Counting(Score):
    """Counts evaluations as they are made."""

    sde = VP()

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, x, t, condition=None):
        self.calls += 1
        return isotropic(self.sde).predict(x, t)


def test_evaluations_are_those_made() -> None:
    times = Karras()(VP(), 4, 1.0, 1e-3)
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(2))
    pairs = [("heun", "langevin"), ("unipc", "posterior")]
    for predictor, corrector in ((PREDICTORS[p], CORRECTORS[c]) for p, c in pairs):
        score = Counting()
        plan = PredictorCorrector(predictor, corrector).plan(score, times)
        method, rows = plan.program.method, plan.program.rows
        state = method.init(State.of(jnp.ones((2, DIMS)), keys))
        with jax.disable_jit():
            for i in range(len(plan.interval)):
                row = jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), rows)
                state = method.step(score, state, row)
        assert score.calls == plan.nfe
    assert PC.plan(Counting(), Uniform()(VP(), 1000, 1.0, 1e-3)).nfe == 2000
    drawn = draw(isotropic(VP()), PC, Uniform()(VP(), 10, 1.0, 1e-3), 4)
    assert drawn.evaluations.tolist() == [21] * 4


def test_stochastic_says_whether_noise_is_drawn() -> None:
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(2))
    score, times = isotropic(VP()), jnp.asarray([0.5, 0.4])
    parts = (*PREDICTORS.values(), *CORRECTORS.values())
    plans = [part.plan(score, times) for part in parts]
    start = State.of(jnp.ones((2, DIMS)), keys)
    # In one program, of which the compiler leaves nothing but the counting.
    draws = jax.jit(lambda: [samplers.run(score, plan, start).draws for plan in plans])()
    assert [int(n) > 0 for n in draws] == [part.stochastic for part in parts]


def test_a_solver_that_compares_levels_refuses_equal_ones() -> None:
    sde = VP().discrete(1000)
    score, times = isotropic(sde), jnp.asarray([0.5, 0.5, 0.4])
    with pytest.raises(ValueError, match=r"same noise level.*lower sampling.num_steps"):
        UniPC().plan(score, times)
    assert DDIM().plan(score, times).nfe == 2


# Nonlinear problem --------------------------------------------------------------------------------


FIRST_ORDER = ["euler_maruyama", "ancestral", "reverse_diffusion"]


@pytest.mark.parametrize("predictor", but_slow(FIRST_ORDER, *FIRST_ORDER[1:]))
def test_samples_of_a_mixture_have_its_weights_and_moments(predictor: str) -> None:
    sde, n = VP(), 4000
    score = mixture_1d(sde)
    times = LogSNR()(sde, 200, 1.0, 1e-3)
    sampler = PREDICTORS[predictor]
    x = np.asarray(draw(score, sampler, times, n, shape=(1,)).x)[:, 0]
    weights, means = np.asarray(score.weights), np.asarray(score.means)[:, 0]
    mean = float(weights @ means)
    var = float(weights @ (np.asarray(score.variances) + means**2)) - mean**2
    # Five standard errors, and 2% for 200 first-order steps.
    assert x.mean() == pytest.approx(mean, abs=5 * (var / n) ** 0.5 + 0.01)
    assert x.var() == pytest.approx(var, rel=5 * (2 / n) ** 0.5 + 0.02)
    left = (x < -0.3).mean()
    assert left == pytest.approx(0.3, abs=5 * (0.21 / n) ** 0.5 + 0.01)
