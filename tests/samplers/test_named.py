"""Samplers and grids by the names and settings of a config."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samplers
from configs import vp_digits
from configs.schema import get_default
from modes.experiment import Experiment
from samplers import IDDPM, Borrowed, Flow, Indices, Karras, PredictorCorrector
from samplers.grids import iddpm_table
from sde_lib import VE, VP, KarrasVE
from tests.oracles import MEAN, VARIANCE, isotropic
from tests.samplers.exact import Isotropic, moments
from tests.slow import but_slow


@pytest.fixture
def c():
    return get_default().sampling


ALONE = [(name, "none") for name in samplers.PREDICTORS if name != "none"]
CORRECTED = [(name, "langevin") for name in ("euler_maruyama", "heun", "unipc", "ode")]
QUICK = {("restart", "none"), ("seeds", "none"), ("accelerated", "none"), ("unipc", "langevin"),
         ("ode", "langevin")}  # fmt: skip
"""Pairs of kinds that no other test builds by name and runs."""


@pytest.mark.parametrize("pair", but_slow(ALONE + CORRECTED, *({*ALONE, *CORRECTED} - QUICK)))
def test_every_named_sampler_is_built_and_runs(c, pair) -> None:
    """With its usual settings, alone and with a corrector, on N(0.7, 0.25).

    Samples have the moments that follow from the plan without drawing any, or, of a solver that
    chooses its steps, those of the data.
    """
    score, n = Isotropic(VP(), VARIANCE, MEAN), 2000
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(n))
    c.grid = "karras"
    c.predictor, c.corrector = pair
    sampler = samplers.build(c)
    c.num_steps = 4 if sampler.adaptive else 24
    times = samplers.build_times(c, score, 1000)
    drawn = samplers.sample(score, sampler, times, keys, shape=(4,))
    if sampler.adaptive:
        assert int(drawn.evaluations.min()) > c.num_steps
        # The prior is without the mean of x_T, and the last correction adds 2% to the variance.
        mean, std, slack = MEAN, VARIANCE**0.5, 0.02
    else:
        assert set(drawn.evaluations.tolist()) == {sampler.plan(score, times).nfe + 1}
        mean, std, slack = *moments(sampler, score, times, 0.0, 1.0), 0.0
    # Five standard errors of 8000 numbers.
    assert float(drawn.x.mean()) == pytest.approx(mean, abs=(5 / (4 * n) ** 0.5 + slack) * std)
    assert float(drawn.x.std()) == pytest.approx(std, rel=5 / (8 * n) ** 0.5 + slack)


OFF = {1: 0.26, 2: 0.08, 3: 0.025, 4: 0.025}
"""Order -> the part of itself that the deviation may be off by after 24 steps; the worst is 0.254,
0.074, 0.019 and 0.021."""
MOVING = ("euler_maruyama", "reverse_diffusion", "consistency")
"""All others leave the mean of what is linear in x alone."""


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", [name for name, _ in ALONE])
def test_every_named_sampler_is_built_and_has_the_moments_of_the_data(c, name) -> None:
    """Begun with those of x_T, without drawing any.

    Methods of order 0 are for networks whose x_0 is a sample, and have the mean alone.
    """
    c.grid, c.predictor, c.num_steps = "karras", name, 24
    score = Isotropic(VP(), VARIANCE, MEAN)
    sampler = samplers.build(c)
    times = samplers.build_times(c, score, 1000).astype(float)
    if sampler.adaptive:
        assert sampler.plan(score, times).steps == 1
        return
    alpha, sigma = map(float, score.marginal(times[0]))
    found = moments(sampler, score, times, alpha * MEAN, (alpha**2 * VARIANCE + sigma**2) ** 0.5)
    assert found[0] == pytest.approx(MEAN, abs=0.05 if name in MOVING else 1e-9)
    if sampler.order:
        assert found[1] == pytest.approx(VARIANCE**0.5, rel=OFF[sampler.order])


def test_pairs_are_built_in_the_order_asked_for(c) -> None:
    c.predictor, c.corrector = "heun", "posterior"
    pair = samplers.build(c)
    assert isinstance(pair, PredictorCorrector)
    assert pair.corrector_first
    c.pc_order = "predictor_first"
    assert not samplers.build(c).corrector_first


# Settings -----------------------------------------------------------------------------------------


def on_the_page(heading):
    """{name: its settings} of a table of docs/samplers.md."""
    page = (Path(__file__).parents[2] / "docs" / "samplers.md").read_text()
    lines = re.findall(r"^\| `.*$", page.split(f"## {heading}\n")[1].split("\n## ")[0], re.M)
    quoted = lambda cell: set(re.findall(r"`(\w+)`", cell))
    cells = [(line.split("|")[1], line.rsplit("|", 2)[1]) for line in lines]
    return {name: quoted(last) for first, last in cells for name in quoted(first)}


class Watched:
    """A section of a config that remembers what was read of it."""

    def __init__(self, section):
        self.section, self.read = section, set()

    def __contains__(self, name):
        return name in self.section

    def __getattr__(self, name):
        self.read.add(name)
        return self.section[name]

    __getitem__ = __getattr__


def test_the_page_says_what_settings_every_sampler_has_and_no_other_is_read(c) -> None:
    always = {"predictor", "probability_flow", "corrector"}
    told = on_the_page("Predictors")
    assert told.keys() == samplers.PREDICTORS.keys()
    for c.predictor in told.keys() - {"none"}:
        watched = Watched(c)
        sampler = samplers.build(watched)
        solvers = {"form"} if c.predictor == "restart" else set()  # Heun's
        ends = {"ending"} if getattr(sampler, "by_levels", False) else set()
        assert watched.read == always | told[c.predictor] | solvers | ends, c.predictor


def test_the_page_says_what_settings_every_corrector_has_and_no_other_is_read(c) -> None:
    always = {"predictor", "probability_flow", "corrector", "pc_order"}
    told = on_the_page("Correctors")
    assert told.keys() | {"none"} == samplers.CORRECTORS.keys()
    c.predictor = "none"
    for c.corrector in told:
        watched = Watched(c)
        samplers.build(watched)
        assert watched.read == always | told[c.corrector]


OF_GRIDS = {"rho", "shift", "num_steps", "frames", "noise_removal", "spacing", "steps_offset",
            "warp", "distilled_steps"}  # fmt: skip
OF_LEVELS = {"num_steps", "noise_removal", "spacing", "warp"}


@pytest.mark.parametrize("settings, read", [
    ({"grid": "uniform"}, {"num_steps"}),
    ({"grid": "karras"}, {"num_steps", "rho"}),
    ({"grid": "edm"}, {"num_steps"}),
    ({"grid": "flow"}, {"num_steps", "shift"}),
    ({"grid": "published", "num_steps": 5}, {*OF_LEVELS, "steps_offset"}),
    ({"grid": "published", "num_steps": 5, "spacing": "trailing"}, OF_LEVELS),
    ({"grid": "published", "num_steps": 5, "spacing": "distilled", "distilled_steps": 9},
     {*OF_LEVELS, "distilled_steps"}),
    ({"grid": "published", "num_steps": 5, "spacing": "linspace", "warp": "karras"},
     {*OF_LEVELS, "rho"}),
    ({"nfe": 10}, {"noise_removal"}),
    ({"predictor": "adaptive_adams"}, {"frames"}),
    ({"predictor": "adaptive_adams", "corrector": "ald"}, {"num_steps"}),
])  # fmt: skip
def test_a_grid_reads_what_it_needs(c, settings, read) -> None:
    c.update({"predictor": "ddim", **settings})
    watched = Watched(c)
    samplers.build_times(watched, isotropic(VP()), 10)
    assert watched.read & OF_GRIDS == read


ENDLESS = ({"predictor": "heun"}, {"predictor": "deis"}, {"predictor": "ddim", "corrector": "ald"})


@pytest.mark.parametrize("settings", ENDLESS)
def test_samplers_of_no_last_step_of_their_own_end_by_the_denoiser(c, settings) -> None:
    """Without reading the setting, so that to give it is refused."""
    c.update({**settings, "ending": "clean"})
    watched = Watched(c)
    assert not isinstance(samplers.build(watched), samplers.Ended)
    assert "ending" not in watched.read
    c.update({"predictor": "ddim", "corrector": "none"})
    assert samplers.build(c) == samplers.Ended(samplers.DDIM(0.0), "clean")


REFUSED = [
    ({"predictor": "none"}, "choose at least one"),
    ({"predictor": "unipcc"}, "did you mean 'unipc'"),
    ({"predictor": "ancestral", "probability_flow": True}, r"must be one of .*euler_maruyama"),
    ({"predictor": "dpm_solver", "order": 4}, r"sampling.order must be at most 3 .* got 4"),
    ({"predictor": "lms", "order": 7}, "sampling.order must be at most 6"),
    ({"predictor": "heun", "form": "sigma"}, r"sampling.form must be one of .*noise"),
    ({"predictor": "adams_bashforth", "form": "time"}, r"sampling.form with .* must be one of"),
    ({"predictor": "ode", "ode_solver": "rk45"}, r"sampling.ode_solver must be one of .*tsit5"),
    ({"predictor": "ode", "ode_clock": "lambda"}, r"sampling.ode_clock must be one of .*time"),
    ({"predictor": "ode", "step_control": "all"}, r"sampling.step_control must be one of .*sample"),
    ({"predictor": "restart", "restart_solver": "ode"}, "must be a solver with a fixed number"),
    ({"predictor": "restart", "restart_solver": "restart"}, r"restart_solver must be one of"),
    ({"predictor": "ddim", "eta": 1.5}, r"sampling.eta must be at most 1 .*got 1.5"),
    ({"predictor": "sa_solver", "tau_min": 2.0}, r"sampling.tau_min must be below .*got 2"),
    ({"predictor": "tcd", "eta": 1.5}, r"sampling.eta must be at most 1 .*got 1.5"),
    ({"predictor": "plms", "form": "data"}, r"sampling.form with .*'plms' must be one of"),
    ({"predictor": "ddim", "ending": "clear"}, r"sampling.ending must be one of"),
    ({"corrector": "langevine"}, "did you mean 'langevin'"),
]


@pytest.mark.parametrize("settings, message", REFUSED)
def test_what_there_is_not_is_refused_in_the_users_terms(c, settings, message) -> None:
    c.update(settings)
    with pytest.raises(ValueError, match=message):
        samplers.build(c)


def test_restart_says_what_its_levels_may_be(c) -> None:
    c.predictor, c.restart_max, c.num_steps = "restart", 1e4, 8
    score = isotropic(VP())
    with pytest.raises(ValueError, match=r"sampling.restart_max must lie above"):
        samplers.build(c).plan(score, samplers.build_times(c, score, 1000))


def test_restart_takes_no_solver_that_rises_itself(c) -> None:
    c.predictor, c.restart_solver, c.num_steps = "restart", "edm", 8
    score = isotropic(VP())
    with pytest.raises(ValueError, match=r"restart_solver must .* before it evaluates, got Churn"):
        samplers.build(c).plan(score, samplers.build_times(c, score, 1000))


# Grids --------------------------------------------------------------------------------------------


def test_time_grid_of_a_config(c) -> None:
    score = isotropic(VP())
    assert samplers.build_times(c, score, 1000).shape == (1001,)
    c.num_steps, c.eps = 10, 0.1
    times = samplers.build_times(c, isotropic(VE()), 1000)
    assert times.shape == (11,)
    assert float(times[-1]) == pytest.approx(0.1)
    c.grid = "log_snrr"
    with pytest.raises(ValueError, match=r"did you mean 'log_snr'"):
        samplers.build_times(c, score, 1000)


def test_solvers_that_choose_their_steps_stop_only_for_frames(c) -> None:
    score = isotropic(VP())
    c.predictor = "ode"
    assert samplers.build_times(c, score, 1000).shape == (2,)
    c.frames = 7
    assert samplers.build_times(c, score, 1000).shape == (8,)
    c.num_steps = 3
    assert samplers.build_times(c, score, 1000).shape == (8,)
    c.corrector = "langevin"
    assert samplers.build_times(c, score, 1000).shape == (4,)


@pytest.mark.parametrize("grid", samplers.GRIDS)
def test_every_named_grid_falls(c, grid) -> None:
    c.grid, c.num_steps = grid, 20
    times = np.asarray(samplers.build_times(c, isotropic(VP()), 1000))
    assert times.shape == (20 if grid == "published" else 21,)
    assert np.all(np.diff(times) < 0)
    assert (times[-1] == np.float32(VP().t_min_sampling)) == (grid != "trailing")
    assert (times[0] == 1.0) == (grid not in ("leading", "published"))


BUDGETS = [
    ({"predictor": "ddim"}, 10, 9),
    ({"predictor": "ddim", "noise_removal": False}, 10, 10),
    ({"predictor": "heun"}, 10, 4),
    ({"predictor": "dpm_solver", "order": 3}, 20, 6),
    ({"predictor": "unipc"}, 20, 19),
    ({"predictor": "unipc", "order": 3}, 20, 17),  # two more for the first step of third order
    ({"predictor": "unipc", "order": 3, "high_order_start": False}, 20, 19),
    ({"predictor": "ddim", "corrector": "langevin"}, 10, 4),
    ({"predictor": "restart"}, 40, 14),  # Heun: 5 steps of the restart, 2 evaluations each
]


@pytest.mark.parametrize("settings, nfe, steps", BUDGETS)
def test_a_budget_of_evaluations_is_used_and_kept(c, settings, nfe, steps) -> None:
    c.update({"grid": "karras", "num_steps": 500, **settings, "nfe": nfe})
    score = isotropic(VP())
    times = samplers.build_times(c, score, 1000)
    assert len(times) - 1 == steps
    # As `samplers.sample` counts them; test_samplers.py holds that they are those made.
    evaluations = samplers.build(c).plan(score, times).nfe + int(c.noise_removal)
    assert nfe - 3 < evaluations <= nfe


def test_budgets_that_cannot_be_are_refused(c) -> None:
    score = isotropic(VP())
    c.nfe, c.predictor = 10, "ode"
    with pytest.raises(ValueError, match=r"sampling.nfe must be 0 with sampling.predictor='ode'"):
        samplers.build_times(c, score, 1000)
    c.predictor, c.nfe = "rk4", 3
    with pytest.raises(ValueError, match=r"sampling.nfe must be at least 5"):
        samplers.build_times(c, score, 1000)


@pytest.mark.usefixtures("float64")
def test_a_borrowed_grid_is_even_in_the_others_time() -> None:
    sde = KarrasVE(0.01, 80.0)
    times = Borrowed(VP())(sde, 12, 80.0, 0.01)
    lent = np.asarray(VP().time_of_log_snr(sde.log_snr(times)))
    np.testing.assert_allclose(np.diff(lent), np.diff(lent)[0], rtol=1e-6)


@pytest.mark.usefixtures("float64")
def test_a_shift_multiplies_sigma_over_alpha() -> None:
    sde = KarrasVE(0.01, 100.0)
    flow = lambda times: np.asarray(times) / (1 + np.asarray(times))
    gaps = np.diff(flow(Flow()(sde, 12, 100.0, 0.01)))
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-9)
    gaps = np.diff(flow(Flow(3.0)(sde, 12, 100.0, 0.01) / 3))
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-9)


@pytest.mark.usefixtures("float64")
def test_iddpm_levels_are_those_of_its_cosine_schedule() -> None:
    table = iddpm_table()
    j = np.arange(100, 1000)
    # (1 + u_{j-1}^2) / (1 + u_j^2) ... is the ratio of two neighbours' alpha-bar.
    alpha_bar = np.sin(np.pi / 2 * j / 1000 / 1.008) ** 2
    ratio = (1 + table[100:-1] ** 2) / (1 + table[101:] ** 2)
    np.testing.assert_allclose(ratio, alpha_bar[1:] / alpha_bar[:-1], rtol=1e-9)


IDDPM_ENDS = {"levels of the table": (8, 1000 - 1), "between levels": (None, None)}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("ends", IDDPM_ENDS)
@pytest.mark.parametrize("n", [1, 2, 3, 17, 60])
def test_iddpm_levels_are_those_that_edm_picks(n, ends) -> None:
    """u_round(i (L - 1) / (N - 1)) of the L levels in [sigma_min, sigma_max], N = n + 1.

    sigma_max = u_8 is that of an iDDPM network in EDM; 0.002 and 80 lie between levels.
    """
    table = iddpm_table()
    high, low = (80.0, 0.002) if ends == "between levels" else table[list(IDDPM_ENDS[ends])]
    sde = KarrasVE(low, high)
    times = np.asarray(IDDPM()(sde, n, high, low))
    u = table[(table >= low) & (table <= high)]
    expected = np.asarray([u[round(i * (len(u) - 1) / n)] for i in range(n + 1)])
    assert times.shape == (n + 1,)
    np.testing.assert_allclose(times[1:-1], expected[1:-1], rtol=1e-12)
    assert (times[0], times[-1]) == (high, low)
    if ends != "between levels":
        np.testing.assert_allclose(times, expected, rtol=1e-12)


def test_iddpm_has_no_more_steps_than_from_level_to_level() -> None:
    """992 levels from u_8 to u_999 are 991 steps, each of some length also in float32."""
    table = iddpm_table()
    high, low = np.float32(table[8]), np.float32(table[999])
    times = np.asarray(IDDPM()(KarrasVE(low, high), 991, high, low))
    np.testing.assert_allclose(times, table[8:], rtol=1e-5)
    assert np.all(np.diff(times) < 0)
    with pytest.raises(ValueError, match=r"992 levels .* must be at most 991, got 992"):
        IDDPM()(KarrasVE(low, high), 992, high, low)


TOO_FEW_LEVELS = {
    "iddpm": r"must be at most 99\d, got 1000",
    "trailing": "below sde.num_scales = 1000",
    "leading": "below sde.num_scales = 1000",
    "respaced": "below sde.num_scales = 1000",
}


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("grid", samplers.GRIDS)
def test_every_named_grid_has_as_many_steps_as_are_asked_for(c, grid, steps) -> None:
    """Each of some length; or it says that there are not so many levels."""
    c.grid, c.num_steps = grid, steps
    for sde in (VP(), KarrasVE(), VP().discrete(1000)):
        if steps == 1000 and grid in TOO_FEW_LEVELS:
            with pytest.raises(ValueError, match=TOO_FEW_LEVELS[grid]):
                samplers.build_times(c, isotropic(sde), 1000)
            continue
        times = np.asarray(samplers.build_times(c, isotropic(sde), 1000))
        assert times.shape == (steps if grid == "published" else steps + 1,)
        assert np.all(np.diff(times) < 0)


def test_times_of_a_discrete_model() -> None:
    index = lambda times: np.round(np.asarray(times) * 999).astype(int).tolist()
    sde = VP().discrete(1000)
    assert index(Indices(1000)(sde, 4, 1.0, 0.0)) == [999, 799, 599, 399, 199]
    assert index(Indices(1000, False)(sde, 4, 1.0, 0.0)) == [800, 600, 400, 200, 0]
    assert float(Indices(1000, False)(sde, 4, 1.0, 0.01)[-1]) == pytest.approx(0.01)
    with pytest.raises(ValueError, match=r"below sde.num_scales = 1000.*got 1000"):
        Indices(1000)(sde, 1000, 1.0, 1e-4)


def test_karras_with_rho_one_is_even_in_sigma() -> None:
    times = np.asarray(Karras(1.0)(KarrasVE(0.01, 1.0), 5, 1.0, 0.01))
    np.testing.assert_allclose(np.diff(times), -0.198, rtol=1e-5)


def test_a_grid_that_a_sampler_cannot_use_is_refused_before_training() -> None:
    config = vp_digits.get_config("smoke")
    config.sampling.update({"predictor": "restart", "restart_max": 1e5})
    with pytest.raises(ValueError, match=r"sampling.restart_max must lie above"):
        Experiment.of(config)
