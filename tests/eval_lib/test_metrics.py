"""Metrics against closed forms, constructed sets, and loops that say what is meant."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats

from eval_lib.metrics import METRICS, Compared, FeatureSet, Moments, frechet, kernel, manifold
from eval_lib.metrics.base import WORDS, chosen_rows
from eval_lib.metrics.kernel import mmd2
from eval_lib.metrics.manifold import nearest_neighbours, neighbour_distances


def draws(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


NOTHING = np.zeros((1, 2, 2, 1), np.uint8)


def compared(samples, reference, train=NOTHING, test=NOTHING):
    return Compared(samples, reference, train, test)


def sets(real, fake, **more):
    of = lambda x: FeatureSet(Moments.of(x), x, **more)
    return compared(of(fake), of(real))


def measure(name, *arguments, **more):
    return METRICS[name].compute(sets(*arguments, **more))


# What every row of the table has to keep ----------------------------------------------------------


def everything(seed, n=40):
    """A set of images with all that a metric may ask for."""
    x = draws(n, 4, seed)
    pictures = np.random.default_rng(seed).integers(0, 17, (n, 2, 2, 1)).astype(np.uint8)
    return FeatureSet(
        Moments.of(x), x, draws(n, 3, seed), Moments.of(x), pictures, np.arange(n) % 2
    )


def without(part: FeatureSet, side: str, needed: tuple[str, ...]) -> FeatureSet:
    """The set without what a metric that needs no more than `needed` may not look at."""
    may_lack = [word.split(".")[1] for word in WORDS if word.startswith(side)]
    return replace(part, **{n: None for n in may_lack if f"{side}.{n}" not in needed})


@pytest.mark.parametrize(
    "name, part", [(name, part) for name, metric in METRICS.items() for part in metric.needs]
)
def test_a_metric_that_is_given_too_little_says_what_is_lacking(name, part):
    side, field = part.split(".")
    given = {"samples": everything(0), "reference": everything(1)}
    given[side] = replace(given[side], **{field: None})
    with pytest.raises(ValueError, match=WORDS[part]):
        METRICS[name].formula(compared(**given))


@pytest.mark.parametrize("field, name", [("pool", "kid"), ("images", "memorisation")])
def test_samples_without_what_all_have_are_refused(field, name):
    fake = replace(everything(0), **{field: None})
    with pytest.raises(
        ValueError, match=f"the samples have no {field.replace('pool', 'features')}"
    ):
        METRICS[name].formula(compared(fake, everything(1)))


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_asks_for_what_it_uses_and_has_the_numbers_that_it_shows(name):
    metric = METRICS[name]
    fake = without(everything(0), "samples", metric.needs)
    real = without(everything(1), "reference", metric.needs)
    found = metric.compute(compared(fake, real, everything(2).images, everything(3).images))
    assert set(metric.headline) <= set(found)
    assert all(np.isfinite(value) for value in found.values())
    again = metric.compute(compared(fake, real, everything(2).images, everything(3).images))
    assert found == again


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_left_out_for_the_reason_of_what_is_lacking(name):
    metric = METRICS[name]
    has = dict.fromkeys(WORDS, True)
    assert metric.lacking(has) == ""
    for need in metric.needs:
        assert metric.lacking({**has, need: False}) == WORDS[need]


def test_no_two_metrics_have_a_number_of_one_name():
    c = compared(everything(0), everything(1), everything(2).images, everything(3).images)
    names = [name for metric in METRICS.values() for name in metric.compute(c)]
    assert len(names) == len(set(names))


FEWEST = {
    "fid": (2, 2),
    "fid_infinity": (10, 2),
    "fid_infinity_fit_error": (10, 2),
    "kid": (2, 2),
    "kid_standard_error": (4, 4),
    "inception_score": (2, 1),
    "inception_score_splits_mean": (20, 1),
    "inception_score_splits_std": (20, 1),
    "precision": (6, 6),
    "recall": (6, 6),
    "density": (6, 6),
    "coverage": (6, 6),
    "sfid": (2, 2),
    "class_fid": (4, 4),
    "sliced_wasserstein": (2, 2),
    "train_close": (1, 1),
    "train_distance_ratio": (1, 1),
    "train_copies": (1, 1),
    "authenticity": (1, 2),
}
"""Samples and reference images, of two classes in turn, from which on each number is defined; of
one that is not here, what its row says."""


@pytest.mark.parametrize("name", METRICS)
def test_every_number_is_defined_from_a_stated_count_on_and_none_with_a_reason_below(name):
    metric, steps = METRICS[name], (1, 2, 3, 4, 5, 6, 9, 10, 19, 20)
    pictures = lambda n: np.arange(4 * n).reshape(n, 2, 2, 1)

    def of(n, seed):
        x = draws(n, 3, seed)
        return FeatureSet(Moments.of(x), x, x, Moments.of(x), pictures(n), np.arange(n) % 2)

    for n, m in itertools.product(steps, steps):
        c = compared(of(n, 0), of(m, 1), pictures(9), pictures(20) + 1)
        found = metric.compute(c)
        assert set(metric.names) <= set(found)
        for number in metric.names:
            told = tuple(metric.fewest.get(kind, 1) for kind in ("samples", "reference images"))
            samples, references = FEWEST.get(number, told)
            value = found[number]
            if n >= samples and m >= references:
                assert np.isfinite(value), (number, n, m)
            else:
                assert "few" in value or "it needs" in value, (number, n, m, value)
    assert {name for m in METRICS.values() for name in m.names} >= set(FEWEST)


def test_a_number_that_is_not_finite_is_none():
    huge = FeatureSet(Moments(9, np.full(2, 1e200), np.eye(2)))
    near = FeatureSet(Moments(9, np.zeros(2), np.eye(2)))
    with np.errstate(over="ignore"):
        assert METRICS["fid"].compute(compared(huge, near)) == {"fid": "it is not finite"}


# Moments and Frechet distances -------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(50,), (1, 49), (20, 1, 1, 28), (25, 25)])
def test_moments_are_those_of_the_whole_whatever_the_split(sizes):
    x = 100 + draws(50, 6)  # a mean that would cancel digits of a sum of squares
    parts = np.split(x, np.cumsum(sizes)[:-1])
    total = Moments.of(parts[0])
    for part in parts[1:]:
        total = total + Moments.of(part)
    assert total.count == 50
    np.testing.assert_allclose(total.mean, x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(total.covariance, np.cov(x, rowvar=False), atol=1e-12)


def test_moments_of_an_unknown_number_cannot_be_joined():
    unknown = Moments(None, np.zeros(2), np.eye(2))
    with pytest.raises(ValueError, match="unknown size"):
        unknown + Moments.of(draws(3, 2))


def rotation(d):
    return np.linalg.qr(draws(d, d, seed=9))[0]


@pytest.mark.parametrize("ranks", [(8, 8), (8, 3), (3, 8), (4, 4), (0, 5)])
def test_frechet_of_commuting_covariances(ranks):
    """tr(A + B - 2 (A B)^(1/2)) = sum (sqrt a - sqrt b)^2, whatever eigenvalues are zero."""
    d = 8
    q, rng = rotation(d), np.random.default_rng(1)
    a, b = (np.where(np.arange(d) < rank, rng.uniform(0.1, 4, d), 0.0) for rank in ranks)
    mean, other = rng.standard_normal((2, d))
    found = frechet(Moments(None, mean, q * a @ q.T), Moments(None, other, q * b @ q.T))
    expected = np.sum((mean - other) ** 2) + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    assert found == pytest.approx(expected, abs=1e-12)


def test_frechet_is_that_of_the_matrix_square_root():
    a, b = Moments.of(draws(40, 7)), Moments.of(draws(50, 7, seed=1) @ draws(7, 7, seed=2))
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    expected = np.sum((a.mean - b.mean) ** 2)
    expected += np.trace(a.covariance + b.covariance - 2 * root.real)
    assert frechet(a, b) == pytest.approx(expected, rel=1e-10)
    assert frechet(b, a) == pytest.approx(frechet(a, b), rel=1e-12)


@pytest.mark.parametrize("n", [300, 40, 2])
def test_a_set_is_nowhere_from_itself(n):
    """Also with fewer images than features, whose covariance is singular."""
    x = 3 * draws(n, 100) + 5
    assert abs(measure("fid", x, x)["fid"]) < 1e-6


def test_fid_infinity_takes_the_samples_bias_away():
    """For d = 10 and samples of the reference's law, FID of n is about d / n + (d + d^2) / (4 n) or
    more; without that bias there remains noise, four deviations of which (0.005) are 0.02."""
    d, n = 10, 1000
    law = Moments(None, np.zeros(d), np.eye(d))
    x = draws(n, d)
    c = compared(FeatureSet(Moments.of(x), x), FeatureSet(law))
    plain = METRICS["fid"].compute(c)["fid"]
    assert plain > d / n
    assert abs(METRICS["fid_infinity"].compute(c)["fid_infinity"]) < min(0.02, plain / 2)


def test_fid_infinity_is_the_intercept_of_a_line_through_blocks():
    """By SciPy's regression on 1 / n of all, halves, thirds, quarters and fifths, all disjoint."""
    x, reference = draws(43, 3), Moments.of(draws(50, 3, seed=1))
    shuffled = x[np.random.default_rng(0).permutation(43)]
    means = [
        np.mean([frechet(reference, Moments.of(part)) for part in np.array_split(shuffled, k)])
        for k in (1, 2, 3, 4, 5)
    ]
    line = scipy.stats.linregress(np.arange(1, 6) / 43, means)
    c = compared(FeatureSet(Moments.of(x), x), FeatureSet(reference))
    found = METRICS["fid_infinity"].compute(c)
    assert found["fid_infinity"] == pytest.approx(line.intercept, rel=1e-9)
    assert found["fid_infinity_fit_error"] == pytest.approx(line.intercept_stderr, rel=1e-9)


