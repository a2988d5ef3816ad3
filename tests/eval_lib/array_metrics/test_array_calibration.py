"""Calibration of exact, too narrow, too wide and uninformed Gaussian posteriors."""

import numpy as np
import pytest
import scipy.stats

from eval_lib import array_metrics
from eval_lib.array_metrics import Scale
from eval_lib.array_metrics.base import Ensembles
from eval_lib.array_metrics.ranks import LEVELS, binned, covered, places, ranks
from eval_lib.array_metrics.scores import crps
from eval_lib.array_metrics.table import CALIBRATION
from eval_lib.array_metrics.tarp import coverage_places, drawn_references, tarp


def posterior(seed, k=200, s=30, d=2, width=1.0, bias=0.0):
    """(samples [k, s, d], truths, conditions): theta ~ N(0, 1), x ~ N(theta, 1).

    Given x, theta is N(x / 2, 1/2); the samples' deviation is `width` times that.
    """
    rng = np.random.default_rng(seed)
    truths = rng.standard_normal((k, d))
    x = truths + rng.standard_normal((k, d))
    noise = rng.standard_normal((k, s, d)) * width + bias
    return x[:, None] / 2 + noise / np.sqrt(2), truths, x


def measure(name, samples, truths, **more):
    return array_metrics.calibration(samples, truths, metrics=(name,), **more)


# Ranks, coverage and TARP -------------------------------------------------------------------------

P = {"sbc": ("sbc_chi_squared_p", "sbc_kolmogorov_smirnov_p"), "tarp": ("tarp_p",)}


@pytest.mark.parametrize("name", P)
@pytest.mark.parametrize("s", [1, 20])
def test_an_exact_posterior_is_rejected_as_often_as_the_level_says(name, s):
    """20 of 100 models at a level of 20% (a deviation: 4); Bonferroni's bound for two features of
    independent ranks is 1 - 0.9^2 = 19%."""
    found = [measure(name, *posterior(seed, 60, s)[:2]) for seed in range(100)]
    for p in P[name]:
        rejected = sum(numbers[p] < 0.2 for numbers in found)
        assert abs(rejected - 20) < 15, p


@pytest.mark.parametrize(
    "name, fault, more",
    [
        ("sbc", {"width": 0.5}, {}),
        ("sbc", {"width": 2.0}, {}),
        ("sbc", {"bias": 0.7}, {}),
        ("tarp", {"width": 0.5, "d": 4}, {"tarp_spread": (1.4, 3)}),
        ("tarp", {"width": 2.0, "d": 4}, {"tarp_spread": (0.2, 0.8)}),
    ],
)
def test_a_wrong_posterior_is_rejected(name, fault, more):
    found = measure(name, *posterior(0, 400, **fault)[:2])
    assert all(found[p] < 1e-4 for p in P[name])
    for number, (low, high) in more.items():
        assert low < found[number] < high


def test_a_posterior_that_ignores_its_condition_is_found_by_references_that_know_it():
    """The prior has uniform ranks, and coverage by references that know nothing; not by others
    (Lemos et al. 2023, section 4)."""
    _, truths, x = posterior(0, 400)
    prior = np.random.default_rng(9).standard_normal((400, 30, 2))
    assert measure("sbc", prior, truths)["sbc_chi_squared_p"] > 0.01
    assert measure("tarp", prior, truths)["tarp_p"] > 0.01
    assert measure("tarp", prior, truths, references=x)["tarp_p"] < 1e-6
    exact, truths, x = posterior(0, 400)
    assert measure("tarp", exact, truths, references=x)["tarp_p"] > 0.01


def test_coverage_counts_the_samples_nearer_to_the_reference_than_the_truth_is():
    """At 5, and from 1: the samples at 0, 3 and 4.9 are nearer, those at 7 and -4 are not."""
    samples = np.asarray([0, 3, 4.9, 7, -4])[None, :, None].repeat(400, axis=0)
    place = coverage_places(samples, np.full((400, 1), 5.0), np.ones((400, 1)))
    assert np.all((place > 3 / 6) & (place < 4 / 6))
    lengths = np.asarray([[3.0, 4.0], [4.9, 0.0], [5.1, 0.0]])[None]
    assert 2 / 4 > coverage_places(lengths, np.asarray([[0.0, 5.0]]), np.zeros((1, 2)))[0] > 1 / 4


def test_references_are_in_the_units_of_the_data():
    samples, truths, x = posterior(0, 50)
    found = measure("tarp", 8 * samples + 3, 8 * truths + 3, references=8 * x + 3)
    assert found == pytest.approx(measure("tarp", samples, truths, references=x))


def test_references_are_drawn_from_the_box_of_the_truths():
    truths = np.random.default_rng(0).standard_normal((2000, 3)) * [1.0, 5.0, 0.2] + [0, 9, -1]
    low, high = truths.min(axis=0), truths.max(axis=0)
    share = (drawn_references(truths) - low) / (high - low)
    for each in share.T:
        assert scipy.stats.kstest(each, "uniform").pvalue > 1e-3


