"""Levels, unit interval and network range: inverses and closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from data_lib import transforms
from data_lib.codec import GrayLevels


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_to_unit_maps_levels_evenly_onto_the_closed_unit_interval(levels):
    x = transforms.to_unit(np.arange(levels, dtype=np.uint8), levels)
    assert x.dtype == np.float32
    # one float32 division: at most half a unit in the last place of 1
    np.testing.assert_allclose(x, np.linspace(0, 1, levels), rtol=0, atol=2**-24)
    assert x[0] == 0
    assert x[-1] == 1


def test_to_uint8_inverts_to_unit_on_every_level():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(transforms.to_uint8(transforms.to_unit(levels, 256)), levels)


def test_to_uint8_rounds_to_the_nearest_level_ties_to_even_and_clips():
    x = np.array([-0.5, 0.4 / 255, 0.6 / 255, 0.5 / 255, 1.5 / 255, 1.0, 7.0])
    np.testing.assert_array_equal(transforms.to_uint8(x), [0, 0, 1, 0, 2, 255, 255])


def test_to_uint8_of_what_a_broken_model_draws_is_black_or_an_end():
    x = np.array([np.nan, -np.inf, np.inf], np.float32)
    np.testing.assert_array_equal(transforms.to_uint8(x), [0, 0, 255])


@pytest.mark.parametrize("levels", [17, 256])
def test_dequantized_values_lie_in_their_levels_bin(levels):
    v = np.arange(levels, dtype=np.uint8)
    for u in (0.001, 0.5, 0.999):
        x = transforms.dequantize(v, levels, np.full(levels, u, np.float32))
        np.testing.assert_array_equal(np.floor(x.astype(np.float64) * levels), v)


def test_continuous_pixels_are_not_scaled():
    x = np.array([0.0, 0.3, 1.0], np.float32)
    np.testing.assert_array_equal(transforms.to_unit(x, None), x)


def test_flip_mirrors_the_masked_images_only_and_twice_is_nothing():
    x = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    mask = np.array([True, False, True, False, False])
    flipped = transforms.flip(x, mask)
    for image, before, flag in zip(flipped, x, mask, strict=True):
        np.testing.assert_array_equal(image, np.fliplr(before) if flag else before)
    np.testing.assert_array_equal(transforms.flip(flipped, mask), x)


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize(("centered", "ends"), [(True, (-1.0, 1.0)), (False, (0.0, 1.0))])
def test_scaler_maps_the_unit_interval_and_back(xp, centered, ends):
    scaler, x = GrayLevels(centered), xp.linspace(0, 1, 11, dtype=xp.float32)
    y = scaler.encode(x)
    assert isinstance(y, type(x))
    assert y.dtype == x.dtype
    assert (float(y[0]), float(y[-1])) == ends
    # 2 x - 1 loses at most one rounding near zero
    np.testing.assert_allclose(scaler.decode(y), x, rtol=0, atol=2**-24)
