"""Comparisons by all metrics that fit, their units, what they refuse, and their page."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from eval_lib import array_metrics
from eval_lib.array_metrics import NamedShape, Scale
from eval_lib.array_metrics.base import Pair, named
from eval_lib.array_metrics.table import CALIBRATION, DISTANCES

QUICK = tuple(name for name in DISTANCES if name != "c2st")
"""All that train no network."""


def draws(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


SHAPES = [(1,), (3,), (8, 2), (4, 6, 1), (5, 3, 2), (3, 2, 4, 2), (2, 2, 3, 2, 1), (700,)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_arrays_of_any_shape_have_all_numbers_that_fit_them(shape):
    metrics = [name for name in QUICK if not DISTANCES[name].lacking(NamedShape(shape).has)]
    x, y = draws(0, 12, *shape).astype(np.float32), draws(1, 9, *shape).astype(np.float32)
    found = array_metrics.compare(x, y, metrics=metrics)
    assert found == array_metrics.compare(x, y, metrics=metrics)
    reasons = {name: value for name, value in found.items() if isinstance(value, str)}
    assert reasons == ({"correlation_rms": "there is a single number"} if shape == (1,) else {})
    assert all(np.isfinite(value) for name, value in found.items() if name not in reasons)
    assert ("log_spectral_distance" in found) == (len(shape) > 1)
    assert ("channel_correlation_rms" in found) == (len(shape) > 1 and shape[-1] > 1)
    for metric in metrics:
        assert {*DISTANCES[metric].names, *DISTANCES[metric].headline} <= found.keys()


def test_by_default_all_that_fit_are_computed(monkeypatch):
    quick = lambda *units, **more: LogisticRegression()
    monkeypatch.setattr("sklearn.neural_network.MLPClassifier", quick)
    found = array_metrics.compare(draws(0, 12, 4, 2), draws(1, 12, 4, 2))
    assert {name for metric in DISTANCES.values() for name in metric.names} <= found.keys()
    vectors = array_metrics.compare(draws(0, 12, 2), draws(1, 12, 2))
    assert {name for name in found if "channel" not in name and "spectral" not in name} == set(
        vectors
    )


def test_numbers_of_different_metrics_have_different_names():
    pair = array_metrics.paired(draws(0, 12, 4, 2), draws(1, 12, 4, 2))
    names = [name for metric in DISTANCES.values() for name in metric.compute(pair)]
    assert len(names) == len(set(names))


def test_the_stated_counts_are_a_variance_or_two_of_each_in_every_fold():
    counts = {name: set(metric.fewest.values()) for name, metric in DISTANCES.items()}
    assert counts == {name: {10 if name == "c2st" else 2} for name in DISTANCES}


@pytest.mark.parametrize(("channels", "told"), [(16, 16), (17, 0)])
def test_channels_are_named_up_to_16(channels, told):
    assert len(named("x", np.ones(channels), NamedShape((4, channels)))) == told


@pytest.mark.parametrize("name", DISTANCES)
def test_a_distance_is_told_from_a_stated_count_on_and_the_reason_below(name):
    metric = DISTANCES[name]
    for n, m in ((1, 20), (20, 1), (2, 2), (3, 4), (4, 3), (4, 4), (9, 10), (10, 10)):
        pair = Pair(draws(0, n, 4, 2), draws(1, m, 4, 2), NamedShape((4, 2)), (False,))
        found = metric.compute(pair)
        least = metric.fewest["samples"]
        enough = min(n, m) >= least
        for number in metric.names:
            with_error = enough and (min(n, m) >= 4 or "standard_error" not in number)
            assert isinstance(found[number], str) != with_error, (number, n, m)


@pytest.mark.parametrize("name", DISTANCES)
def test_units_make_no_difference(name):
    """Powers of two are exact in floating point."""
    x, y = draws(0, 14, 4, 2), draws(1, 12, 4, 2) + 1
    plain = array_metrics.compare(x, y, metrics=(name,))
    unit = np.asarray([16.0, 0.125])
    assert array_metrics.compare(x * unit, y * unit, metrics=(name,)) == plain


def test_units_are_those_of_the_held_out_data_or_as_given():
    x, y = draws(0, 300, 2) + 3, draws(1, 300, 2) * [2.0, 1.0] + 3
    moved = x + np.asarray([4.0, 0])
    of = lambda **more: array_metrics.compare(moved, x, metrics=("marginals",), **more)
    assert of()["wasserstein_1_worst"] == pytest.approx(4 / x[:, 0].std())
    scale = Scale.of(y, NamedShape((2,)), "training data")
    np.testing.assert_allclose(scale.mean, y.mean(axis=0))
    np.testing.assert_allclose(scale.std, y.std(axis=0))
    assert of(scale=scale)["wasserstein_1_worst"] == pytest.approx(4 / y[:, 0].std())


def test_small_floats_far_from_0_keep_their_digits():
    """In float32, 1e6 + z has steps of 1/16; sums of squares would have none of z."""
    z = np.round(draws(0, 400, 1) * 16) / 16
    far = (1e6 + z).astype(np.float32)
    found = array_metrics.compare(far + np.float32(1), far, metrics=("marginals",))
    assert found["wasserstein_1"] == pytest.approx(1 / z.std(), rel=1e-4)
    for other, kept in ((far, np.float32), (z, np.float64), (far.astype(int), np.float64)):
        assert array_metrics.paired(far, other).samples.dtype == kept


def test_a_channel_of_a_field_may_be_constant_somewhere():
    x, y = draws(0, 20, 5, 1), draws(1, 20, 5, 1)
    x[:, 0] = y[:, 0] = 0
    x[:, 1] = 2
    found = array_metrics.compare(x, y, metrics=QUICK_1)
    assert all(np.isfinite(value) for value in found.values())


QUICK_1 = tuple(name for name in QUICK if name != "channel_correlations")


def test_rows_without_missing_values_are_kept():
    table = draws(0, 6, 3)
    table[1, 2], table[4, 0] = np.nan, np.inf
    assert array_metrics.complete_rows(table).tolist() == table[[0, 2, 3, 5]].tolist()
    field = np.zeros((3, 2, 2, 1))
    field[1, 0, 1] = np.nan
    assert len(array_metrics.complete_rows(field)) == 2


X = draws(0, 9, 3)
NAN = np.where(np.arange(27).reshape(9, 3) % 13 == 5, np.nan, X)
UNIT = lambda c: Scale(np.zeros(c), np.ones(c))
REFUSED = [
    (NAN, X, {}, "samples: 2 of 9 have values that are not finite"),
    (X, NAN, {}, "held-out data: 2 of 9 have values that are not finite"),
    (X[:1], X, {}, "samples must be at least 2 to have a law, got 1"),
    (X, X[:0], {}, "held-out data must be at least 2 to have a law, got 0"),
    (X, X[:, :2], {}, r"samples and held-out data must be arrays of one shape, got \(3,\) and"),
    (X[:, 0], X[:, 0], {}, r"give numbers as vectors of one feature, \[n, 1\]"),
    (X[:, :0], X[:, :0], {}, "nothing empty"),
    (X[0, 0], X, {}, "samples must be an array .* got one a single value"),
    (X + 1j, X, {}, "of type complex128: give complex numbers as two channels"),
    (X.astype(str), X, {}, "of type <U"),
    (X, X * [1, 0, 1], {"names": ("a", "b", "c")}, r"b of held-out data is constant \(0\)"),
    (X, X * 0 + 0.1, {}, r"feature 0 of held-out data is constant \(0.1\)"),
    (X[..., None], X[..., None] * 0, {}, "channel 0 of held-out data is constant"),
    (X, X, {"names": ("a", "b")}, "names must be 3 different ones, one for each feature, got a, b"),
    (X, X, {"names": ("a", "b", "b")}, "names must be 3 different ones"),
    (X, X, {"metrics": ("fid",)}, "'fid' is none of sliced, mmd"),
    (X, X, {"metrics": ("spectra",)}, "spectra cannot be computed, vectors have no spatial axes"),
    (X[..., None], X[..., None], {"metrics": ("channel_correlations",)}, "have one channel"),
    (X, X, {"scale": UNIT(2)}, r"scale.mean and scale.std must have shape \(3,\), got \(2,\)"),
    (X, X, {"scale": Scale(np.zeros(3), np.zeros(3))}, "scale.std finite and positive"),
    (X, X, {"scale": Scale(np.full(3, np.nan), np.ones(3))}, "scale.mean must be finite"),
    (X[..., None], X[..., None], {"periodic": (True, True)}, "must be one value or 1, one for eac"),
]


@pytest.mark.parametrize("samples, held_out, more, words", REFUSED)
def test_what_cannot_be_compared_is_refused_in_one_line(samples, held_out, more, words):
    with pytest.raises(ValueError, match=words) as info:
        array_metrics.compare(samples, held_out, **more)
    assert "\n" not in str(info.value)


SAMPLES, TRUTHS = draws(0, 12, 5, 2), draws(1, 12, 2)
UNFIT = [
    (SAMPLES * np.nan, TRUTHS, {}, "samples: 12 of 12 have values that are not finite"),
    (SAMPLES, TRUTHS * np.nan, {}, "truths: 12 of 12"),
    (SAMPLES[:, :0], TRUTHS, {}, r"\[conditions, samples of each, \.\.\.\], got shape \(12, 0, 2"),
    (SAMPLES[0, 0], TRUTHS, {}, r"got shape \(2,\)"),
    (SAMPLES, TRUTHS[:5], {}, r"samples and truths must .* got \(12, 2\) and \(5, 2\)"),
    (SAMPLES[:, 0], TRUTHS, {}, r"one shape, got \(12,\) and \(12, 2\)"),
    (SAMPLES, TRUTHS * [1, 0], {}, r"feature 1 of truths is constant \(0\)"),
    (SAMPLES, TRUTHS, {"metrics": ("mmd",)}, "'mmd' is none of sbc, intervals"),
    (SAMPLES, TRUTHS, {"references": TRUTHS[:, :1]}, "references and truths"),
    (SAMPLES, TRUTHS, {"references": TRUTHS * np.nan}, "references: 12 of 12"),
    (SAMPLES, TRUTHS, {"names": ("a",)}, "names must be 2 different ones"),
]


@pytest.mark.parametrize("samples, truths, more, words", UNFIT)
def test_what_cannot_be_calibrated_is_refused_in_one_line(samples, truths, more, words):
    with pytest.raises(ValueError, match=words) as info:
        array_metrics.calibration(samples, truths, **more)
    assert "\n" not in str(info.value)


def test_the_page_has_a_row_for_each_number_and_names_places():
    columns = {
        "samples": {"mmd2": 0.012345, "x_worst_entry": 11.0, "c2st": "it needs 10 samples"},
        "held out": {"mmd2": 0.0, "y_worst_channel": 1.0},
    }
    assert array_metrics.markdown(columns, (3, 2, 2), ("u", "a|b")).splitlines() == [
        "|  | samples | held out |",
        "| --- | --- | --- |",
        "| mmd2 | 0.01235 | 0 |",
        "| x_worst_entry | a\\|b at (2, 1) |  |",
        "| c2st | none: it needs 10 samples |  |",
        "| y_worst_channel |  | a\\|b |",
    ]
    assert NamedShape((3,)).entry(2) == "feature 2"
    assert NamedShape((3, 2)).entry(3) == "channel 1 at (1)"


def test_the_documentation_names_every_metric_and_its_lines_run(monkeypatch):
    quick = lambda *units, **more: LogisticRegression()
    monkeypatch.setattr("sklearn.neural_network.MLPClassifier", quick)
    page = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()
    told = page[page.index("## Arrays that are no pictures") : page.index("## Weights")]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*) \|", told, re.M))))
    assert named == {*DISTANCES, *CALIBRATION}
    first, second = re.findall(r"```python\n(.*?)```", told, re.S)
    given = {"names": ("a", "b"), "units": ("m", "s"), "truths": draws(3, 12, 2)}
    arrays = {"samples": draws(0, 12, 2), "held_out": draws(1, 14, 2), "train": draws(2, 20, 2)}
    found = {**given, **arrays}
    exec(first, found)
    assert "| mmd2 |" in found["page"]
    found["samples"] = draws(4, 12, 5, 2)
    exec(second, found)
    assert found["numbers"]["crps[b]"] > 0
    assert {found[name][:4] for name in ("png", "ranks", "coverage")} == {b"\x89PNG"}