def test_ranks_are_the_loop():
    samples, truths, _ = posterior(0, 7, 5, 3)
    expected = [[sum(s[:, j] < t[j]) for j in range(3)]
                for s, t in zip(samples, truths, strict=True)]  # fmt: skip
    assert ranks(samples, truths).tolist() == expected


def test_a_truth_among_equals_has_any_of_their_ranks():
    """Each of 1 to 5 has 800 of 4000 truths, with a deviation of 25."""
    samples = np.tile(np.asarray([1, 0, 0, 0, 0, -1])[None, :, None], (4000, 1, 1))
    found = ranks(samples, np.zeros((4000, 1)))
    counts = np.bincount(found[:, 0], minlength=7)
    assert counts[[0, 6]].tolist() == [0, 0]
    assert np.all(np.abs(counts[1:6] - 800) < 100)


def test_places_are_within_their_ranks():
    rank = np.arange(5).repeat(100)
    found = places(rank, 4) * 5
    assert np.array_equal(np.floor(found), rank)
    assert scipy.stats.kstest(found - rank, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    "s, k, count", [(63, 300, 16), (9, 300, 10), (100, 300, 20), (1, 10, 2), (8, 7, 2)]
)
def test_bins_hold_every_truth_and_expect_as_many(s, k, count):
    """64 = 16 * 4 has no divisor between 17 and 20; 101 has none at all; 7 fill two bins."""
    rank = np.random.default_rng(0).integers(0, s + 1, k)
    found, expected = binned(rank, s)
    assert len(found) == count
    assert found.sum() == pytest.approx(k) == expected.sum()
    sizes = expected * (s + 1) / k
    assert set(np.rint(sizes)) <= {(s + 1) // count, -(-(s + 1) // count)}
    assert found.tolist() == np.histogram(rank, np.cumsum([0, *sizes]) - 0.5)[0].tolist()


def test_intervals_of_few_samples_cover_what_they_say():
    """No quantile of 3 samples is beyond them; 20,000 truths leave a deviation of 0.35%."""
    samples, truths, _ = posterior(0, 20_000, 3, 1)
    found = measure("intervals", samples, truths)
    for level in (50, 80, 90, 95):
        assert found[f"interval_{level}"] == pytest.approx(level / 100, abs=0.015)


def test_intervals_of_a_narrow_posterior_cover_less():
    """The central 90% of N(0, 1/4) is 1.645 / 2 on either side: 59% of N(0, 1)."""
    samples, truths, _ = posterior(0, 3000, 200, 1, width=0.5)
    found = measure("intervals", samples, truths, names=("mass",))
    expected = 2 * scipy.stats.norm.cdf(1.645 / 2) - 1
    assert found["interval_90"] == pytest.approx(expected, abs=0.03)
    gaps = [abs(found[f"interval_{level}"] - level / 100) for level in LEVELS]
    assert found["interval_worst_gap"] == pytest.approx(max(gaps))  # of one entry
    assert covered(np.asarray([0.04, 0.06, 0.5, 0.94, 0.96]), 0.9) == pytest.approx(0.6)


def test_the_worst_entry_of_a_field_is_named():
    samples, truths, _ = posterior(0, 200, 20, 6)
    samples[..., 4] += 3
    shape = lambda x: x.reshape(*x.shape[:-1], 3, 2)
    found = array_metrics.calibration(shape(samples), shape(truths), names=("u", "v"))
    for name in ("sbc_chi_squared_p_entry", "sbc_distance_worst_entry", "interval_worst_gap_entry"):
        assert found[name.replace("_worst_entry", "_entry") if name not in found else name] == 4
    page = array_metrics.markdown({"model": found}, (3, 2), ("u", "v"))
    assert "| interval_worst_gap_entry | u at (2) |" in page


# CRPS, RMSE and spread ----------------------------------------------------------------------------


def gaussian_crps(z):
    """CRPS of N(0, 1) at z (Gneiting & Raftery 2007, eq. 20 and the line after)."""
    law = scipy.stats.norm
    return z * (2 * law.cdf(z) - 1) + 2 * law.pdf(z) - 1 / np.sqrt(np.pi)


@pytest.mark.parametrize("s", [2, 10])
@pytest.mark.parametrize("z", [0.0, -1.3])
def test_crps_of_gaussian_ensembles_is_the_closed_form_whatever_their_size(s, z):
    noise = np.random.default_rng(0).standard_normal((s, 40_000))
    found = crps(3 * noise + 1, np.full(40_000, 3 * z + 1))
    error = found.std() / 200
    assert abs(found.mean() - 3 * gaussian_crps(z)) < 4 * error


def test_crps_is_the_mean_over_all_pairs():
    samples, truth = np.random.default_rng(0).standard_normal((2, 7, 3, 2))[0], np.ones((3, 2))
    pairs = np.abs(samples[:, None] - samples[None]).sum(axis=(0, 1)) / (7 * 6)
    np.testing.assert_allclose(
        crps(samples, truth), np.abs(samples - truth).mean(axis=0) - pairs / 2, rtol=1e-12
    )


def test_scores_are_in_standard_deviations_and_those_of_a_channel_in_its_units():
    samples, truths, _ = posterior(0, 40, 8, 2)
    unit = np.asarray([10.0, 0.2])
    scale = Scale(np.asarray([5.0, 1.0]), unit)
    found = array_metrics.calibration(
        samples * unit + [5, 1], truths * unit + [5, 1], names=("a", "b"), scale=scale
    )
    each = np.mean([crps(s, t) for s, t in zip(samples, truths, strict=True)], axis=0)
    errors = np.mean((samples.mean(axis=1) - truths) ** 2, axis=0)
    variance = samples.var(axis=1, ddof=1).mean(axis=0)
    assert found["crps"] == pytest.approx(each.mean())
    assert found["crps_worst"] == pytest.approx(each.max())
    assert found["crps_worst_channel"] == np.argmax(each)
    assert found["rmse"] == pytest.approx(np.sqrt(errors.mean()))
    assert found["rmse_worst"] == pytest.approx(np.sqrt(errors.max()))
    assert found["spread"] == pytest.approx(np.sqrt(variance.mean()))
    ratio = 9 / 8 * variance / errors
    assert found["spread_skill"] == pytest.approx(np.sqrt(9 / 8 * variance.mean() / errors.mean()))
    for k, name in enumerate("ab"):
        assert found[f"crps[{name}]"] == pytest.approx(each[k] * unit[k])
        assert found[f"rmse[{name}]"] == pytest.approx(np.sqrt(errors[k]) * unit[k])
        assert found[f"spread_skill[{name}]"] == pytest.approx(np.sqrt(ratio[k]))


@pytest.mark.parametrize("s", [2, 20])
def test_spread_equals_skill_of_an_exact_posterior_of_any_number_of_samples(s):
    """Variances of 6000 errors are known to 1.8%, and roots to half of that."""
    found = measure("spread_skill", *posterior(0, 6000, s, 1)[:2])
    assert found["spread_skill"] == pytest.approx(1, abs=0.03)
    narrow = measure("spread_skill", *posterior(0, 1000, 50, 1, width=0.5)[:2])
    assert narrow["spread_skill"] == pytest.approx(0.5, rel=0.08)


def test_fields_are_scored_at_every_position_and_told_by_channel():
    samples, truths, _ = posterior(0, 30, 6, 12)
    field = lambda x: x.reshape(*x.shape[:-1], 2, 3, 2)
    found = measure("crps", field(samples), field(truths), scale=Scale(np.zeros(2), np.ones(2)))
    each = np.mean([crps(s, t) for s, t in zip(samples, truths, strict=True)], axis=0)
    assert found["crps"] == pytest.approx(each.mean())
    assert found["crps[1]"] == pytest.approx(each.reshape(-1, 2).mean(axis=0)[1])


def test_an_error_of_nothing_has_no_ratio():
    truths = np.random.default_rng(0).standard_normal((9, 1))
    found = measure("spread_skill", truths[:, None].repeat(4, axis=1), truths)
    assert found["spread"] == 0
    assert found["spread_skill"] == "it is not finite"


# What every row of the table has to keep ----------------------------------------------------------


def test_the_stated_counts_are_the_least_that_have_a_meaning():
    """Two bins of five truths; a gap of two truths; a spread or a pair of two samples."""
    counts = {name: tuple(metric.fewest.values()) for name, metric in CALIBRATION.items()}
    assert counts == {"sbc": (10, 1), "intervals": (1, 1), "tarp": (2, 1), "crps": (1, 2),
                      "rmse": (1, 1), "spread_skill": (1, 2)}  # fmt: skip
    assert all(list(m.fewest) == ["conditions", "samples of each"] for m in CALIBRATION.values())


@pytest.mark.parametrize("name", CALIBRATION)
def test_a_calibration_has_its_numbers_from_a_stated_count_on(name):
    metric = CALIBRATION[name]
    for k in (1, 2, 9, 10):
        for s in (1, 2):
            samples, truths, _ = posterior(0, k, s)
            c = Ensembles(samples, truths, array_metrics.NamedShape((2,)), np.ones(2))
            found = metric.compute(c)
            assert set(metric.names) | set(metric.headline) <= set(found)
            told = [value for value in found.values() if isinstance(value, str)]
            enough = k >= metric.fewest["conditions"] and s >= metric.fewest["samples of each"]
            assert not told if enough else all("it needs" in value for value in told) and told


@pytest.mark.parametrize("name", CALIBRATION)
def test_units_make_no_difference_to_a_calibration(name):
    """Powers of two are exact in floating point."""
    samples, truths, _ = posterior(0, 20, 4)
    unit = np.asarray([8.0, 0.25])
    plain = measure(name, samples, truths)
    other = measure(name, samples * unit, truths * unit)
    whole = lambda found: {k: v for k, v in found.items() if "[" not in k}
    assert whole(other) == whole(plain)


def test_the_expected_coverage_is_that_of_the_arguments():
    samples, truths, x = posterior(0, 30)
    c = array_metrics.ensembles(samples, truths, references=x)
    assert tarp(c) == measure("tarp", samples, truths, references=x)
