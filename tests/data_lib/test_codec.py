"""Codecs: inverses, log-determinants against autodiff, moments in closed form, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.schema import get_default
from data_lib import codec
from data_lib.bounds import Bounded, Straight
from data_lib.codec import AsGiven, GrayLevels, Standardize

VECTORS = {
    "centered": GrayLevels(True),
    "levels": GrayLevels(False),
    "standardize": Standardize((0.3, -2.0, 0.1), (0.5, 3.0, 0.02)),
    "bounded": Bounded((-1.0, 0.0, -3.0), (2.0, 1.0, 3.0)),
    "straight": Straight((-1.0, 0.0, -3.0), (2.0, 1.0, 3.0), 0.07),
    "as given": AsGiven(),
}
X = np.asarray([[0.1, 0.7, 0.35], [0.9, 0.2, 0.5]])


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("xp", [np, jnp])
def test_decoding_inverts_encoding(name: str, xp) -> None:
    made, x = VECTORS[name], xp.asarray(X, np.float32)
    found = made.decode(made.encode(x))
    assert isinstance(found, type(x))
    # A few roundings of numbers of order one; the normal's tail loses a digit.
    np.testing.assert_allclose(found, x, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", VECTORS)
def test_the_log_determinant_is_that_of_the_jacobian(name: str) -> None:
    made = VECTORS[name]
    with jax.enable_x64(True):
        x = jnp.asarray(X)
        slopes = jax.vmap(jax.jacobian(lambda row: made.encode(row[None])[0]))(x)
        expected = jnp.linalg.slogdet(slopes)[1]
        np.testing.assert_allclose(made.log_det(x), expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(made.log_det(x[:1]), made.log_det(x)[:1], rtol=1e-12)


def test_each_channel_of_a_field_counts_once_for_every_place() -> None:
    made = Standardize((0.0, 1.0), (2.0, 5.0))
    x = jnp.zeros((3, 4, 6, 2))
    np.testing.assert_allclose(made.log_det(x), -24 * np.log(10.0), rtol=1e-6)


def test_a_uniform_law_between_bounds_becomes_standard_normal() -> None:
    x = np.linspace(-1, 3, 20_001)[1:-1, None]
    z = Bounded((-1.0,), (3.0,)).encode(x)
    # Sums over an even grid of a uniform law: the tails beyond the grid are what is lacking.
    np.testing.assert_allclose([z.mean(), z.var()], [0, 1], atol=2e-3)
    assert np.isfinite(Bounded((-1.0,), (3.0,)).encode(np.asarray([[-1.0], [3.0]]))).all()


def test_an_edge_bends_the_map_beside_the_bounds_alone() -> None:
    made = Straight((-1.0,), (3.0,), 0.05)
    x = np.linspace(-1, 3, 20_001)[1:-1, None]
    z = made.encode(x)
    # The variance of a uniform law's z by midpoints of two million intervals.
    np.testing.assert_allclose([z.mean(), z.var()], [0, 1.0987], atol=1e-3)
    inside = np.abs(x - 1) < 1
    # Within the middle half the line is bent by e^-5 of its slope, sqrt(12) / 4, at most.
    slopes = np.diff(z[inside]) / np.diff(x[inside])
    np.testing.assert_allclose(slopes, np.sqrt(12) / 4, rtol=2 * np.exp(-5))
    ends = np.asarray([[-1.0], [3.0]])
    for xp in (np.asarray, lambda a: jnp.asarray(a, jnp.float32)):
        assert np.isfinite(made.encode(xp(ends))).all()
        # However far a sample is, it lies within the bounds.
        found = np.asarray(made.decode(xp(np.asarray([[-1e4], [1e4]]))))
        np.testing.assert_allclose(found, ends, rtol=1e-6)
        # A wide edge, of which float32 rounds shares up to 3e-6 beyond 1.
        far = xp(np.linspace(-1e3, 1e3, 200_001)[:, None])
        found = np.asarray(Straight((-1.0,), (3.0,), 0.3).decode(far))
        assert (found >= -1).all()
        assert (found <= 3).all()


def test_the_setting_edge_chooses_the_map_of_bounded_data() -> None:
    for edge, wanted in ((0.0, Bounded((0.0,), (2.0,))), (0.1, Straight((0.0,), (2.0,), 0.1))):
        data = section(codec="bounded", low=(0.0,), high=(2.0,), edge=edge)
        assert codec.build(data) == wanted


def test_an_offset_that_float32_cannot_hold_is_taken_off_and_put_back_in_float64() -> None:
    values = 1.7e9 + np.random.default_rng(0).normal(size=(1000, 1))
    mean, std = codec.moments(values, "data")
    made = Standardize(mean, std)
    z = made.encode(values).astype(np.float32)
    assert np.abs(made.decode(z) - values).max() < 1e-5
    assert made.decode(z).dtype == np.float64


def test_moments_are_those_of_each_channel_without_missing_values() -> None:
    x = np.random.default_rng(1).normal((1.0, -5.0), (2.0, 0.3), size=(50, 7, 2))
    x[3:9, 2, 0] = np.nan
    mean, std = codec.moments(x, "data")
    np.testing.assert_allclose(mean, np.nanmean(x, axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(std, np.nanstd(x, axis=(0, 1)), rtol=1e-12)
    assert codec.moments(np.asarray([[1], [3]]), "data") == ((2.0,), (1.0,))


def test_blocks_of_rows_give_the_moments_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(1).normal(size=(103, 4))
    whole = codec.moments(x, "data")
    for most in (40, 1):  # the latter less than a row
        monkeypatch.setattr(codec, "BLOCK_VALUES", most)
        np.testing.assert_allclose(codec.moments(x, "data"), whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "names", "told"),
    [
        ([[1.0, 2.0], [3.0, 2.0]], (), "column 1 of the data is always 2, so that it has no scale"),
        ([[1.0, np.nan], [3.0, np.nan]], ("a", "b"), r"column 1 \(b\) of the data has no values"),
        ([[[7.0]], [[7.0]]], (), "channel 0 of the data is always 7"),
        ([[1.0, 7.0], [2.0, 7.0]], ("a", "b"), r"column 1 \(b\) of the data is always 7"),
        ([[7.0, 1.0]], (), "column 0 of the data is always 7"),
        ([[0.0, 1.0], [0.0, 2.0]], (), "column 0 of the data is always 0"),
        (np.empty((0, 1)), (), "column 0 of the data has no values"),
    ],
)
def test_a_feature_without_a_scale_is_named(values, names, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        codec.moments(np.asarray(values), "data", names)


def section(**values: object) -> ConfigDict:
    config = get_default()
    config.update_from_flattened_dict({f"data.{name}": value for name, value in values.items()})
    return config.data


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"codec": "standardize", "mean": (0.0,), "std": (1.0, 2.0)}, "data.std must have one num"),
        ({"codec": "bounded", "low": (0.0, 0.0, 3.0), "high": (1.0,)}, "data.low must be below"),
        ({"codec": "bounded", "low": (0.0,) * 4, "high": (1.0,)}, "data.low must have one number"),
        ({"codec": "bounded", "low": (1.0,), "high": (1.0,)}, "data.low must be below"),
    ],
)
def test_rows_that_do_not_fit_are_refused(values: dict, told: str) -> None:
    codec.check_rows(section(codec="bounded", low=(0.0,), high=(1.0, 2.0, 3.0)), 3)
    with pytest.raises(ValueError, match=told):
        codec.check_rows(section(**values), 3)


def test_an_affine_codec_says_by_which_scale_and_centre() -> None:
    for name, made in VECTORS.items():
        if found := made.affine():
            scale, centre = map(np.asarray, found)
            # Two roundings of numbers of order one.
            np.testing.assert_allclose(centre + scale * X, made.decode(X), rtol=0, atol=1e-15)
        else:
            assert name in ("bounded", "straight")


def test_latents_are_shifted_and_scaled_and_their_pictures_are_gray_levels() -> None:
    data = section(codec="autoencoder", latent_shift=(1.0,), latent_scale=(4.0, 2.0))
    np.testing.assert_array_equal(codec.build(data).encode(np.asarray([[3.0, 3.0]])), [[8.0, 4.0]])
    assert codec.of_pixels(data) == GrayLevels(data.centered)
    assert codec.of_pixels(section(codec="identity")) == AsGiven()


def test_the_range_of_gray_levels_is_the_networks() -> None:
    for centered, ends in ((True, (-1.0, 1.0)), (False, (0.0, 1.0))):
        assert codec.gray_range(section(centered=centered), "eval.a") == ends
    with pytest.raises(ValueError, match=r"eval.a needs data.codec='levels'"):
        codec.gray_range(section(codec="identity"), "eval.a")


def test_float64_is_for_offsets_beyond_8192_deviations() -> None:
    z = np.ones((1, 1), np.float32)
    for mean, kind in ((16384.0, np.float32), (-16386.0, np.float64)):
        # The product with a row in float64 is float64: what is told is whether z was.
        assert codec._needs_float64((mean,), (2.0,)) == (kind == np.float64)
        assert Standardize((mean,), (2.0,)).decode(z) == mean + 2


def test_tokens_are_whole_numbers_of_the_vocabulary_and_none_is_negative() -> None:
    codec.check_words(np.asarray([[0.0, 4.0, -1.0], [1.0, np.nan, -7.5]]), 5, "a.npz")
    for wrong, told in (([5.0, 6.0], "got 5"), ([0.5], "got 0.5")):
        with pytest.raises(ValueError, match=rf"tokens of a.npz .* = 5, .*{told}"):
            codec.check_words(np.asarray([wrong]), 5, "a.npz")


def test_an_unknown_codec_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"data.codec must be one of .*'standardize'.*standardise"):
        codec.build(section(codec="standardise"))


def test_values_outside_of_the_bounds_are_refused_and_missing_ones_are_not() -> None:
    bounds = section(codec="bounded", low=(0.0, -1.0), high=(1.0,))
    codec.check_bounds(bounds, np.asarray([[0.0, 1.0], [np.nan, -1.0]]), "data")
    with pytest.raises(ValueError, match=r"values of the data must lie .* channel 1 has -1.5"):
        codec.check_bounds(bounds, np.asarray([[0.5, 0.5], [0.5, -1.5], [2.0, 0.5]]), "data")
    with pytest.raises(ValueError, match=r"channel 0 has 1.5"):
        codec.check_bounds(bounds, np.asarray([[1.5, 0.5]]), "data")
    codec.check_bounds(section(codec="bounded"), np.asarray([[7.0]]), "data")  # none are given
    codec.check_bounds(section(codec="identity"), np.asarray([[7.0]]), "data")
