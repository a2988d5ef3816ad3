"""Filters to a larger size, against PyTorch's (golden file) and Pillow's."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sde_lib.resizing import UPSAMPLINGS, matrix, upsampled

GOLDEN = Path(__file__).parents[1] / "golden" / "latent" / "sr_concat.npz"
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic"])
def test_filters_are_those_of_the_published_cascades(name):
    stored = np.load(GOLDEN)
    found = upsampled(stored["low"], (16, 16), name)
    # Round-off of float32: two products of eight or four numbers of order 1.
    np.testing.assert_allclose(found, stored[f"up_{name}"], atol=2e-6)


def test_the_antialiased_filter_is_that_of_pillow():
    low = RNG.normal(size=(5, 4)).astype(np.float32)
    wanted = Image.fromarray(low).resize((12, 15), Image.Resampling.BICUBIC)
    found = upsampled(low[None, :, :, None], (15, 12), "bicubic_antialiased")[0, :, :, 0]
    # Pillow rounds its weights to float32 as it does its sums.
    np.testing.assert_allclose(found, np.asarray(wanted), atol=5e-6)


def test_aligned_corners_keep_what_is_linear():
    low = np.linspace(-1, 3, 4)[None, :, None]
    found = upsampled(low.astype(np.float32), (10,), "bilinear_corners")[0, :, 0]
    np.testing.assert_allclose(found, np.linspace(-1, 3, 10), atol=1e-6)
    one = upsampled(np.full((1, 1, 1), 2, np.float32), (3,), "bilinear_corners")
    np.testing.assert_array_equal(one[0, :, 0], [2, 2, 2])


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("name", UPSAMPLINGS)
def test_constants_stay_and_a_periodic_axis_has_no_ends(name, periodic):
    weights = matrix(name, 4, 12, periodic)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    moved = np.roll(np.roll(weights, 3, axis=0), 1, axis=1)
    if name != "bilinear_corners":
        assert np.allclose(moved, weights) == (periodic or name == "nearest")


def test_axes_are_independent_and_of_any_number():
    low = RNG.normal(size=(2, 2, 3, 4, 1)).astype(np.float32)
    found = upsampled(low, (4, 3, 8), "bilinear")
    assert found.shape == (2, 4, 3, 8, 1)
    each = upsampled(low[:, :, 1], (4, 8), "bilinear")
    np.testing.assert_allclose(found[:, :, 1], each, atol=1e-6)