def test_class_fid_is_the_mean_of_the_classes():
    x, y = draws(60, 3), draws(60, 3, seed=1) + 1
    labels = np.arange(60) % 3
    found = measure("class_fid", x, y, labels=labels)
    each = [frechet(Moments.of(x[labels == k]), Moments.of(y[labels == k])) for k in range(3)]
    assert [found[f"fid_class_{k}"] for k in range(3)] == pytest.approx(each)
    assert found["class_fid"] == pytest.approx(np.mean(each))


def test_a_class_that_one_set_lacks_leaves_class_fid_without_a_mean():
    """In either direction: of samples of three classes, and of a reference of two of them."""
    x, labels = draws(60, 3), np.arange(60) % 3
    two = FeatureSet(Moments.of(x), x, labels=np.arange(60) % 2)
    three = FeatureSet(Moments.of(x), x, labels=labels)
    for samples, reference, kind in ((three, two, "reference images"), (two, three, "samples")):
        found = METRICS["class_fid"].compute(compared(samples, reference))
        assert found["class_fid"] == "1 of 3 classes have too few images"
        assert found["fid_class_2"] == f"it needs 2 {kind} of the class, and there are 0"
        assert found["fid_class_0"] >= 0


def test_sfid_is_of_spatial_features():
    near, far = Moments(9, np.zeros(3), np.eye(3)), Moments(9, np.full(3, 2.0), np.eye(3))
    c = compared(FeatureSet(near, spatial=near), FeatureSet(near, spatial=far))
    assert METRICS["sfid"].compute(c)["sfid"] == pytest.approx(12.0)


