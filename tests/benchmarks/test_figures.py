"""Figures that benchmarks compute from their timings."""

import numpy as np
import pytest

from benchmarks import roofline, scaling, speed, ways
from benchmarks.scaling import ONE, Layout
from benchmarks.timing import Timing, counted, in_a_row, summary
from modes import preflight


def test_medians_are_of_the_warm_calls_per_unit_and_as_a_whole():
    calls = [Timing(9, 5, 2), Timing(1, 2, 10), Timing(3, 1, 4), Timing(2, 3, 20)]
    found = summary(calls)
    assert (found["wall"], found["cpu"], found["units"]) == (2, 2, 10)
    assert found["whole"] == {"wall": 12, "call": 12, "cpu": 20}
    assert found["first_call_beyond"] == (9 - 2) * 2
    assert counted(lambda: 7).units == 7


def test_calls_in_a_row_leave_out_the_one_that_warms_up():
    calls = iter([Timing(9, 9), Timing(1, 2), Timing(3, 1, 3), Timing(0.5, 1), Timing(9, 9)])
    turn = in_a_row(lambda: next(calls), 3)()
    assert turn == Timing(10.5 / 5, 6 / 5, 5, middle=1)
    assert (turn.call, Timing(2, 3).call) == (1, 2)
    assert next(calls) == Timing(9, 9)


def test_ratios_of_whole_runs_count_evaluations_those_of_units_do_not():
    def party(seconds, units):
        return {"likelihood": summary([Timing(seconds, 2 * seconds, units)] * 2)}

    found = speed.ratios(party(1.0, 30), party(2.0, 10), "likelihood")
    assert found == {
        "likelihood": {"wall": 0.5, "call": 0.5, "cpu": 0.5},
        "likelihood, whole": {"wall": 1.5, "call": 1.5, "cpu": 1.5},
    }


def test_tasks_are_those_asked_for_in_their_own_order():
    assert speed.chosen("likelihood,step", False) == ["step", "likelihood"]
    assert speed.chosen(None, False) == ["step", "evaluation"]
    assert speed.chosen(None, True) == list(speed.TASKS)
    with pytest.raises(ValueError, match=r"--tasks must be of step.*got 'steps'"):
        speed.chosen("steps", True)


def test_shares_are_operations_over_time_and_peak():
    needs = preflight.Needs(parameters=1, update=30.0, state=0, work=0, limit=None)
    party = {"step": {"wall": 2.0}, "evaluation": {"wall": 0.5}}
    done = roofline.rates(party, needs, {"step": 8, "evaluation": 4, "ode": 4})
    assert done == {"step": 3 * 10 * 8 / 2, "evaluation": 10 * 4 / 0.5}
    assert roofline.shares(done, {"peak": 240.0}) == {
        "step": {"peak": 0.5},
        "evaluation": {"peak": pytest.approx(1 / 3)},
    }


def test_the_table_has_ratios_to_one_device_and_to_all():
    rates = {ONE: [8.0, 10.0, 90.0], Layout(1, 4): [20.0], Layout(2, 1): [15.0]}
    rows = [line.split()[-3:] for line in scaling.table({"strong": rates}).splitlines()[1:]]
    assert rows == [["10.0", "1.00", "1.00"], ["20.0", "2.00", "0.50"], ["15.0", "1.50", "0.75"]]


def test_layouts_say_what_is_whose():
    assert scaling.batch_size("weak", 8, Layout(2, 3)) == 48
    assert scaling.batch_size("strong", 8, Layout(2, 3)) == 8
    assert scaling.environment(Layout(2, 3), 1, True) == {"CUDA_VISIBLE_DEVICES": "3,4,5"}
    assert scaling.environment(Layout(2, 3), 1, False)["JAX_NUM_CPU_DEVICES"] == "3"
    assert scaling.arguments(ONE, 0, 1) == []


def test_ways_are_compared_by_error_evaluations_and_time():
    decay = ways.rk45(lambda t, y: -y, (0.0, 1.0), np.ones(3))
    ends = {"published": (decay.y[:, -1], decay.nfev), "euler": (np.full(3, 0.9**10), 10)}
    error = lambda y: float(abs(y - np.exp(-1)).max())
    other = {"other": lambda: Timing(2.0, 1.0, 5)}
    compared = {name: lambda end=end: end for name, end in ends.items()}
    figures, others = ways.compare(compared, error, 2, other)
    assert [f.name for f in figures] == ["published", "euler"]
    assert [f.evaluations for f in figures] == [decay.nfev, 10]
    assert figures[0].error < 1e-4 < figures[1].error
    assert others == {"other": 2.0}
