"""RePaint: its schedule and run as published, and the law of its result, not the right one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import AdaptiveODE, Ancestral, respaced
from samplers.rules import projection, repaint
from samplers.rules.base import LAST
from samplers.rules.repaint import RePaint, jump_schedule
from sde_lib import VP, Gaussian
from sde_lib.clipping import Clipped
from sde_lib.iddpm import iddpm
from sde_lib.measurements.base import Measurement
from sde_lib.measurements.masks import Mask
from tests.samplers.rules import golden, laws
from tests.slow import but_slow

SCHEDULES = golden.told("repaint_schedules")["schedules"]


@pytest.mark.parametrize("name", SCHEDULES)
def test_levels_are_passed_in_the_published_order(name: str) -> None:
    told = SCHEDULES[name]
    asked = told["arguments"]
    found = jump_schedule(asked["t_T"], asked["jump_length"], asked["jump_n_sample"])
    assert found == told["times"]
    assert sum(a > b for a, b in pairwise(found)) == told["network_evaluations"]


@pytest.fixture
def exactly(monkeypatch):
    """Draws by columns in place of random ones, in float64."""
    for module in (projection, repaint):
        monkeypatch.setattr(module, "aside", laws.aside)
    with jax.enable_x64(True):
        yield


COVARIANCE = [[1.0, 0.8], [0.8, 1.0]]
TABLE = {
    (50, 10, 1): (50, 0.480339991893, 0.428126385178),
    (50, 5, 5): (230, 0.706569730976, 0.304878227193),
    (50, 10, 10): (410, 0.666853128903, 0.366327149466),
    (250, 10, 1): (250, 0.496156663939, 0.477429607155),
    (250, 10, 2): (490, 0.627349909401, 0.405347249358),
    (250, 10, 10): (2410, 0.763762150890, 0.333990928187),
}
"""(levels, jump, samples) -> (evaluations, mean, variance) of what is unknown beside x_1 = 1."""


def times_of(levels: int):
    return jnp.asarray(respaced(1000, str(levels), "key")[::-1] / 999)


def size_of(evaluations: int) -> int:
    return 1 + 2 * (4 * evaluations + 16)


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("case", but_slow(TABLE, (250, 10, 1), (250, 10, 2), (250, 10, 10)))
def test_the_law_of_the_result_is_the_published_one(case) -> None:
    levels, length, times = case
    evaluations, mean, variance = TABLE[case]
    size = size_of(evaluations)
    measured = laws.known([1.0, 0.0], [1, 0], size)
    sampler = RePaint(measured, Ancestral(), length, times, ends=False)
    score, grid = laws.law_of(iddpm("linear", 1000), COVARIANCE), times_of(levels)
    plan = sampler.plan(score, grid)
    assert plan.nfe + plan.at_end == evaluations
    found = laws.moments(sampler, score, grid, 2, size)
    np.testing.assert_allclose(found[0][1], mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found[1][1, 1], variance, rtol=0, atol=1e-10)
    np.testing.assert_allclose([found[0][0], found[1][0, 0]], [0.99989, 1e-4], rtol=2e-2)


def test_a_run_ends_where_theirs_does(monkeypatch) -> None:
    for module in (projection, repaint):
        monkeypatch.setattr(module, "aside", golden.given_aside)
    told, c = golden.told("repaint_run"), golden.stored("repaint_run")
    levels = told["t_T"]
    path = jump_schedule(levels, told["jump_length"], told["jump_n_sample"])
    a_bar = np.asarray(golden.score_of(c["y"]).sde.alpha(golden.times_of(c["steps"]))) ** 2
    ratio = a_bar[1:] / a_bar[:-1]
    own, asides, left = [], {}, list(c["draws"])
    climb, kept = jnp.zeros_like(c["gt"]), 1.0
    for a, b in pairwise(path):
        if b > a:  # one noise for the whole way up
            climb = np.sqrt(ratio[a]) * climb + np.sqrt(1 - ratio[a]) * left.pop(0)
            kept *= ratio[a]
            continue
        number = 2 * len(own) if b >= 0 else LAST - 1
        if kept < 1:
            asides[number] = climb / np.sqrt(1 - kept)
            climb, kept = jnp.zeros_like(climb), 1.0
        asides.setdefault(number, climb)
        own.append(left.pop(0))
        asides[number + 1] = left.pop(0) if len(own) > 1 else climb
    assert not left
    score = Clipped(golden.score_of(c["y"]))
    measured = Measurement(Mask(c["keep"]), c["keep"] * c["gt"], jnp.zeros(()))
    sampler = RePaint(measured, Ancestral(learned=True), told["jump_length"],
                      told["jump_n_sample"], ends=False)  # fmt: skip
    times = golden.times_of(c["steps"][::-1])
    method, states = golden.steps(
        sampler, score, times, golden.Given(c["z"], jnp.stack(own), asides)
    )
    assert golden.apart(states[0].x, c["after_step_1"]) < 1e-5
    assert golden.apart(states[1].x, c["after_step_2"]) < 1e-5
    found = method.finish(score, states[-1], times[-1])
    assert golden.apart(found, c["x"]) < 1e-5
    error = float(jnp.max(jnp.abs(c["keep"] * (found - c["gt"]))))
    assert error == pytest.approx(told["max_known_error"], rel=1e-3)
    ended = replace(method, ends=True).finish(score, states[-1], times[-1])
    np.testing.assert_array_equal(jnp.where(c["keep"] > 0, ended - c["gt"], 0), 0)


GAUSSIAN = Gaussian.of(VP(), jnp.asarray([0.5, -0.3]), jnp.asarray(COVARIANCE))
TIMES = jnp.linspace(1.0, 0.01, 9)


def measured(kept, b: int = 1) -> Measurement:
    mask = jnp.asarray(kept, jnp.float32)
    return Measurement(Mask(mask), jnp.arange(2.0 * b).reshape(b, 2) * mask, jnp.zeros(()))


@pytest.mark.parametrize(
    "sampler, message",
    [
        (lambda kept: RePaint(kept, jump_length=9), "jump_length must be at least 1 and below the"),
        (lambda kept: RePaint(kept, jump_length=0), "jump_length must be at least 1 and below the"),
        (lambda kept: RePaint(kept, AdaptiveODE()), "repeats steps of one evaluation"),
        (
            lambda kept: RePaint(Measurement(laws.Square(), kept.y, kept.deviation)),
            "needs a linear",
        ),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(sampler, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        sampler(measured([[1, 0]])).plan(GAUSSIAN, TIMES)
    assert "\n" not in str(error.value)
