"""Planned rows carried out by hand, where f is a known function of the level: closed forms.

Nothing here is compiled: a solver is exact for the polynomials that it is made of.
"""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from samplers import (
    ERSDE,
    AdamsBashforth,
    Karras,
    LinearSampler,
    SASolver,
    SDEDPMSolverPP,
    UniPC,
)
from samplers.planned.levels import Schedule
from sde_lib import KarrasVE
from tests.samplers.exact import Isotropic

pytestmark = pytest.mark.usefixtures("float64")

SDE = KarrasVE(0.2, 5.0)
"""An SDE with alpha = 1 and t = r."""


def errors_of(sampler: LinearSampler, x0, integral, steps: int = 8) -> np.ndarray:
    """Errors of x / r at the end of each step, begun with x = 0, if E[x_0 | x_t] = x0(r).

    x / r gains the integral of x_0 d(1 / r), whose antiderivative is `integral(r)`.
    """
    schedule = Schedule(Isotropic(SDE))
    levels = schedule.at(jnp.asarray(Karras(3.0)(SDE, steps, 5.0, 0.2)))
    rows, x, base, f, found = sampler.rows(schedule, levels), 0.0, 0.0, [], []
    for row, last in zip(rows, [*(row.first for row in rows[1:]), True], strict=True):
        base = x if row.first else base
        f.append(row.x0 * x0(row.t))
        x = row.x * x + row.base * base + sum(w * f[j] for j, w in row.f.items())
        found += [float(x)] if last else []
    return np.asarray(found) / levels.ratio[1:] - (integral(levels.ratio[1:]) - integral(5.0))


def errors(sampler: LinearSampler, power: int) -> np.ndarray:
    """Errors for x_0 = l^power, l = log r.

    -l^n e^-l is the derivative of e^-l times the sum of n! / k! l^k.
    """
    terms = [math.factorial(power) / math.factorial(k) for k in range(power + 1)]
    integral = lambda r: np.polynomial.polynomial.polyval(np.log(r), terms) / r
    return errors_of(sampler, lambda r: np.log(r) ** power, integral)


ROUND_OFF = 1e-13
"""Round-off of sums of numbers up to 5."""


@pytest.mark.parametrize("high_order_start", [True, False])
@pytest.mark.parametrize("degree", range(1, 7))
def test_adams_is_exact_for_polynomials_through_its_nodes(degree: int, high_order_start: bool):
    """After the start, whose error is kept as it is; for one more power it errs in every step."""
    solver = AdamsBashforth(degree, high_order_start=high_order_start)
    gained = lambda power: np.abs(np.diff(errors(solver, power)[degree - 1 :]))
    for power in range(degree):
        assert gained(power).max() < ROUND_OFF, power
    assert gained(degree).min() > 1e3 * ROUND_OFF


STRAIGHT = {
    "adams": AdamsBashforth(3),
    "unipc": UniPC(2, "exact"),
    "unipc, low start": UniPC(2, "exact", False),
    "sa-solver": SASolver(0.0, 1e-3, 1e3, 3, 3),
    "sa-solver, fewer nodes corrected": SASolver(0.0, 1e-3, 1e3, 3, 2),
}


@pytest.mark.parametrize("sampler", STRAIGHT.values(), ids=STRAIGHT)
def test_a_corrected_first_step_makes_the_start_exact_for_straight_lines(sampler):
    """The first step alone knows one value only; the second mends it."""
    first, *others = np.abs(errors(sampler, 1))
    assert first > 1e-3
    assert max(others) < ROUND_OFF


@pytest.mark.parametrize("sampler", [AdamsBashforth(2), AdamsBashforth(3, high_order_start=False)])
def test_a_start_that_is_not_corrected_keeps_its_error(sampler):
    found = errors(sampler, 1)
    assert abs(found[0]) > 1e-3
    np.testing.assert_allclose(found, found[0], atol=ROUND_OFF)


@pytest.mark.parametrize("degree", range(1, 6))
def test_a_corrector_is_exact_for_one_more_power(degree: int):
    """But for the last step so far, which is the predictor's alone."""
    start = max(degree, 2)
    predicted = np.diff(errors(AdamsBashforth(degree), degree))
    corrected = errors(UniPC(degree, "exact"), degree)[1:] - predicted
    assert np.abs(np.diff(corrected[start:])).max() < ROUND_OFF
    assert np.abs(predicted[start:]).min() > 1e3 * ROUND_OFF


@pytest.mark.parametrize("sampler, order", [
    (AdamsBashforth(4), 3), (AdamsBashforth(5), 4), (AdamsBashforth(6), 5), (UniPC(3), 3),
    (UniPC(4), 4), (UniPC(5), 5),
])  # fmt: skip
def test_above_order_3_the_first_steps_are_a_runge_kutta_methods(sampler, order: int):
    """One order less: a rule of quadrature in 1 / r, exact below that power."""
    for n in range(order):
        x0, integral = lambda r, n=n: r**-n, lambda r, n=n: r ** (-n - 1) / (n + 1)
        # So many steps: with 3 values known the corrector has what it needs.
        assert np.abs(errors_of(sampler, x0, integral)[: order - 2]).max() < ROUND_OFF, n


CLAIMED = {
    "adams": ([AdamsBashforth(k) for k in range(1, 7)], [1, 2, 3, 4, 5, 6]),
    "adams, low start": (
        [AdamsBashforth(k, high_order_start=False) for k in range(1, 7)], [1, 2, 2, 2, 2, 2]),
    "unipc": ([UniPC(k) for k in range(1, 6)], [2, 3, 4, 5, 6]),
    "unipc, low start": ([UniPC(k, high_order_start=False) for k in range(1, 6)], [2, 3, 3, 3, 3]),
    "sa-solver": ([SASolver(1.0, degree=k, correct=c) for k, c in ((1, 0), (1, 2), (3, 4))],
                  [1, 2, 2]),
    "er-sde": ([ERSDE(k) for k in range(1, 4)], [1, 2, 2]),
    "sde-dpm-solver++": ([SDEDPMSolverPP(1.0, k) for k in range(1, 4)], [1, 2, 2]),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMED)
def test_orders_are_claimed_as_published(name: str):
    """A low-order start limits them; those of the usual settings are measured elsewhere."""
    samplers, orders = CLAIMED[name]
    assert [sampler.order for sampler in samplers] == orders