# Kernel distance ---------------------------------------------------------------------------------


def test_mmd_is_the_sum_over_pairs():
    x, y = draws(5, 3), draws(7, 3, seed=1) + 0.5
    k = lambda a, b: (a @ b / 3 + 1) ** 3
    off = lambda s: np.mean([k(a, b) for a, b in itertools.permutations(s, 2)])
    cross = np.mean([k(a, b) for a in x for b in y])
    assert mmd2(x, y) == pytest.approx(off(x) + off(y) - 2 * cross, rel=1e-12)


def test_kid_is_unbiased_on_split_halves():
    """Pairs within random halves and across them are alike, all of distinct images: the mean over
    splits is 0, within four standard errors for 200. With the diagonal, which the biased form has,
    it would not be. kid's own standard error agrees with the spread."""
    x = draws(400, 5)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        order = rng.permutation(400)
        found.append(measure("kid", x[order[:200]], x[order[200:]]))
    values = np.asarray([f["kid"] for f in found])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(200)
    errors = np.asarray([f["kid_standard_error"] for f in found])
    assert 0.7 < np.sqrt(np.mean(errors**2)) / values.std() < 1.4
    diagonal = np.mean((np.sum(x**2, axis=1) / 5 + 1) ** 3) / 20  # of each of ten blocks
    assert 2 * diagonal > 20 * values.std() / np.sqrt(200)


