"""Simulators against closed forms, and simulations of files."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

import data_lib
from data_lib import simulated, simulators

N = 40_000
ERRORS = 4.5
"""Standard errors within which a mean must lie: fixed draws, some 30 means."""


def load(**keys):
    plain = {"dataset": "simulations", "image_size": 8, "num_channels": 1, "codec": "standardize",
             "shape": (0,), "test_fraction": 0.1}  # fmt: skip
    return data_lib.load(SimpleNamespace(**plain | keys), log=lambda message: None)


def pairs(task, n=N):
    row, draw = simulators.SIMULATORS[task], partial(simulated.generator, task)
    theta = row.prior(draw("theta"), n)
    return theta, row.observe(draw, theta)


def close(values, wanted):
    """The means of values [n, ...] are as wanted, within their standard errors."""
    error = values.std(axis=0) / np.sqrt(len(values))
    assert (np.abs(values.mean(axis=0) - wanted) < ERRORS * error).all()


def uniform(values, low, high):
    """Each column of values has a uniform law, by Kolmogorov and Smirnov."""
    for column in values.T:
        assert scipy.stats.kstest(column, scipy.stats.uniform(low, high - low).cdf).pvalue > 1e-3


@pytest.mark.parametrize("task, half, d", [("two_moons", 1, 2), ("gaussian_mixture", 10, 2),
                                           ("slcp", 3, 5)])  # fmt: skip
def test_priors_on_a_box_are_uniform(task, half, d):
    theta = pairs(task)[0]
    assert theta.shape == (N, d)
    uniform(theta, -half, half)


def test_two_moons_is_a_crescent_moved_by_theta():
    theta, x = pairs("two_moons")
    moved = np.stack([-np.abs(theta.sum(axis=1)), theta[:, 1] - theta[:, 0]], axis=1) / np.sqrt(2)
    crescent = x - moved - [0.25, 0.0]
    radius, angle = np.hypot(*crescent.T), np.arctan2(crescent[:, 1], crescent[:, 0])
    assert scipy.stats.kstest(radius, scipy.stats.norm(0.1, 0.01).cdf).pvalue > 1e-3
    uniform(angle[:, None], -np.pi / 2, np.pi / 2)
    assert abs(np.corrcoef(radius, angle)[0, 1]) < ERRORS / np.sqrt(N)


def test_two_moons_does_not_tell_theta_from_its_mirror_image():
    theta = pairs("two_moons", 100)[0]
    observe = partial(simulators.two_moons, partial(simulated.generator, "x"))
    # (theta_1, theta_2) -> (-theta_2, -theta_1) keeps |theta_1 + theta_2| and theta_2 - theta_1
    np.testing.assert_allclose(observe(theta), observe(-theta[:, ::-1]), rtol=1e-12)


def test_gaussian_linear_has_the_posterior_of_its_closed_form():
    theta, x = pairs("gaussian_linear")
    close(theta**2, 0.1)
    # theta - x / 2 has N(0, 0.05 I), and is independent of x
    rest = theta - x / 2
    close(rest, 0.0)
    close(rest[:, :, None] * rest[:, None], 0.05 * np.eye(10))
    close(rest[:, :, None] * x[:, None], 0.0)


def test_gaussian_mixture_has_two_deviations_for_both_coordinates():
    theta, x = pairs("gaussian_mixture")
    z = x - theta
    squares = z**2
    close(squares, (1 + 0.01) / 2)
    close(z**4, 3 * (1 + 0.01**2) / 2)
    # coordinates share their component: E z1^2 z2^2 = (1 + 0.01^2) / 2
    close(squares[:, 0] * squares[:, 1], (1 + 0.01**2) / 2)


def test_slcp_draws_four_points_of_a_gaussian_whose_moments_theta_tells():
    theta = np.tile([0.7, -2.0, 1.5, -0.5, 0.4], (N, 1))
    x = simulators.slcp(partial(simulated.generator, "slcp"), theta)
    s1, s2, rho = 1.5**2, 0.5**2, np.tanh(0.4)
    one = np.array([[s1**2, rho * s1 * s2], [rho * s1 * s2, s2**2]])
    gap = x - np.tile([0.7, -2.0], 4)
    close(gap, 0.0)
    close(gap[:, :, None] * gap[:, None], np.kron(np.eye(4), one))


@pytest.mark.parametrize("task", simulators.SIMULATORS)
def test_more_simulations_begin_with_the_fewer_and_hold_out_the_same(task):
    few, more = load(task=task, simulations=50), load(task=task, simulations=80)
    for part, larger in ((few.train, more.train), (few.test, more.test)):
        kept = np.isin(larger.digests, part.digests)
        np.testing.assert_array_equal(larger.pixels[kept], part.pixels)
        np.testing.assert_array_equal(larger.condition[kept], part.condition)


# Files --------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    k = np.arange(60, dtype=np.float32)
    theta, x = np.stack([k, -k], axis=1), np.stack([k + 1, k + 2, k + 3], axis=1)
    np.savez(tmp_path / "own.npz", theta=theta, x=x, observations=x[:4], note="text")
    return tmp_path


@pytest.mark.parametrize("name", ["", "own.npz"])
def test_a_file_or_a_folder_of_files_gives_theta_for_x(folder, name):
    splits = load(task="own", data_dir=str(folder / name))
    assert splits.name == "own"
    assert len(splits.train) + len(splits.test) == 60
    for images in (splits.train, splits.test):
        k = images.pixels[:, 0]
        np.testing.assert_array_equal(images.pixels, np.stack([k, -k], axis=1))
        np.testing.assert_array_equal(images.condition, np.stack([k + 1, k + 2, k + 3], axis=1))


def test_the_first_simulations_of_a_file_can_be_taken(folder):
    splits = load(task="own", data_dir=str(folder), simulations=20)
    found = np.concatenate([splits.train.pixels, splits.test.pixels])[:, 0]
    np.testing.assert_array_equal(np.sort(found), np.arange(20))


BAD = {
    "other task": ({"task": "owm"}, None, "which has bad, own, got 'owm' (did you mean 'own'?)"),
    "too many": ({"task": "own", "simulations": 61}, None, "data.simulations must be at most 60"),
    "no x": ({}, {"theta": np.ones((3, 2))}, "it has no array 'x'"),
    "lengths": ({}, {"theta": np.ones((3, 2)), "x": np.ones((4, 2))}, "a condition for each of 3"),
    "infinite": ({}, {"theta": np.ones((2, 2)), "x": np.full((2, 1), np.inf)}, "must be finite"),
    "nan": ({}, {"theta": np.full((3, 2), np.nan), "x": np.ones((3, 1))}, "are not finite"),
    "texts": ({}, {"theta": np.full((3, 2), "a"), "x": np.ones((3, 1))}, "must be real numbers"),
    "objects": ({}, {"theta": np.array([{}]), "x": np.ones(1)}, "never of Python objects"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_simulations_are_refused_in_one_line(folder, case):
    keys, arrays, words = BAD[case]
    np.savez(folder / "bad.npz", **(arrays or {}))
    with pytest.raises(ValueError, match=r"\A.+\Z") as error:
        load(**{"data_dir": str(folder), "task": "bad"} | keys)
    assert words in str(error.value)


def test_a_task_that_has_no_simulator_says_where_its_file_would_be():
    with pytest.raises(ValueError, match=r"to a folder with bernoulli_glm\.npz"):
        load(task="bernoulli_glm")
