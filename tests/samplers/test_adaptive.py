"""Solvers that choose their own steps."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samplers
from samplers import AdaptiveAdams, AdaptiveODE, AdaptiveSDE, LogSNR, RungeKutta
from samplers.adaptive.integrate import INTEGRATORS
from samplers.adaptive.ode import CLOCKS, FlowField, InLogSNR
from sde_lib import VE, VP, Conditional, Score, SubVP, pytree
from tests.oracles import DIMS, MEAN, VARIANCE, isotropic, mixture_1d
from tests.samplers.exact import Isotropic
from tests.slow import but_slow, slow

SDES = {"vp": VP(), "subvp": SubVP(), "ve": VE()}


def points(sde, n=32):
    return sde.prior_std * jnp.linspace(-2, 2, n)[:, None]


def keys(n):
    return samplers.sample_keys(jax.random.key(0), jnp.arange(n))


def solve(sde, sampler, times, x):
    score = mixture_1d(sde)
    return samplers.sample(score, sampler, times, keys(len(x)), shape=(1,), start=x, denoise=False)


def exact(sde, end, x):
    return solve(sde, RungeKutta("rk4", "log_snr"), LogSNR()(sde, 2000, 1.0, end), x).x


def largest(one, other):
    return float(jnp.abs(one - other).max())


CASES = {
    **{f"vp {c} {s}": ("vp", c, s, False) for c in CLOCKS for s in INTEGRATORS},
    "subvp log_snr dopri5 shared": ("subvp", "log_snr", "dopri5", True),
    "ve log_snr dopri5": ("ve", "log_snr", "dopri5", False),
    "ve sigma tsit5 shared": ("ve", "sigma", "tsit5", True),
}
SHORT = ("vp time dopri5", "vp log_snr adams", "ve sigma tsit5 shared")
LONG = [n for n in CASES if n not in SHORT]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", but_slow(CASES, *LONG))
def test_the_flow_is_solved_to_the_tolerance(case):
    name, clock, solver, shared = CASES[case]
    sde = SDES[name]
    x, times = points(sde), jnp.asarray([1.0, 1e-3])
    expected = exact(sde, 1e-3, x)
    at = lambda tol: solve(sde, AdaptiveODE(tol, tol, solver, CLOCKS[clock](), shared), times, x)
    crude, fine = at(1e-4), at(1e-8)
    # Errors of a step are held, those of a run add up, here between two modes by much.
    assert largest(fine.x, expected) < 2e-5
    assert largest(crude.x, expected) > 3 * largest(fine.x, expected)
    assert int(fine.evaluations.min()) > int(crude.evaluations.min())
    assert (len(set(fine.evaluations.tolist())) == 1) == shared


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("name", but_slow(SDES, "subvp"))
def test_the_slope_of_a_clock_is_dy_dq_along_the_flow_of_a_gaussian(name, clock):
    """x_t keeps its place in the law at t, that is alpha m + z sqrt(alpha^2 v + sigma^2)."""
    sde, clock = SDES[name], CLOCKS[clock]()
    z, t = jnp.asarray([-1.5, 0.4, 2.0]), jnp.asarray([0.2, 0.5, 0.9])

    def place(t):
        alpha, sigma = sde.marginal(t)
        return alpha * MEAN + z * jnp.sqrt(alpha**2 * VARIANCE + sigma**2)

    moved = lambda f: jax.jvp(f, (t,), (jnp.ones_like(t),))[1]
    dq = moved(lambda t: clock.coordinate(sde, t))
    dy = moved(lambda t: clock.scale(sde, t) * place(t))
    field = FlowField(clock, Isotropic(sde, VARIANCE, MEAN))
    y = (clock.scale(sde, t) * place(t))[:, None]
    np.testing.assert_allclose(field(clock.coordinate(sde, t), y)[:, 0], dy / dq, rtol=1e-8)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", but_slow(SDES, "subvp"))
def test_the_adams_pair_follows_its_tolerance(name):
    """Errors fall as the 2/3 power of the tolerance or faster, evaluations grow as its -1/3."""
    sde = SDES[name]
    x, times = points(sde), jnp.asarray([1.0, 1e-3])
    expected = exact(sde, 1e-3, x)
    crude, fine = (solve(sde, AdaptiveAdams(tol, tol), times, x) for tol in (1e-3, 1e-6))
    assert largest(fine.x, expected) < 1e-4
    assert largest(fine.x, expected) < largest(crude.x, expected) / 100
    ratio = float(fine.evaluations.mean() / crude.evaluations.mean())
    assert 3 < ratio < 15
    assert len(set(crude.evaluations.tolist())) > 1


CONTROLLED = {
    **{f"{s}{' shared' * k}": AdaptiveODE(1e-3, 1e-3, s, InLogSNR(), bool(k))
       for s in INTEGRATORS for k in (0, 1)},
    "exponential adams": AdaptiveAdams(1e-3, 1e-3),
    "sde": AdaptiveSDE(0.05),
}  # fmt: skip
MORE = [n for n in CONTROLLED if n not in ("dopri5", "dopri5 shared", "adams", "sde")]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", but_slow(CONTROLLED, *MORE))
def test_reported_evaluations_are_those_made(name):
    calls = []

    class Counting(Score):
        sde = VP()

        def predict(self, x, t, condition=None):
            jax.debug.callback(lambda: calls.append(1))
            return isotropic(self.sde).predict(x, t)

    jax.tree_util.register_static(Counting)
    Counting.__hash__, Counting.__eq__ = lambda self: 0, lambda self, other: True
    times = jnp.asarray([1.0, 1e-3])
    drawn = samplers.sample(
        Counting(), CONTROLLED[name], times, keys(1), shape=(DIMS,), denoise=False
    )
    jax.effects_barrier()
    assert len(calls) == int(drawn.evaluations[0])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "name", but_slow(["dopri5", "adams", "exponential adams", "sde"], "adams", "exponential adams")
)
def test_each_sample_takes_its_own_steps(name):
    sde, sampler, times = VP(), CONTROLLED[name], jnp.asarray([1.0, 1e-3])
    x = points(sde, 12)
    whole, part = (solve(sde, sampler, times, at) for at in (x, x.at[2:].multiply(-0.3)))
    np.testing.assert_allclose(part.x[:2], whole.x[:2], rtol=1e-9)
    np.testing.assert_array_equal(part.evaluations[:2], whole.evaluations[:2])
    assert len(set(whole.evaluations.tolist())) > 1
    assert part.evaluations.tolist() != whole.evaluations.tolist()


@pytest.mark.usefixtures("float64")
def test_every_sample_keeps_its_condition():
    """A score that knows something of each sample sees them all, in their order."""

    @pytree
    class Shifted(Score):
        sde: VP

        def predict(self, x, t, condition=None):
            return isotropic(self.sde).predict(x - condition[:, None], t)

    score = Shifted(VP())
    shift = jnp.arange(3.0)
    x = jnp.zeros((3, DIMS))
    times = jnp.asarray([1.0, 1e-3])
    run = lambda score, x: (
        samplers.sample(
            score,
            AdaptiveODE(1e-6, 1e-6),
            times,
            keys(len(x)),
            shape=(DIMS,),
            start=x,
            denoise=False,
        ).x
    )
    together = run(Conditional(score, shift), x)
    for k in range(3):
        alone = run(Conditional(score, jnp.full(3, shift[k])), x)
        np.testing.assert_allclose(together[k], alone[0], rtol=1e-10)
    assert float(jnp.abs(together[0] - together[1]).min()) > 1e-3


def test_numbers_of_adaptive_solvers_recompile_nothing():
    sde, x = VP(), points(VP(), 3)
    compiled = []
    for tol, end in ((1e-2, 1e-3), (1e-3, 2e-3)):
        for sampler in (AdaptiveODE(tol, tol / 2), AdaptiveSDE(tol, tol / 2), AdaptiveAdams(tol)):
            solve(sde, sampler, jnp.asarray([1.0, end]), x)
        compiled.append(samplers.base._sample._cache_size())
    assert compiled[0] == compiled[1]


def test_too_few_steps_give_nan_and_not_a_wrong_sample():
    sde, x, times = VP(), points(VP(), 3), jnp.asarray([1.0, 1e-3])
    for sampler in (
        AdaptiveODE(1e-6, 1e-6, max_steps=3),
        AdaptiveSDE(1e-3, 1e-3, max_tries=3),
        AdaptiveAdams(1e-6, 1e-6, max_tries=3),
    ):
        assert np.all(np.isnan(solve(sde, sampler, times, x).x))


@pytest.mark.parametrize("sampler", [AdaptiveSDE(0.05), AdaptiveAdams(1e-2, 1e-2)])
def test_as_many_attempts_as_are_needed_are_enough(sampler):
    sde, x, times = VP(), points(VP(), 3)[:1], jnp.asarray([1.0, 1e-3])
    limited = lambda tries: solve(sde, replace(sampler, max_tries=jnp.asarray(tries)), times, x)
    made = int(limited(2000).evaluations[0])
    # Two evaluations for each attempt, or one for each and one more.
    needed = made // 2 if isinstance(sampler, AdaptiveSDE) else made - 1
    assert np.isfinite(limited(needed).x).all()
    assert np.isnan(limited(needed - 1).x).all()


@pytest.mark.parametrize(
    "sampler", [pytest.param(AdaptiveODE(1e-6, 1e-6), marks=slow), AdaptiveAdams(1e-5, 1e-5)]
)
def test_frames_of_an_adaptive_run_are_states_of_it(sampler):
    sde, x = VP(), points(VP(), 3)
    times = LogSNR()(sde, 4, 1.0, 1e-3)
    score = mixture_1d(sde)
    drawn = samplers.sample(
        score, sampler, times, keys(3), shape=(1,), start=x, denoise=False, frames=4
    )
    np.testing.assert_array_equal(drawn.frames[-1], drawn.x)
    half = solve(sde, sampler, times[:3], x)
    np.testing.assert_allclose(drawn.frames[1], half.x, rtol=1e-5)
    # The whole way at once: the same within what the tolerance allows in float32.
    whole = solve(sde, sampler, times[jnp.asarray([0, -1])], x)
    np.testing.assert_allclose(drawn.x, whole.x, atol=2e-3)


# The reverse SDE ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", but_slow(SDES, "subvp", "ve"))
def test_adaptive_sde_samples_have_the_moments(name):
    sde, n = SDES[name], 1500
    times = jnp.asarray([1.0, sde.t_min_sampling or 1e-5])
    drawn = samplers.sample(isotropic(sde), AdaptiveSDE(0.02), times, keys(n), shape=(DIMS,))
    count = n * DIMS
    assert float(drawn.x.mean()) == pytest.approx(MEAN, abs=5 * (VARIANCE / count) ** 0.5 + 0.02)
    # Five standard errors are 4.6%, the tolerance adds 1% (measured 0.2%).
    assert float(drawn.x.var()) == pytest.approx(VARIANCE, rel=5 * (2 / count) ** 0.5 + 0.01)
    assert 20 < int(drawn.evaluations.min()) < int(drawn.evaluations.max())


@pytest.mark.usefixtures("float64")
def test_the_error_of_a_step_is_relative_to_the_larger_of_two_proposals_above_atol():
    rtol, atol = 0.1, 0.02
    first, second = np.asarray([[3.0, -0.1], [0.05, 2.0]]), np.asarray([[3.3, -0.13], [0.07, 2.2]])
    before = np.asarray([[-5.0, 0.05], [0.1, 1.0]])
    scale = [[0.5, 0.02], [0.02, 0.2]]  # a tenth of 5, atol, atol, a tenth of 2
    expected = np.sqrt((((first - second) / scale) ** 2).mean(axis=1))
    found = AdaptiveSDE(rtol, atol)._error(*map(jnp.asarray, (first, second, before)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_rejected_steps_stay_on_their_brownian_path():
    """Finer tolerances follow one and the same path: they converge to its own solution.

    Were the noise drawn anew after a rejection, runs of different tolerance would differ by the
    spread of the process itself, about 0.5, however fine they are.
    """
    sde, n = VP(), 16
    score, times = isotropic(sde), jnp.asarray([1.0, 0.05])
    x = jax.random.normal(jax.random.key(5), (n, DIMS))

    def end(tol):
        sampler = AdaptiveSDE(tol, tol, 20_000)
        return samplers.sample(
            score, sampler, times, keys(n), shape=(DIMS,), start=x, denoise=False
        ).x

    fine = end(2e-4)
    errors = [float(jnp.sqrt(jnp.mean((end(tol) - fine) ** 2))) for tol in (0.1, 0.02, 0.004)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.02
    assert float(fine.std()) > 0.3