@pytest.mark.parametrize("fake, real, count", [
    (4, 5, 2),  # as many blocks as there are pairs
    (9, 40, 4),
    (25, 41, 10),  # if there are images enough
    (12_000, 24, 12),  # none of more than a thousand
    (12_001, 26, 13),
])  # fmt: skip
def test_kid_is_the_mean_over_blocks_that_share_no_image(fake, real, count, monkeypatch):
    blocks = []

    def recorded(x, y):
        blocks.append((x, y))
        return float(len(blocks) ** 2)

    monkeypatch.setattr(kernel, "mmd2", recorded)
    x, y = np.arange(real, dtype=float)[:, None], np.arange(fake, dtype=float)[:, None]
    found = measure("kid", x, y)
    assert len(blocks) == count
    for number, whole in ((0, x), (1, y)):
        sizes = [len(pair[number]) for pair in blocks]
        assert max(sizes) - min(sizes) <= 1
        together = np.concatenate([pair[number] for pair in blocks])
        assert not np.array_equal(together, whole)  # in random order
        np.testing.assert_array_equal(np.sort(together, axis=0), whole)
    values = np.arange(1, len(blocks) + 1) ** 2
    assert found["kid"] == pytest.approx(values.mean())
    error = scipy.stats.sem(values)
    assert found["kid_standard_error"] == pytest.approx(error)


def test_kid_sees_a_shift():
    found = measure("kid", draws(500, 5), draws(300, 5, seed=1) + 0.5)
    assert found["kid"] > 5 * found["kid_standard_error"] > 0


# Inception score ---------------------------------------------------------------------------------


def score(logits):
    c = compared(FeatureSet(Moments.of(logits), logits=logits), FeatureSet(Moments.of(logits)))
    return METRICS["inception_score"].compute(c)


def test_inception_score_of_sure_and_of_unsure_classifiers():
    assert score(np.zeros((50, 7)))["inception_score"] == pytest.approx(1.0)
    sure = 100.0 * np.eye(7)[np.arange(70) % 7]
    found = score(sure)
    assert found["inception_score"] == pytest.approx(7.0)
    assert found["inception_score_splits_mean"] == pytest.approx(7.0)
    assert found["inception_score_splits_std"] == pytest.approx(0.0, abs=1e-6)


def test_inception_score_of_large_logits_does_not_overflow():
    logits = 1e4 * np.eye(2)[np.arange(20) % 2]
    assert score(logits)["inception_score"] == pytest.approx(2.0)
    assert score(-logits)["inception_score"] == pytest.approx(2.0)


def test_inception_score_is_exp_of_the_mean_divergence():
    logits = draws(40, 5)
    p = scipy.special.softmax(logits, axis=1)
    split = [scipy.special.rel_entr(q, q.mean(0)).sum(1).mean() for q in np.split(p, 10)]
    found = score(logits)
    whole = np.exp(scipy.special.rel_entr(p, p.mean(0)).sum(1).mean())
    assert found["inception_score"] == pytest.approx(whole)
    assert found["inception_score_splits_mean"] == pytest.approx(np.exp(split).mean())
    assert found["inception_score_splits_std"] == pytest.approx(np.exp(split).std())


# Nearest neighbours ------------------------------------------------------------------------------


def test_precision_recall_density_coverage_are_the_loops():
    real, fake = draws(30, 2), 0.7 * draws(25, 2, seed=1) + 0.4
    distance = lambda a, b: np.linalg.norm(a - b)
    radius = lambda x, k: [sorted(distance(a, b) for b in x)[k] for a in x]
    r3, r5, f3 = radius(real, 3), radius(real, 5), radius(fake, 3)
    inside = lambda a, centres, radii: [
        distance(a, c) <= r for c, r in zip(centres, radii, strict=True)
    ]
    expected = {
        "precision": np.mean([any(inside(a, real, r3)) for a in fake]),
        "recall": np.mean([any(inside(a, fake, f3)) for a in real]),
        "density": np.mean([sum(inside(a, real, r5)) for a in fake]) / 5,
        "coverage": np.mean([any(distance(a, c) <= r for a in fake)
                             for c, r in zip(real, r5, strict=True)]),
    }  # fmt: skip
    found = measure("precision_recall", real, fake)
    assert found == pytest.approx(expected)
    assert min(found.values()) > 0
    assert max(found[k] for k in ("precision", "recall", "coverage")) < 1


