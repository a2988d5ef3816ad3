"""Periods of the loop: the next step at which something is due."""

import pytest

from train_lib import periods


@pytest.mark.parametrize(
    "step, total, every, expected",
    [
        (0, 100, (10, 7), 7),
        (7, 100, (10, 7), 10),
        (10, 100, (10, 7), 14),
        (98, 99, (10,), 99),
        (0, 100, (0, 50), 50),
        (0, 5, (0,), 5),
    ],
)
def test_the_next_stop_is_the_first_step_at_which_something_is_due(step, total, every, expected):
    assert periods.next_stop(step, total, *every) == expected
    due = [s for s in range(step + 1, total + 1) if any(periods.is_due(s, p, total) for p in every)]
    if any(every):
        assert due[0] == expected


def test_nothing_with_period_zero_is_ever_due():
    assert not periods.is_due(10, 0, 10)
    assert periods.is_due(10, 3, 10)
