"""Distances of laws of arrays against closed forms of Gaussians and constructed sets."""

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from eval_lib import array_metrics
from eval_lib.array_metrics import Scale, classifier, distances
from eval_lib.array_metrics.correlations import correlation
from eval_lib.metrics.two_sample import Grams


def draws(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


UNIT = lambda c: Scale(np.zeros(c), np.ones(c))


def measure(name, samples, held_out, **more):
    """One metric, in the units of the arrays."""
    scale = UNIT(held_out.shape[-1])
    return array_metrics.compare(samples, held_out, metrics=(name,), scale=scale, **more)


# MMD and energy distance --------------------------------------------------------------------------


def gaussian_mmd2(shift, h, d):
    """Squared MMD of N(0, 1) and N(shift, 1): x - x' is N(0, 2), and x - y N(-shift, 2)."""
    shrunk = (h**2 / (h**2 + 2)) ** (d / 2)
    return 2 * shrunk * (1 - math.exp(-np.sum(shift**2) / (2 * (h**2 + 2))))


def gaussian_energy(shift):
    """In one dimension, by the mean of a folded N(shift, 2)."""
    far = 2 / math.sqrt(math.pi) * math.exp(-(shift**2) / 4) + shift * math.erf(shift / 2)
    return 2 * far - 4 / math.sqrt(math.pi)


def mmd_grams(x, y):
    return distances.gaussian_grams(x, y, 1.5)[0]


def energy_grams(x, y):
    of = lambda a, b: -distances.distances(a, b)
    return Grams(of(x, x), of(y, y), of(x, y))


@pytest.mark.parametrize("shift", [0.0, 0.8])
@pytest.mark.parametrize(
    "grams, d, law",
    [
        (mmd_grams, 3, lambda shift: gaussian_mmd2(shift * np.ones(3), 1.5, 3)),
        (energy_grams, 1, gaussian_energy),
    ],
)
def test_estimates_have_no_bias_and_the_standard_error_that_they_tell(grams, d, law, shift):
    """Over 400 pairs of sets of unequal sizes; at 0 the second order is all of the error, and what
    is told is too large by as much as is stated.

    A deviation of 400 values is known to 3.5%, if they are Gaussian, and of a degenerate statistic,
    whose tails are heavier, to 5%.
    """
    found = [grams(draws(2 * k, 40, d), draws(2 * k + 1, 25, d) + shift) for k in range(400)]
    values = np.asarray([g.mmd2 for g in found])
    errors = np.sqrt(np.mean([g.standard_error**2 for g in found]))
    assert abs(values.mean() - law(shift)) < 4 * values.std() / 20
    assert errors / values.std() == pytest.approx(1 if shift else 1.275, rel=0.15)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_terms_of_the_variance_have_no_bias(shift):
    """k(x, y) = 2 x y + x^2 + y^2 of Gaussians: w(z) is 2 z (E x - E y) and a constant, and k~ is
    2 (x - E x) (y - E y), whose mean square is 4. Over 4000 pairs of small sets."""
    kernel = lambda a, b: 2 * a * b.T + a**2 + b.T**2
    n, m = 4, 5
    pairs = ((draws(2 * k, n, 1), draws(2 * k + 1, m, 1) + shift) for k in range(4000))
    grams = (Grams(kernel(x, x), kernel(y, y), kernel(x, y)) for x, y in pairs)
    found = np.asarray([gram.variance_terms for gram in grams])
    first = 4 * 4 * shift**2 * (1 / n + 1 / m)
    second = 2 * 4 / (n * (n - 1)) + 2 * 4 / (m * (m - 1)) + 4 * 4 / (n * m)
    error = found.std(axis=0) / np.sqrt(4000)
    assert np.all(np.abs(found.mean(axis=0) - [first, second]) < 4 * error)
    assert np.all(error < 0.1 * second)


def test_the_bandwidth_is_the_median_distance_of_all_pairs():
    x, y = draws(0, 20, 3), draws(1, 31, 3) + 1
    pooled = scipy.spatial.distance.pdist(np.concatenate([x, y]))
    found = measure("mmd", x, y)
    assert found["mmd_bandwidth"] == pytest.approx(np.median(pooled))
    kernel = lambda a, b: np.exp(
        -scipy.spatial.distance.cdist(a, b, "sqeuclidean") / (2 * np.median(pooled) ** 2)
    )
    xx, yy = kernel(x, x), kernel(y, y)
    off = lambda k: (k.sum() - len(k)) / (len(k) * (len(k) - 1))
    assert found["mmd2"] == pytest.approx(off(xx) + off(yy) - 2 * kernel(x, y).mean())


def test_arrays_most_of_which_are_equal_have_the_mean_distance_for_a_bandwidth():
    x = np.asarray([[0.0]] * 9 + [[1.0]])
    found = measure("mmd", x, x[::-1])
    # 4 * 9 of the pairs of 20 points, 2 of them at 1, are not equal.
    assert found["mmd_bandwidth"] == pytest.approx(2 * 18 / 190)


def test_energy_distance_is_the_square_of_scipys_but_for_its_bias():
    x, y = draws(0, 300, 1), draws(1, 200, 1) + 1
    found = measure("energy", x, y)["energy_distance"]
    within = lambda z: scipy.spatial.distance.pdist(z).sum() * 2
    bias = sum(within(z) / len(z) ** 2 / (len(z) - 1) for z in (x, y))
    expected = scipy.stats.energy_distance(x[:, 0], y[:, 0]) ** 2 - bias
    assert found == pytest.approx(expected, rel=1e-9)


def test_sliced_distance_of_fields_is_that_of_vectors():
    x, y = draws(0, 40, 2, 3, 1), draws(1, 50, 2, 3, 1) + 1
    of = lambda z: z.reshape(len(z), -1)
    assert measure("sliced", x, y) == measure("sliced", of(x), of(y))


# C2ST ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_c2st_is_the_best_classifiers_accuracy(shift):
    """Phi(shift / 2) for Gaussians that far apart, 1/2 for equal ones; 400 decisions.

    A network of few data misses the best threshold a little: 2% are granted.
    """
    x, y = draws(0, 200, 1), draws(1, 200, 1) + shift
    found = measure("c2st", x, y)
    best = scipy.stats.norm.cdf(shift / 2)
    assert found["c2st_standard_error"] == pytest.approx(np.sqrt(best * (1 - best) / 400), rel=0.1)
    assert abs(found["c2st"] - best) < 0.02 + 3 * found["c2st_standard_error"]


def test_c2st_sees_what_means_and_variances_do_not():
    """Two peaks of variance 1 in all. Of N(0, 1), 39% is within two deviations of them: the best
    classifier has about 0.78."""
    peaks = np.where(np.arange(60) % 2, 0.98, -0.98)[:, None] + 0.2 * draws(0, 60, 1)
    assert 0.66 < measure("c2st", peaks, draws(1, 60, 1))["c2st"] < 0.9


def test_c2st_of_sets_of_different_sizes_is_balanced():
    """A classifier that always answers with the larger set would have 10/11."""
    found = measure("c2st", draws(0, 40, 1), draws(1, 400, 1))
    assert abs(found["c2st"] - 0.5) < 4 * 0.5 / np.sqrt(80)


def test_c2st_of_long_vectors_is_of_the_leading_components_of_both(monkeypatch):
    seen = {}

    def network(units, **more):
        seen["units"] = units
        return LogisticRegression()

    monkeypatch.setattr(classifier, "MOST_INPUTS", 2)
    monkeypatch.setattr("sklearn.neural_network.MLPClassifier", network)
    x, y = draws(0, 60, 3) * [5.0, 3.0, 0.1], draws(1, 60, 3) * [5.0, 3.0, 0.1]
    moved = lambda *by: measure("c2st", x, y + np.asarray(by))["c2st"]
    assert moved(20.0, 0, 0) > 0.95
    assert moved(0, 0, 1.0) < 0.65  # beyond the leading two
    assert seen == {"units": (20, 20)}


def test_components_of_few_vectors_are_one_fewer_than_them():
    """About their mean, n vectors span n - 1 directions; a component more would be of round-off."""
    found = classifier._components(draws(0, 10, classifier.MOST_INPUTS + 5))
    assert found.shape == (10, 9)
    # float32, of directions whose variances are alike
    np.testing.assert_allclose(np.cov(found.T), np.eye(9), atol=1e-5)


@pytest.mark.parametrize(("most", "reduced"), [(3, 0), (2, 1)])
def test_c2st_takes_components_of_longer_vectors_alone(most, reduced, monkeypatch):
    calls = []
    monkeypatch.setattr(classifier, "MOST_INPUTS", most)
    monkeypatch.setattr(classifier, "_components", lambda x: calls.append(x.shape) or x[:, :1])
    monkeypatch.setattr(
        "sklearn.neural_network.MLPClassifier", lambda *_, **__: LogisticRegression()
    )
    measure("c2st", draws(0, 30, 3), draws(1, 30, 3))
    assert len(calls) == reduced


def test_every_array_is_classified_once_by_a_network_that_saw_four_fifths(monkeypatch):
    fits = []

    class Counting(LogisticRegression):
        def fit(self, x, y):
            fits.append((len(y), int(y.sum())))
            return super().fit(x, y)

    monkeypatch.setattr("sklearn.neural_network.MLPClassifier", lambda *_, **__: Counting())
    measure("c2st", draws(0, 50, 2), draws(1, 70, 2))
    assert fits == [(80, 40)] * 5


def test_c2st_of_what_has_diverged_overflows_no_network(monkeypatch):
    farthest = []

    class Watching(DecisionTreeClassifier):
        def fit(self, x, y):
            farthest.append(np.abs(x).max())
            return super().fit(x, y)

    monkeypatch.setattr("sklearn.neural_network.MLPClassifier", lambda *_, **__: Watching())
    assert measure("c2st", draws(0, 10, 1) * 1e30, draws(1, 10, 1))["c2st"] == 1
    assert farthest == [100.0] * 5


# Marginals and correlations -----------------------------------------------------------------------


def test_marginals_of_a_stretched_and_of_a_shifted_feature():
    """Stretched by a, every number x moves by (a - 1) x; shifted by c, by c; signs are the same."""
    x = np.abs(draws(0, 50, 3))
    found = measure("marginals", x * [1, 1.5, 1] + [0, 0, 9], x)
    moved = 0.5 * x[:, 1].mean()
    assert found["wasserstein_1"] == pytest.approx((moved + 9) / 3)
    assert found["wasserstein_1_worst"] == pytest.approx(9)
    assert found["wasserstein_1_worst_entry"] == 2
    assert found["kolmogorov_smirnov_worst"] == 1
    assert found["kolmogorov_smirnov_worst_entry"] == 2


def test_kolmogorov_smirnov_counts_equal_values_together():
    """1/2 of the samples are 0, and 3/4 of the data; the types of numbers make no difference."""
    x = np.asarray([[0], [0], [3], [3]])
    y = np.asarray([[0], [0], [0], [3]])
    for kinds in ((np.float32, np.int64), (np.float64, np.float32), (np.uint8, bool)):
        found = array_metrics.compare(
            x.astype(kinds[0]), (y > 0) * 3 if kinds[1] is bool else y.astype(kinds[1]),
            metrics=("marginals",),
        )  # fmt: skip
        assert found["kolmogorov_smirnov"] == pytest.approx(0.25)
        same = array_metrics.compare(
            y.astype(kinds[0]), y.astype(kinds[1]) * (3 if kinds[1] is bool else 1),
            metrics=("marginals",), scale=Scale(np.asarray([0.7]), np.asarray([1.3])),
        )  # fmt: skip
        assert same["kolmogorov_smirnov"] == 0


def test_entries_of_fields_keep_positions_and_channels_forget_them():
    """A field turned around has every value of its channel, elsewhere."""
    ramp = np.arange(6.0)[None, :, None] + 0.01 * draws(0, 40, 6, 1)
    found = array_metrics.compare(ramp[:, ::-1], ramp)
    assert found["channel_wasserstein_1"] == pytest.approx(0, abs=1e-12)
    # |5 - 2 i| in steps of one deviation of 0..5, on average over i: 3.
    assert found["wasserstein_1"] == pytest.approx(3 / np.std(np.arange(6)), rel=0.01)
    assert found["wasserstein_1_worst_entry"] in (0, 5)


def test_of_many_entries_a_random_part_is_looked_at():
    x = draws(0, 2, 600)
    found = measure("marginals", x + 9 * np.eye(600)[599], x)
    numbers = array_metrics.NamedShape((600,)).entries
    assert len(numbers) == 512
    assert 599 in numbers
    assert found["wasserstein_1_worst_entry"] == 599


def test_correlations_are_numpys_and_a_constant_has_none():
    x = draws(0, 50, 4) @ draws(1, 4, 4)
    np.testing.assert_allclose(correlation(x), np.corrcoef(x, rowvar=False), atol=1e-14)
    x[:, 2] = 0.1
    expected = np.corrcoef(x[:, [0, 1, 3]], rowvar=False)
    found = correlation(x)
    np.testing.assert_allclose(found[np.ix_([0, 1, 3], [0, 1, 3])], expected, atol=1e-14)
    assert not found[2].any()


def test_differences_of_correlations_are_told_with_their_features():
    """One of the three pairs has changed, from 0.6 to -0.6."""
    base = np.linalg.qr(draws(0, 40, 4) - draws(0, 40, 4).mean(axis=0))[0]
    of = lambda r: np.stack([base[:, 0], base[:, 1], r * base[:, 0] + 0.8 * base[:, 2]], axis=1)
    found = measure("correlations", of(-0.6), of(0.6))
    assert found == pytest.approx({
        "correlation_rms": 1.2 / np.sqrt(3),
        "correlation_largest": 1.2,
        "correlation_largest_first_entry": 0,
        "correlation_largest_second_entry": 2,
    })  # fmt: skip


def test_correlations_of_channels_are_those_at_the_same_position():
    x = draws(0, 30, 5, 4, 1)
    same, turned = np.concatenate([x, x], axis=-1), np.concatenate([x, x[:, ::-1]], axis=-1)
    found = measure("channel_correlations", turned, same)
    pooled = np.corrcoef(turned.reshape(-1, 2), rowvar=False)[0, 1]
    assert found["channel_correlation_largest"] == pytest.approx(1 - pooled)
