"""Simulated signals and fields against their covariances and spectra."""

from types import SimpleNamespace

import numpy as np
import pytest

import data_lib
from data_lib import gaussian_fields, signals

ERRORS = 5.0
"""Standard errors within which a mean must lie: fixed draws, some thousands of means."""


def load(dataset, **keys):
    plain = {"dataset": dataset, "image_size": 8, "num_channels": 1, "codec": "identity",
             "shape": (0,), "test_fraction": 0.1}  # fmt: skip
    return data_lib.load(SimpleNamespace(**plain | keys), log=lambda message: None)


def close(values, wanted):
    error = values.std(axis=0) / np.sqrt(len(values))
    assert (np.abs(values.mean(axis=0) - wanted) <= ERRORS * error).all()


# Signals ------------------------------------------------------------------------------------------


def test_signals_whitened_by_their_covariance_are_white():
    """A test of all its entries: x^T C^-1 x of each has a chi-squared law of 64 degrees."""
    train = load("signals", shape=(32, 2), simulations=1500).train
    whitened = []
    for x, told in zip(train.pixels, train.condition, strict=True):
        covariance = signals.covariance(told.astype(float), 32).reshape(64, 64)
        whitened.append(np.linalg.solve(np.linalg.cholesky(covariance), x.reshape(64)))
    z = np.stack(whitened)
    close(z, 0.0)
    close(z[:, :, None] * z[:, None], np.eye(64))


def test_the_condition_of_signals_is_in_its_bounds():
    told = load("signals", simulations=500).train.condition
    assert (told > signals.LOW).all()
    assert (told < signals.HIGH).all()
    # within a hundredth of each end of 500 uniform draws, but for 1 in 150
    span = np.subtract(signals.HIGH, signals.LOW)
    assert (np.ptp(told, axis=0) > 0.98 * span).all()


# Fields -------------------------------------------------------------------------------------------


SHAPES = [(16, 24, 2), (9, 7, 3), (40, 1), (6, 5, 4, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_fields_have_their_spectrum(shape):
    values = load("gaussian_fields", shape=shape, simulations=2000).train.pixels
    grid, axes = shape[:-1], tuple(range(1, len(shape)))
    power = np.abs(np.fft.fftn(values, axes=axes)) ** 2 / np.prod(grid)
    wanted = gaussian_fields.power(grid)
    close(power, wanted[..., None])
    assert wanted.mean() == pytest.approx(1)  # the variance of each channel
    k = np.sqrt(sum(n**2 for n in np.meshgrid(*(n * np.fft.fftfreq(n) for n in grid),
                                              indexing="ij")))  # fmt: skip
    np.testing.assert_allclose(wanted / wanted.flat[0], (1 + k**2 / 4) ** -2, rtol=1e-12)


def test_channels_are_correlated():
    values = load("gaussian_fields", shape=(12, 10, 3), simulations=4000).train.pixels
    found = np.mean(values[..., :, None] * values[..., None, :], axis=(1, 2))
    rho = gaussian_fields.CORRELATION
    close(found, np.array([[1, rho, rho], [rho, 1, rho**2], [rho, rho**2, 1]]))


def test_fields_and_their_conditions_move_together():
    """Periodic: a field moved by four points has its condition moved by one."""
    values = load("gaussian_fields", simulations=20).train.pixels
    moved = gaussian_fields.coarse(np.roll(values, (4, -8), axis=(1, 2)))
    wanted = np.roll(gaussian_fields.coarse(values), (1, -2), axis=(1, 2))
    np.testing.assert_allclose(moved, wanted, atol=1e-5)  # of float32


@pytest.mark.parametrize("shape", SHAPES)
def test_the_condition_is_the_field_blurred_on_every_fourth_point(shape):
    train = load("gaussian_fields", shape=shape, simulations=30).train
    blurred = train.pixels.astype(float)
    for axis, n in enumerate(shape[:-1], start=1):
        # The Gaussian of deviation 2, wrapped around the box; sums over points are exact to 1e-7.
        gap = np.arange(n)[:, None] - np.arange(n)
        turns = np.arange(-40, 41)[:, None, None] * n
        kernel = np.exp(-0.5 * ((gap + turns) / 2.0) ** 2).sum(axis=0) / np.sqrt(8 * np.pi)
        blurred = np.moveaxis(np.tensordot(blurred, kernel, (axis, 1)), -1, axis)
    every = (slice(None), *[slice(None, None, 4)] * (len(shape) - 1))
    # Sampled, the Gaussian differs from the one that is blurred with at the highest wavenumber.
    np.testing.assert_allclose(train.condition, blurred[every], atol=5e-4)


@pytest.mark.parametrize("dataset, shape", [("signals", (32, 2)), ("gaussian_fields", (8, 8, 1))])
def test_more_simulations_begin_with_the_fewer(dataset, shape):
    few, more = (load(dataset, shape=shape, simulations=n) for n in (50, 80))
    for part, larger in ((few.train, more.train), (few.test, more.test)):
        kept = np.isin(larger.digests, part.digests)
        np.testing.assert_allclose(larger.pixels[kept], part.pixels, atol=1e-6)
        np.testing.assert_allclose(larger.condition[kept], part.condition, atol=1e-6)


def test_lengths_and_shapes_are_different_draws():
    one, other = (load("gaussian_fields", shape=(8, n, 1), simulations=50) for n in (8, 9))
    assert not set(one.train.digests) & set(other.train.digests)
