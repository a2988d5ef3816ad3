"""Quality of reconstructions against direct sums and laws that are known."""

import numpy as np
import pytest

from eval_lib.restoration import coverage, misfit, psnr, ssim


def test_psnr_is_in_decibels_of_the_range() -> None:
    truth = np.random.default_rng(0).normal(size=(2, 4, 4, 1))
    x = truth + np.asarray([0.1, 0.01]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(psnr(x, truth, 1.0), [20, 40])
    np.testing.assert_allclose(psnr(x, truth, 2.0), [20 + 20 * np.log10(2), 40 + 20 * np.log10(2)])
    assert np.isinf(psnr(truth, truth, 1.0)).all()


def direct_ssim(x: np.ndarray, y: np.ndarray, span: float) -> float:
    """SSIM of one channel by sums over windows of 11 x 11, pixel by pixel."""
    r = np.arange(-5, 6)
    line = np.exp(-(r**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    x, y = (np.pad(image, 5, mode="symmetric") for image in (x, y))
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            p, q = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - p) ** 2).sum(), (window * (b - q) ** 2).sum()
            both = (window * (a - p) * (b - q)).sum()
            c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
            values.append((2 * p * q + c1) * (2 * both + c2)
                          / (p**2 + q**2 + c1) / (va + vb + c2))  # fmt: skip
    return float(np.mean(values))


def test_ssim_is_that_of_windows_summed_one_by_one() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=(2, 12, 14, 2))
    x = truth + 0.2 * rng.normal(size=truth.shape)
    expected = [
        np.mean([direct_ssim(x[n, ..., c], truth[n, ..., c], 1.0) for c in range(2)])
        for n in range(2)
    ]
    np.testing.assert_allclose(ssim(x, truth, 1.0), expected, rtol=1e-10)
    np.testing.assert_allclose(ssim(truth, truth, 1.0), 1.0)
    assert (ssim(x, truth, 3.0) > ssim(x, truth, 1.0)).all()


@pytest.mark.parametrize(("s", "expected"), [(19, 0.9), (39, 0.9), (9, 0.8), (2, 1 / 3)])
def test_coverage_of_samples_of_the_same_law_is_as_expected(s: int, expected: float) -> None:
    rng = np.random.default_rng(1)
    n = 4000
    found = coverage(rng.normal(size=(n, s)), rng.normal(size=n))
    assert found.expected == pytest.approx(expected)
    # Five standard errors of a share.
    assert abs(found.share - expected) < 5 * (expected * (1 - expected) / n) ** 0.5


@pytest.mark.parametrize(("truth", "inside"), [(0.0, 1), (2.0, 1), (-0.1, 0), (2.1, 0)])
def test_coverage_includes_both_ends_of_its_interval(truth: float, inside: int) -> None:
    assert coverage(np.asarray([[2.0, 0.0, 1.0]]), np.asarray([truth])).share == inside


def test_coverage_counts_what_is_asked() -> None:
    samples = np.stack([np.zeros((1, 2)), np.ones((1, 2))], axis=1)
    truth = np.asarray([[0.5, 3.0]])
    assert coverage(samples, truth).share == 0.5
    assert coverage(samples, truth, np.asarray([[True, False]])).share == 1.0
    assert np.isnan(coverage(samples, truth, np.zeros((1, 2), bool)).share)
    with pytest.raises(ValueError, match="two samples"):
        coverage(samples[:, :1], truth)


def test_misfit_is_the_root_mean_square_of_what_is_measured() -> None:
    residual = np.asarray([[3.0, 4.0, 0.0], [0.0, 1.0, 1.0]])
    every = np.ones((2, 3), bool)
    np.testing.assert_allclose(misfit(residual, every), np.sqrt([25 / 3, 2 / 3]))
    # Numbers that were not measured do not thin out those that were.
    kept = np.asarray([[True, True, False], [False, False, True]])
    np.testing.assert_allclose(misfit(residual, kept), np.sqrt([12.5, 1.0]))