def test_what_lies_on_the_surface_of_a_ball_is_in_it():
    """On a line, of integers whose mean is 0, so that squared distances are exact."""
    comb = np.asarray([-5.0, -3.0, -1.0, 1.0, 3.0, 5.0])[:, None]
    far = np.asarray([-103.0, -101.0, -11.0, 11.0, 101.0, 103.0])[:, None]
    # 11 is at 6 from 5, whose third neighbour is -1, and at 8 from 3, whose fifth is -5.
    assert measure("precision_recall", far, comb)["recall"] == pytest.approx(2 / 6)
    found = measure("precision_recall", comb, far)
    assert found["precision"] == pytest.approx(2 / 6)
    assert found["density"] == pytest.approx(4 / 30)
    assert found["coverage"] == pytest.approx(4 / 6)


def test_a_missing_mode_costs_recall_and_not_precision():
    a, b = draws(100, 3), draws(100, 3, seed=1) + 100
    found = measure("precision_recall", np.concatenate([a, b]), a)
    assert found["precision"] == 1
    assert found["recall"] == 0.5
    assert found["coverage"] == 0.5
    assert measure("precision_recall", a, b)["precision"] == 0


def test_neighbours_keep_their_digits_far_from_the_origin():
    x = draws(20, 2) * 1e-3 + 1e4
    gaps = np.linalg.norm(x[:, None] - x[None], axis=2)
    (first,) = neighbour_distances(x, 1)
    np.testing.assert_allclose(np.sqrt(first), np.sort(gaps, axis=1)[:, 1], rtol=1e-6)
    distance, number = nearest_neighbours(x[:5], x)
    assert list(number) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(distance, 0, atol=1e-15)


def test_pieces_of_the_pairs_make_no_difference(monkeypatch):
    real, fake = draws(30, 2), 0.7 * draws(25, 2, seed=1) + 0.4
    compute = lambda: {n: measure(n, real, fake) for n in ("precision_recall", "authenticity")}
    whole = compute()
    monkeypatch.setattr(manifold, "ROWS", 7)
    assert compute() == whole


def test_a_part_of_many_is_drawn_at_random_and_always_the_same(monkeypatch):
    assert chosen_rows(4, 4).tolist() == [0, 1, 2, 3]
    part = chosen_rows(1000, 100)
    assert len(set(part)) == 100
    assert np.all(np.diff(part) > 0)
    assert part[-1] > 900 > part[50] > 100 > part[0] >= 0
    assert part.tolist() == chosen_rows(1000, 100).tolist()
    real, fake = draws(50, 2), draws(60, 2, seed=1)
    expected = measure("precision_recall", real[chosen_rows(50, 20)], fake[chosen_rows(60, 20)])
    monkeypatch.setattr(manifold, "MOST", 20)
    assert measure("precision_recall", real, fake) == expected


def test_a_sample_at_its_neighbours_own_distance_is_no_new_draw():
    """On a line: 5 is as far from 4 as 3 is, its nearest; 6 is farther, 4.5 is nearer."""
    real = np.asarray([[0.0], [1.0], [3.0], [4.0]])
    for place, share in ((4.5, 0.0), (5.0, 0.0), (6.0, 1.0)):
        assert measure("authenticity", real, np.asarray([[place]])) == {"authenticity": share}


# Copies ------------------------------------------------------------------------------------------


def images(n, seed):
    return np.random.default_rng(seed).integers(0, 17, (n, 4, 4, 1)).astype(np.uint8)


def test_copies_are_told_from_new_images():
    train, test = images(200, 0), images(100, 1)

    def of(samples):
        flat = samples.reshape(len(samples), -1).astype(float)
        own = FeatureSet(Moments.of(flat), flat, images=samples)
        real = train.reshape(len(train), -1).astype(float)
        c = compared(own, FeatureSet(Moments.of(real), real), train, test)
        return METRICS["memorisation"].compute(c) | METRICS["authenticity"].compute(c)

    new = of(test)
    assert new["train_close"] == pytest.approx(0.05, abs=0.011)
    assert new["train_distance_ratio"] == 1
    assert new["train_copies"] == 0
    # Distances to the nearest of 200 and of 199: nearly even odds; 0.5 / sqrt(100) a deviation.
    assert abs(new["authenticity"] - 0.5) < 0.2
    half = of(np.concatenate([train[:50], test[:50]]))
    assert half["train_copies"] == 0.5
    assert of(train)["authenticity"] == 0


