"""The law that the prior is held against: moments of all images, and of which kind they are."""

import jax.numpy as jnp
import numpy as np
import pytest

from data_lib import Images
from data_lib.codec import GrayLevels
from eval_lib.likelihood import data_law
from eval_lib.likelihood.flow import prior_mismatch
from sde_lib import VE

LEVELS = 1001


def correlated(n: int, seed: int = 0) -> Images:
    """Pictures [2, 3, 1] whose numbers have one part in common, in fine levels."""
    rng = np.random.default_rng(seed)
    common, own = rng.standard_normal((n, 1)), rng.standard_normal((n, 6))
    x = 0.5 + 0.08 * (common * np.array([2.0, 1.5, 1, 1, 1, -1]) + 0.5 * own)
    pixels = np.rint(np.clip(x, 0, 1) * (LEVELS - 1)).astype(np.int32)
    return Images(pixels.reshape(n, 2, 3, 1), None, LEVELS)


@pytest.mark.parametrize("centered", [False, True])
def test_the_covariance_is_of_all_images_in_the_networks_range(centered, monkeypatch) -> None:
    images = correlated(1000)
    monkeypatch.setattr(data_law, "BLOCK", 300)
    law = data_law.data_law(images, GrayLevels(centered))
    mean, variances, basis = law.moments
    x = images.pixels.reshape(1000, 6) / (LEVELS - 1) * (1 + centered) - centered
    np.testing.assert_allclose(mean.reshape(6), x.mean(0), atol=1e-7)
    found = basis * variances @ basis.T
    # Values are rounded to float32.
    np.testing.assert_allclose(found, np.cov(x, rowvar=False, bias=True), rtol=1e-5)
    assert law.words == "the covariance of 1000 training examples"


def test_of_large_images_or_few_it_is_each_coordinates_variance(monkeypatch) -> None:
    """Few: the squares of eigenvalues sum up to more than 2% too much. Of independent numbers that
    takes 50 images for each; the common part of these is most of their variance."""
    few = data_law.data_law(correlated(60), GrayLevels(False))
    assert few.words == (
        "the variance of each coordinate of 60 training examples, which are too few for a "
        "covariance"
    )
    assert len(few.moments) == 2
    assert len(data_law.data_law(correlated(150), GrayLevels(False)).moments) == 3
    white = np.random.default_rng(0).integers(0, LEVELS, (250, 2, 3, 1)).astype(np.int32)
    assert len(data_law.data_law(Images(white, None, LEVELS), GrayLevels(False)).moments) == 2
    monkeypatch.setattr(data_law, "LARGEST", 6)
    assert len(data_law.data_law(correlated(1000), GrayLevels(False)).moments) == 3
    monkeypatch.setattr(data_law, "LARGEST", 5)
    large = data_law.data_law(correlated(1000), GrayLevels(False))
    assert large.words.endswith("training examples, which have more than 5 numbers each")
    images = correlated(1000)
    x = images.pixels / (LEVELS - 1)
    np.testing.assert_allclose(large.moments[1], x.var(axis=0), rtol=1e-5)


@pytest.mark.parametrize("n, kept", [(1, 3), (49, 2), (50, 3)])
def test_the_limit_itself_is_allowed(n: int, kept: int) -> None:
    """For one coordinate 1 / n of the squared eigenvalue is due to having n images: 2% of 50.

    One image has no eigenvalue that could be too large.
    """
    ramp = np.arange(n, dtype=np.int32).reshape(n, 1, 1, 1)
    assert len(data_law.data_law(Images(ramp, None, LEVELS), GrayLevels(False)).moments) == kept


def test_of_correlated_data_variances_alone_would_make_the_mismatch_too_small() -> None:
    """Its mean is minus the divergence of p_T from the prior, in closed form for Gaussians."""
    sde = VE(0.01, 0.5)
    images = correlated(20_000)
    full = data_law.data_law(images, GrayLevels(True))
    x = (2 * images.pixels / (LEVELS - 1) - 1).reshape(-1, 6)
    s = np.linalg.eigvalsh(np.cov(x, rowvar=False, bias=True)) + 0.25
    shift = np.sum(x.mean(0) ** 2)
    expected = -0.5 * (np.sum(s / 0.25 - 1 - np.log(s / 0.25)) + shift / 0.25)
    noise = np.random.default_rng(1).standard_normal(x.shape)
    z = jnp.asarray((x + 0.5 * noise).reshape(images.pixels.shape), jnp.float32)
    as_float32 = lambda law: [jnp.asarray(m, jnp.float32) for m in law.moments]
    found = float(prior_mismatch(sde, z, *as_float32(full)).mean())
    # Of 20,000 draws, whose deviation is about 0.6.
    assert found == pytest.approx(expected, abs=4 * 0.6 / 20_000**0.5)
    alone = data_law.diagonal(images, GrayLevels(True), "")
    alone = float(prior_mismatch(sde, z, *as_float32(alone)).mean())
    assert alone > 0.6 * found > 0.6 * -0.3
