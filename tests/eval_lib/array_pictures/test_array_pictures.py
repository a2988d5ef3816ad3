"""Pictures of arrays: everything labelled, scales that hold the data, contours that hold mass."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from eval_lib import array_metrics, array_pictures, plotting
from eval_lib.array_pictures.base import shown
from eval_lib.array_pictures.corner import contour_levels


def draws(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.fixture
def figures(monkeypatch):
    """Figures that are drawn while a test runs, without their pixels."""
    made, close = [], plotting.pyplot().close
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    monkeypatch.setattr(plotting.pyplot(), "close", made.append)
    yield made
    for figure in made:
        close(figure)


def texts(figure):
    """All that is written, apart from numbers along axes."""
    found = [text.get_text() for text in figure.texts]
    found += [figure.get_suptitle()]
    for panel in figure.axes:
        found += [panel.get_title(), panel.get_xlabel(), panel.get_ylabel()]
    legends = [panel.get_legend() for panel in figure.axes] + figure.legends
    found += [t.get_text() for legend in legends if legend for t in legend.get_texts()]
    return [text for text in found if text]


def drawn(panel):
    return panel.axison and (panel.has_data() or panel.images)


UNITS = ("m", "K")
NAMES = ("height", "heat")
LABELS = {"height (m)", "heat (K)"}
CASES = {
    "corner": ((2,), LABELS | {"density", "samples (n = 9)", "data (n = 8)", "truth"}),
    "lines": ((12, 2), LABELS | {
        "position", "samples (n = 9)", "data (n = 8)", "truth", "median", "central 90%",
        "central 50%", "the first 3"}),
    "images": ((6, 9, 2), LABELS | {
        "sample 0", "sample 3", "data 0", "data 3", "truth", "position, axis 0",
        "position, axis 1"}),
    "slices": ((6, 5, 4, 2), LABELS | {
        "sample 0, axis 0 at 3", "sample 1, axis 1 at 2", "data 1, axis 2 at 2",
        "truth, axis 0 at 3", "position, axis 0", "position, axis 2"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_a_picture_is_chosen_by_the_shape_and_says_what_it_shows(kind, figures):
    shape, words = CASES[kind]
    array_pictures.picture_of(
        draws(0, 9, *shape), draws(1, 8, *shape), NAMES, units=UNITS, truth=draws(2, *shape),
        title="weather",
    )  # fmt: skip
    (figure,) = figures
    assert words <= set(texts(figure))
    assert figure.get_suptitle().startswith("weather")
    for panel in filter(drawn, figure.axes):  # labels of inner panels are those of the outer ones
        across = panel.xaxis.get_tick_params().get("labelbottom", True)
        bar = panel.get_label() == "<colorbar>"
        assert panel.get_xlabel() or not across or bar, panel


def test_samples_alone_are_shown_alone(figures):
    for shape in ((2,), (12, 2), (6, 9, 1), (3, 4, 5, 1)):
        array_pictures.picture_of(draws(0, 4, *shape))
    for figure in figures:
        said = " ".join(texts(figure))
        assert "data" not in said
        assert "truth" not in said
        assert "feature 0" in said or "channel 0" in said


@pytest.mark.parametrize(
    "shape, words",
    [((11,), "the first 10 of 11 features"), ((4, 7), "the first 6 of 7 channels"),
     ((3, 2, 7), "the first 6 of 7 channels"), ((2, 2, 2, 4), "the first 3 of 4 channels")],
)  # fmt: skip
def test_a_picture_says_what_it_leaves_out(shape, words, figures):
    array_pictures.picture_of(draws(0, 3, *shape))
    assert words in figures[0].get_suptitle()


@pytest.mark.parametrize("shape", [(2,), (5, 1), (4, 4, 1)], ids=str)
def test_constants_and_single_samples_are_pictures(shape):
    one = np.ones((1, *shape), np.int64)
    with Image.open(io.BytesIO(array_pictures.picture_of(one, one > 0))) as picture:
        assert min(picture.size) > 100


def test_a_corner_of_many_samples_has_shades_and_contours_and_counts_those_outside(figures):
    x, y = draws(0, 400, 2), draws(1, 300, 2)
    x[:7, 1] = 99
    array_pictures.picture_of(x, y)
    (figure,) = figures
    assert figure.get_suptitle() == "samples outside: 7"
    assert "data (n = 300); contours hold 50% and 90%" in texts(figure)
    pair = figure.axes[2]
    assert not pair.get_lines()  # no dots
    assert len(pair.collections) == 2


def test_histograms_are_densities_whatever_the_counts(figures):
    x = draws(0, 4000, 1)
    array_pictures.picture_of(x, x[:1000])
    areas = []
    for patch in figures[0].axes[0].patches:
        corners = patch.get_path().vertices
        x, y = corners[:, 0], corners[:, 1]
        areas.append(abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2)
    assert areas[0] == pytest.approx(1, abs=0.01)
    assert len(areas) == 2


def test_contours_hold_their_share_of_the_mass():
    grid = np.linspace(-4, 4, 201)
    density = np.exp(-0.5 * (grid[:, None] ** 2 + grid**2))
    outer, inner = contour_levels(density)
    share = lambda level: density[density >= level].sum() / density.sum()
    assert share(outer) == pytest.approx(0.9, abs=0.002)
    assert share(inner) == pytest.approx(0.5, abs=0.002)
    # exp(-r^2 / 2) of mass 1 - level within: the level itself.
    assert (outer, inner) == pytest.approx((0.1, 0.5), abs=0.003)
    assert not len(contour_levels(np.ones((3, 3))))


def test_scales_are_those_of_the_data_and_hold_the_truth():
    data = np.linspace(0, 1, 1001)[:, None]
    scale = lambda samples, **more: shown(samples[:, None], data, **more).scale(0)
    assert scale(data[:, 0]) == pytest.approx((0.001, 0.999))
    assert scale(np.linspace(-0.2, 1.1, 9)) == pytest.approx((-0.2, 1.1), abs=0.01)
    assert scale(np.asarray([-1e9, 1e9])) == pytest.approx((-0.498, 1.498))
    assert scale(data[:, 0], truth=np.asarray([7.0])) == pytest.approx((0.001, 7))
    assert shown(np.ones((5, 1))).scale(0) == (0.5, 1.5)


def test_bands_hold_their_share_of_the_samples(figures):
    x = np.linspace(0, 1, 101)[:, None, None] + np.zeros((1, 4, 1))
    array_pictures.picture_of(x)
    found = [band.get_paths()[0].vertices[:, 1] for band in figures[0].axes[0].collections]
    ends = [(y.min(), y.max()) for y in found]
    assert np.allclose(ends, [(0.05, 0.95), (0.25, 0.75)])


def test_lines_say_which_share_of_the_values_their_scale_leaves_out(figures):
    x, y = np.linspace(0, 1, 500).reshape(50, 10, 1), np.linspace(0, 1, 500).reshape(50, 10, 1)
    x.flat[:2] = 99, -99
    array_pictures.picture_of(x, y)
    samples, data = (panel.get_title() for panel in figures[0].axes)
    assert samples == "samples (n = 50); 0.004 of the values outside"
    assert data == "data (n = 50)"


def test_images_share_the_scale_of_their_channel(figures):
    x = draws(0, 3, 4, 5, 2) * [1.0, 100.0]
    array_pictures.picture_of(x, x)
    spans = [panel.images[0].get_clim() for panel in figures[0].axes if panel.images]
    first, second = set(spans[:6]), set(spans[6:])
    assert len(first) == len(second) == 1
    assert max(first)[1] * 10 < max(second)[1]


def test_calibration_is_drawn_beside_what_calibrated_models_have(figures):
    truths = draws(0, 200, 2)
    samples = truths[:, None] + draws(1, 200, 1, 2) + 0.3 * draws(2, 200, 19, 2)
    c = array_metrics.ensembles(samples, truths, names=("a", "b"))
    array_pictures.ranks_png(c, "moons")
    array_pictures.coverage_png(c)
    ranks, coverage = figures
    assert {"a", "b", "found", "99% of calibrated models", "rank of 200 truths among 19 samples",
            "share, relative to uniform", "moons"} <= set(texts(ranks))  # fmt: skip
    assert {"a", "b", "TARP", "calibrated", "level", "share of 200 truths covered"} <= set(
        texts(coverage)
    )
    values = ranks.axes[0].patches[0].get_data().values
    assert values.mean() == pytest.approx(1)
    assert values[0] > 2 < values[-1]  # samples are too narrow
    lines = coverage.axes[0].get_lines()
    assert lines[0].get_ydata()[50] < 0.4
    band = coverage.axes[0].collections[0].get_paths()[0].vertices
    half = band[np.isclose(band[:, 0], 0.5)][:, 1]
    # 2.576 deviations of the share of 200 that have it by 1/2.
    assert (half.min(), half.max()) == pytest.approx((0.41, 0.59), abs=0.01)


def test_many_entries_are_shown_in_part(figures):
    c = array_metrics.ensembles(draws(0, 20, 5, 4, 4), draws(1, 20, 4, 4))
    array_pictures.ranks_png(c)
    array_pictures.coverage_png(c)
    for figure in figures:
        assert "the first 12 of 16 entries looked at" in figure.get_suptitle()
    assert "channel 3 at (2)" in texts(figures[0])


def test_spectra_of_samples_and_data_are_lines_of_their_channel(figures):
    x = draws(0, 30, 8, 8, 2)
    array_pictures.spectra_png(
        array_metrics.paired(x * [2.0, 1.0], x, names=("u", "v"), periodic=True), "wind"
    )
    (figure,) = figures
    assert {"u", "v", "30 samples", "30 held-out fields", "frequency, cycles per grid step",
            "wind"} <= set(texts(figure))  # fmt: skip
    ours_, theirs = (line.get_ydata() for line in figure.axes[0].get_lines()[:2])
    np.testing.assert_allclose(ours_, 4 * theirs)
    with pytest.raises(ValueError, match="vectors have no spatial axes"):
        array_pictures.spectra_png(array_metrics.paired(x[:, 0, 0], x[:, 0, 0]))


@pytest.mark.parametrize("length", [128, 1000])
def test_labels_of_frequencies_do_not_overlap(length, figures):
    x = draws(0, 3, length, 2)
    array_pictures.spectra_png(array_metrics.paired(x, x))
    (figure,) = figures
    figure.canvas.draw()
    panel = figure.axes[0]
    low, high = panel.bbox.x0 - 1, panel.bbox.x1 + 1
    boxes = [tick.label1.get_window_extent() for tick in panel.xaxis.get_major_ticks()]
    boxes = [box for box in boxes if low <= (box.x0 + box.x1) / 2 <= high]
    assert boxes
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


X = draws(0, 5, 4)
REFUSED = [
    ((np.where(X > 1, np.nan, X),), {}, "have values that are not finite"),
    ((X, X * np.nan), {}, "data: 5 of 5 have values that are not finite"),
    ((X[:0],), {}, "there are no samples to show"),
    ((X, X[:, :2]), {}, r"data must have the samples' shape \(4,\), got \(2,\)"),
    ((X,), {"truth": X}, r"truth must have the samples' shape \(4,\), got \(5, 4\)"),
    ((X,), {"truth": X[0] * np.nan}, "truth: 1 of 1"),
    ((X,), {"units": ("m",)}, "units must be 4, one for each feature"),
    ((X, None, ("a",)), {}, "names must be 4 different ones"),
    ((X[:, 0],), {}, "give numbers as vectors of one feature"),
    ((np.ones((2,) * 6),), {}, r"no picture of arrays with 4 spatial axes \(at most 3\)"),
]


@pytest.mark.parametrize("arguments, more, words", REFUSED)
def test_what_cannot_be_shown_is_refused_in_one_line(arguments, more, words):
    with pytest.raises(ValueError, match=words) as info:
        array_pictures.picture_of(*arguments, **more)
    assert "\n" not in str(info.value)
