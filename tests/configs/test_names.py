"""Names that users may have meant."""

import time

import pytest

from configs.names import did_you_mean

KNOWN = ["heun", "CIFAR10", "euler_maruyama"]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("heunn", " (did you mean 'heun'?)"),
        ("cifar1O", " (did you mean 'CIFAR10'?)"),
        ("zebra", ""),
        (3, ""),
    ],
)
def test_the_nearest_known_name_is_suggested_in_any_case(name, expected):
    assert did_you_mean(name, KNOWN) == expected


def test_several_are_suggested_where_several_are_near():
    assert did_you_mean("fid", ["fid_a", "fid_b"], most=2) == " (did you mean 'fid_b' or 'fid_a'?)"


def test_a_name_of_any_length_is_answered_at_once():
    start = time.process_time()
    assert did_you_mean("a" * 10_000_000, KNOWN) == ""
    assert time.process_time() - start < 1