def test_memorisation_is_the_loops():
    train, test, fake = images(30, 0), images(24, 1), images(20, 2)
    fake[:3] = train[:3]
    fake[3:6] = train[3:6]
    fake[3:6, 0, 0, 0] += 1  # one level off: no copies, but near
    squared = lambda a, b: float(np.sum((a.astype(float) - b.astype(float)) ** 2))
    nearest = lambda a: np.sort([min(squared(x, y) for y in train) for x in a])
    own, new = nearest(fake), nearest(test)
    x = draws(9, 2)
    samples = FeatureSet(Moments.of(x), x, images=fake)
    c = compared(samples, FeatureSet(Moments.of(x)), train, test)
    assert METRICS["memorisation"].compute(c) == pytest.approx({
        # Between the second and the third of 24 lies the part 0.05 of them, at 1.15.
        "train_close": np.mean(own < 0.85 * new[1] + 0.15 * new[2]),
        "train_distance_ratio": np.sqrt((own[9] + own[10]) / (new[11] + new[12])),
        "train_copies": 3 / 20,
    })  # fmt: skip


def test_as_far_as_held_out_images_are_is_not_close():
    def at(*steps):
        pictures = np.zeros((len(steps), 4, 4, 1), np.uint8)
        pictures[:, 0, 0, 0] = steps
        return pictures

    x = draws(9, 2)
    samples = FeatureSet(Moments.of(x), x, images=at(1, 2))
    c = compared(samples, FeatureSet(Moments.of(x)), at(0), at(*[2] * 20))
    assert METRICS["memorisation"].compute(c) == pytest.approx({
        "train_close": 0.5, "train_distance_ratio": (2.5 / 4) ** 0.5, "train_copies": 0.0,
    })  # fmt: skip


def test_held_out_images_that_were_trained_on_are_no_measure_of_closeness():
    train = images(40, 0)
    measured = lambda test: METRICS["memorisation"].compute(
        compared(FeatureSet(Moments.of(draws(9, 2)), images=images(9, 2)), FeatureSet(
            Moments.of(draws(9, 2))), train, test)
    )  # fmt: skip
    half = measured(np.concatenate([train[:15], images(10, 3)]))
    assert half["train_close"] == "5% of the held-out images are training images"
    assert half["train_distance_ratio"] == "50% of the held-out images are training images"
    few = measured(np.concatenate([train[:5], images(20, 3)]))
    assert few["train_close"] == half["train_close"]
    assert few["train_distance_ratio"] > 0
    assert measured(images(19, 3))["train_close"] == (
        "it needs 20 held-out images, and there are 19"
    )


def test_sliced_distance_along_a_line_is_that_of_quantiles():
    """In one dimension every direction is the same; of n and 2 n, two follow each other."""
    x, y = draws(30, 1), 2 * draws(30, 1, seed=1) + 0.3
    gaps = np.sort(x, axis=0) - np.sort(y, axis=0)
    assert measure("sliced", x, y)["sliced_wasserstein"] == pytest.approx(
        np.sqrt(np.mean(gaps**2)), rel=1e-12
    )
    twice = np.sort(draws(60, 1, seed=2), axis=0)
    gaps = np.sort(x, axis=0) - twice.reshape(30, 2).mean(axis=1, keepdims=True)
    for one, other in ((x, twice), (twice, x)):
        found = measure("sliced", one, other)["sliced_wasserstein"]
        assert found == pytest.approx(np.sqrt(np.mean(gaps**2)), rel=1e-12)


def test_sliced_distance_of_a_shifted_set():
    """Along a unit direction u a shift by c moves every quantile by c.u, whose mean square is
    |c|^2 / d over directions: 256 of them leave 5% of doubt (four deviations are 18%)."""
    x, c = draws(300, 8), np.full(8, 0.5)
    found = measure("sliced", x, x + c)["sliced_wasserstein"]
    assert found == pytest.approx(np.sqrt(c @ c / 8), rel=0.2)
    assert measure("sliced", x, x[::-1])["sliced_wasserstein"] == pytest.approx(0, abs=1e-12)
    # Sets of other sizes: every image twice is the same law.
    assert measure("sliced", x, np.repeat(x, 2, axis=0))["sliced_wasserstein"] < 0.02
