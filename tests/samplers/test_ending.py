"""Last steps of a sampler's own, and the steps of published chains that lead beside the next level.

Their weights are compared with closed forms: nothing is run.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from samplers import DDIM, ENDINGS, PLMS, AdamsBashforth, Ended, GroupedDPMSolver, RungeKutta, UniPC
from samplers.base import LastRow
from samplers.planned.grouped import groups
from samplers.planned.levels import Schedule
from sde_lib import VP
from tests.samplers.exact import Isotropic

N = 1000
SCORE = Isotropic(VP().discrete(N))
SCHEDULE = Schedule(SCORE)


def level(number: float):
    """The level with a number."""
    return SCHEDULE.numbered(np.asarray([float(number)]))[0]


def plan_of(sampler, *numbers: float):
    return sampler.plan(SCORE, jnp.asarray(numbers, jnp.float32) / (N - 1))


def last_row(sampler, *numbers: float):
    last = plan_of(sampler, *numbers).program.last
    assert isinstance(last, LastRow)
    return last.row


LEADS = {
    "clean": (1.0, 0.0),
    "lowest": (level(0).alpha, level(0).sigma),
    "unscaled": (1.0, level(0).ratio),
    "still": (level(100).alpha, level(100).sigma),
}


@pytest.mark.parametrize("ending", LEADS)
def test_the_last_step_leads_to_the_level_that_is_named(ending: str) -> None:
    row = last_row(Ended(DDIM(), ending), 700, 400, 100)
    # The rounding of weights in float32.
    np.testing.assert_allclose([row["x0"], row["eps"]], LEADS[ending], rtol=1e-6, atol=1e-12)
    assert float(row["t"]) == pytest.approx(100 / (N - 1))


def test_every_ending_is_here_and_the_denoiser_is_none() -> None:
    assert {*LEADS, "denoiser"} == set(ENDINGS)
    plain, ended = (plan_of(s, 700, 100) for s in (DDIM(), Ended(DDIM(), "denoiser")))
    assert type(plain.program.last) is type(ended.program.last)
    assert plan_of(Ended(DDIM(), "clean"), 700).steps == 0


@pytest.mark.parametrize("solver", [
    AdamsBashforth(3, high_order_start=False, euler_end=True), UniPC(3, "bh2", False, 9),
    GroupedDPMSolver(3), RungeKutta("euler"),
])  # fmt: skip
def test_a_step_of_first_order_to_the_clean_sample_is_the_denoiser(solver) -> None:
    """x_0 = (x - sigma eps) / alpha, of which a solver on the noise says the right side."""
    row = last_row(Ended(solver, "clean"), 800, 600, 400, 200)
    of_x0, of_eps = (float(row["f"][0] * row[name]) for name in ("x0", "eps"))
    kept, t = float(row["x"] + row["base"]), level(200)
    assert of_x0 + kept * t.alpha == pytest.approx(1.0, rel=1e-6)
    assert of_eps + kept * t.sigma == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(row["f"][1:], 0.0, atol=1e-12)


def test_adams_to_the_clean_sample_integrates_polynomials_down_to_0() -> None:
    """sum_j w_j r_j^k = -r^(k + 1) / (k + 1), the integral from r to 0, for four values."""
    at = (700, 500, 300, 100)
    lms = AdamsBashforth(4, "noise", "noise", high_order_start=False)
    weights = np.asarray(last_row(Ended(lms, "clean"), *at)["f"], np.float64)
    r = np.asarray([level(i).ratio for i in at[::-1]])
    for k in range(4):
        # Weights up to 3 in float32, and r up to 4.
        assert weights @ r**k == pytest.approx(-(r[0] ** (k + 1)) / (k + 1), rel=1e-5, abs=1e-5)


def test_a_corrected_method_that_stays_corrects_its_last_step() -> None:
    numbers = (800, 600, 400)
    still = last_row(Ended(UniPC(2, high_order_start=False), "still"), *numbers)
    further = plan_of(UniPC(2, high_order_start=False), *numbers, 200).program.rows
    # The next step has the same correction, carried on by its factor on x, beside its own weights.
    assert float(still["x"]) == pytest.approx(1.0)
    assert float(still["f"][2]) == pytest.approx(
        float(further["f"][-1, 2] / further["x"][-1]), rel=1e-5
    )
    assert abs(float(still["f"][2])) > 1e-3


def test_published_weights_of_third_order_halve_the_second_difference() -> None:
    """1 and theta are integrated exactly, theta^2 to the half, theta = log(r / r_0)."""
    at = (700, 500, 300, 100)
    x = np.asarray([level(i).log_ratio for i in at[-2::-1]]) - level(300).log_ratio
    weights = {}
    for third in ("exact", "halved"):
        solver = AdamsBashforth(3, high_order_start=False, third=third)
        weights[third] = np.asarray(plan_of(solver, *at).program.rows["f"][-1, :3], np.float64)
    for power, share in ((0, 1.0), (1, 1.0), (2, 0.5)):
        exact, halved = (weights[third] @ x**power for third in ("exact", "halved"))
        assert halved == pytest.approx(share * exact, rel=1e-4), power


def test_even_steps_land_so_many_levels_below() -> None:
    """A thousand levels in 7 steps: 142 each, while the trailing levels are 143 apart."""
    trailing = (999, 856, 713, 570, 428, 285, 142)
    plan = plan_of(Ended(DDIM(even=True), "clean"), *trailing)
    landed = [857, 714, 571, 428, 286, 143, 0]
    weights = [*plan.program.rows["x0"], plan.program.last.row["x0"]]
    np.testing.assert_allclose(weights, [level(i).alpha for i in landed], rtol=1e-6)
    leading = plan_of(Ended(DDIM(even=True), "lowest"), 855, 713, 571, 429, 285, 143, 1)
    assert float(leading.program.last.row["x0"]) == pytest.approx(level(0).alpha, rel=1e-6)


def test_even_steps_need_numbered_levels() -> None:
    with pytest.raises(ValueError, match=r"sampling.even_steps=True needs a model of numbered"):
        DDIM(even=True).plan(Isotropic(VP()), jnp.asarray([0.9, 0.5, 0.1]))


def test_a_runge_kutta_start_needs_more_steps_than_its_own() -> None:
    plan_of(PLMS(runge_kutta=True), 800, 600, 400, 200, 100)
    with pytest.raises(ValueError, match=r"makes 3 steps, so that there must be more, got 3"):
        plan_of(PLMS(runge_kutta=True), 800, 600, 400, 200)


@pytest.mark.parametrize("steps, degree, falling, expected", [
    (6, 2, True, [2, 2, 1, 1]), (7, 2, True, [2, 2, 2, 1]), (6, 2, False, [2, 2, 2]),
    (6, 3, True, [3, 2, 1]), (7, 3, True, [3, 3, 1]), (8, 3, True, [3, 3, 2]),
    (8, 3, False, [3, 3, 2]), (9, 3, False, [3, 3, 3]), (4, 1, True, [1, 1, 1, 1]),
])  # fmt: skip
def test_the_groups_of_single_steps(steps, degree, falling, expected) -> None:
    assert groups(steps, degree, falling) == expected
