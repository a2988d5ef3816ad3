"""Evaluation by a stated protocol: the same numbers however it is cut up, and whatever is asked."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import data_lib
import main
import models
from configs import command_line
from eval_lib.features import extractors, featuring, reference
from eval_lib.metrics import Moments
from modes.evaluation import cells
from modes.evaluation.draws import Draws
from modes.generator import Generator
from runtime_lib.results import Parts
from tests import tiny

QUIET = lambda message: None


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    tiny.register()
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    with jax.numpy_dtype_promotion("standard"):  # optax takes powers of Python and int32 numbers
        given = {"training__n_iters": 2, "model__extra_ema_rates": "(0.5,)"}
        assert main.main(tiny.arguments("train", folder, **given)) == 0
    yield folder
    del models.NETWORKS["tiny"]


def run(workdir, mode="eval", **settings):
    given = {"model__extra_ema_rates": "(0.5,)"}
    if mode == "eval":
        given |= {"eval__num_samples": 10, "eval__repeats": 2}
    if mode != "sample":
        given |= {"eval__batch_size": 500}
    return main.main(tiny.arguments(mode, workdir, **given | settings))


def copy(workdir, tmp_path):
    return shutil.copytree(workdir, tmp_path / "run")


def report(workdir):
    return json.loads((workdir / "evaluation" / "report" / "report.json").read_text())


@pytest.fixture(scope="module")
def finished(workdir, tmp_path_factory):
    """A workdir with the report of two checkpoints and two averages."""
    folder = shutil.copytree(workdir, tmp_path_factory.mktemp("finished") / "run")
    assert run(folder, eval__checkpoints="all", eval__ema_rates="(0.5, 0)") == 0
    return folder


# The report --------------------------------------------------------------------------------------


def test_the_report_states_what_is_needed_to_get_it_again(finished):
    found = report(finished)
    told = found["protocol"]
    assert told["extractor"].startswith("digits network sha256=")
    assert told["reference"]["dataset"] == "digits"
    assert told["reference"]["count"] == 1500
    assert len(told["reference"]["sha256"]) == 64
    assert told["not_computed"] == {"sfid": "the extractor has no spatial features"}
    assert (told["num_samples"], told["repeats"], told["levels"]) == (10, 2, 17)
    assert told["config"]["sde.name"] == "vp"
    rows = [cell["identity"] for cell in found["cells"]]
    assert [(r.get("step"), r.get("ema_rate")) for r in rows] == [
        (1, 0.5), (1, 0.0), (2, 0.5), (2, 0.0), (None, None),
    ]  # fmt: skip
    assert len({r.get("weights") for r in rows}) == 5
    assert rows[0]["sampling"]["predictor"] == "euler_maruyama"


def test_every_number_has_mean_deviation_and_least_over_repeats(finished):
    drawn, *_, held_out = report(finished)["cells"]
    # Ten images, one of each class.
    none = {name: numbers["none"] for name, numbers in drawn["metrics"].items()
            if numbers["mean"] is None}  # fmt: skip
    assert none == {
        "inception_score_splits_mean": "it needs 20 samples, and there are 10",
        "inception_score_splits_std": "it needs 20 samples, and there are 10",
        "class_fid": "10 of 10 classes have too few images",
    } | {f"fid_class_{k}": "it needs 2 samples of the class, and there are 1" for k in range(10)}
    assert drawn["metrics"]["class_fid"]["values"] == [None, None]
    for numbers in (found for name, found in drawn["metrics"].items() if name not in none):
        values = numbers["values"]
        assert len(values) == 2
        assert numbers["mean"] == pytest.approx(np.mean(values))
        assert numbers["min"] == min(values)
        assert numbers["std"] == pytest.approx(np.std(values, ddof=1))
    assert drawn["metrics"]["fid"]["std"] > 0  # the second set is of other samples
    assert held_out["count"] == 297
    assert held_out["metrics"]["fid"]["std"] is None
    assert held_out["metrics"]["fid"]["mean"] < drawn["metrics"]["fid"]["mean"]
    for split in ("held_out", "train"):
        assert len(drawn["curves"][split]) == len(drawn["curves"]["log_snr"]) == 20
        assert drawn["model"][f"noise_error_{split}"] == pytest.approx(
            np.mean(drawn["curves"][split])
        )


def test_the_page_and_the_pictures_can_be_looked_at(finished):
    folder = finished / "evaluation" / "report"
    page = (folder / "report.md").read_text()
    assert "| fid |" in page
    assert "| class_fid | none: 10 of 10 classes have too few images |" in page
    assert page.count("| images | " + 4 * "10 in each of 2 sets | " + "297 |") == 1
    assert page.count("| not finite (black) | 0 | 0 | 0 | 0 | 0 |") == 1
    assert "sfid: the extractor has no spatial features" in page
    for name in ("samples.png", "nearest.png", "curve.png", "noise_error.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 60
    assert len(list(folder.glob("samples_step_*.png"))) == 3


class Stopped(BaseException):
    """A kill, as far as Python can tell."""


FEW_METRICS = {"eval__metrics": "fid, kid, memorisation"}


@pytest.fixture(scope="module")
def undisturbed(workdir, tmp_path_factory):
    """The report of an evaluation that nothing cut short."""
    folder = shutil.copytree(workdir, tmp_path_factory.mktemp("undisturbed") / "run")
    assert run(folder, **FEW_METRICS) == 0
    return (folder / "evaluation" / "report" / "report.json").read_bytes()


@pytest.mark.parametrize("where, count", [("draw", 2), ("draw", 5), ("features", 3), ("write", 1)])
def test_a_killed_evaluation_ends_as_an_undisturbed_one(
    workdir, undisturbed, tmp_path, monkeypatch, where, count
):
    """Three draws of 4 in each of two sets; features of 1,500 images and of each set in batches."""
    folder = copy(workdir, tmp_path)
    owner, name = {
        "draw": (Generator, "draw"),
        "features": (featuring.Featurer, "__call__"),
        "write": (main.importlib.import_module("modes.evaluate"), "write"),
    }[where]
    original, calls = getattr(owner, name), []

    def dies(*arguments, **named):
        calls.append(1)
        if len(calls) == count:
            raise Stopped
        return original(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, dies)
        with pytest.raises(Stopped):
            run(folder, **FEW_METRICS)
    before = len(calls)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, lambda *a, **k: calls.append(1) or original(*a, **k))
        assert run(folder, **FEW_METRICS) == 0
    assert (folder / "evaluation" / "report" / "report.json").read_bytes() == undisturbed
    total = {"draw": 6, "features": 3 + 2 + 1, "write": 1}[where]
    assert len(calls) - before == total - (count - 1)  # nothing is done twice


def test_other_metrics_need_no_new_samples(finished, monkeypatch, capsys):
    monkeypatch.setattr(Generator, "draw", None)
    before = (finished / "evaluation" / "report" / "report.json").read_bytes()
    settings = {"eval__checkpoints": "2", "eval__ema_rates": "(0.5,)", "eval__held_out": False}
    assert run(finished, eval__metrics="sliced", eval__repeats=1, **settings) == 0
    assert "a report made with other settings" in capsys.readouterr().out
    kept = finished / "evaluation" / "report_1" / "report.json"
    assert kept.read_bytes() == before
    assert list(report(finished)["cells"][0]["metrics"]) == ["sliced_wasserstein"]
    shutil.rmtree(finished / "evaluation" / "report")
    kept.parent.rename(kept.parent.with_name("report"))


def test_another_training_of_as_many_updates_is_another_model(workdir, tmp_path):
    """The numbers kept for a step are of its weights, not of its name."""
    folder = copy(workdir, tmp_path)
    settings = {"eval__metrics": "fid", "eval__repeats": 1, "eval__held_out": False}
    assert run(folder, **settings) == 0
    first = report(folder)["cells"][0]
    shutil.rmtree(folder / "checkpoints")
    (folder / "config.json").unlink()
    with jax.numpy_dtype_promotion("standard"):
        given = {"training__n_iters": 2, "model__extra_ema_rates": "(0.5,)", "seed": 7}
        assert main.main(tiny.arguments("train", folder, **given)) == 0
    assert run(folder, **settings) == 0
    second = report(folder)["cells"][0]
    assert second["identity"]["weights"] != first["identity"]["weights"]
    assert second["metrics"]["fid"]["mean"] != first["metrics"]["fid"]["mean"]


def test_one_sample_has_no_distance_and_the_page_says_so(workdir, tmp_path, capsys):
    folder = copy(workdir, tmp_path)
    settings = {"eval__num_samples": 1, "eval__repeats": 1, "eval__held_out": False}
    assert run(folder, **settings) == 0
    assert "fid none: it needs 2 samples, and there are 1" in capsys.readouterr().out
    metrics = report(folder)["cells"][0]["metrics"]
    assert metrics["fid"]["mean"] is None
    assert metrics["train_copies"]["mean"] == 0
    page = (folder / "evaluation" / "report" / "report.md").read_text()
    for name, least in {"fid": 2, "fid_infinity": 10, "kid": 2, "inception_score": 2,
                        "precision": 6, "sliced_wasserstein": 2}.items():  # fmt: skip
        assert f"| {name} | none: it needs {least} samples, and there are 1 |" in page
    assert "nan" not in page


def test_samples_that_are_not_finite_are_counted_among_all(workdir, tmp_path, monkeypatch):
    """Drawn ones, over all sets, and those of a file, whose number is the file's."""
    folder, draw = copy(workdir, tmp_path), Generator.draw

    def spoiled(generator, first, count):
        drawn = draw(generator, first, count)
        drawn["samples"] = np.array(drawn["samples"])
        drawn["samples"][0, 1, 2] = np.inf  # one of every four
        return drawn

    monkeypatch.setattr(Generator, "draw", spoiled)
    settings = {"eval__metrics": "fid", "eval__held_out": False}
    assert run(folder, **settings) == 0
    page = (folder / "evaluation" / "report" / "report.md").read_text()
    assert "| images | 10 in each of 2 sets |" in page
    assert "| not finite (black) | 6 |" in page
    assert "6 of the 20 images of step 2, EMA 0.999 were not finite" in page
    file = tmp_path / "mine.npz"
    samples = np.full((7, 8, 8, 1), 0.5, np.float32)
    samples[[2, 5], 0, 0] = np.nan
    np.savez(file, samples=samples)
    assert run(tmp_path / "empty", eval__samples=file, **settings) == 0
    page = (tmp_path / "empty" / "evaluation" / "report" / "report.md").read_text()
    assert "| images | 7 |" in page
    assert "| not finite (black) | 2 |" in page
    assert "num_samples" not in page


def test_the_likelihood_of_one_image_has_no_error(workdir, tmp_path, capsys):
    folder = copy(workdir, tmp_path)
    rough = {"eval__eps": 1e-2, "eval__rtol": 1e-2, "eval__atol": 1e-2, "eval__num_images": 1}
    given = {"eval__metrics": "fid, bits_per_dim", "eval__repeats": 1, "eval__held_out": False}
    assert run(folder, **rough, **given) == 0
    model = report(folder)["cells"][0]["model"]
    assert model["bits_per_dim_images_not_finite"] == 0
    page = (folder / "evaluation" / "report" / "report.md").read_text()
    assert f"| bits_per_dim | {model['bits_per_dim']:.4g} |" in page
    assert "| bits_per_dim_standard_error | none: it needs 2 images |" in page
    assert f"bits_per_dim {model['bits_per_dim']:.4g}" in capsys.readouterr().out


# Samples and reference from files ----------------------------------------------------------------


def test_samples_of_a_file_need_no_model(tmp_path):
    splits = digits()
    file = tmp_path / "mine.npz"
    np.savez(file, samples=splits.test.pixels / np.float32(16), labels=splits.test.labels)
    assert run(tmp_path / "empty", eval__samples=file, eval__repeats=1) == 0
    own, held_out = report(tmp_path / "empty")["cells"]
    numbers = {k: v["mean"] for k, v in own["metrics"].items()}
    assert numbers["train_close"] == pytest.approx(0.05, abs=0.004)
    for name in ("fid", "kid", "precision", "inception_score"):
        assert numbers[name] == held_out["metrics"][name]["mean"]
    assert "noise_error" in report(tmp_path / "empty")["protocol"]["not_computed"]


LEVELS = np.arange(192, dtype=np.uint8).reshape(3, 8, 8, 1) % np.uint8(17)  # of the digits
UNIT = LEVELS / np.float32(16)
SCALES = {
    "unit": (UNIT, "()"),
    "half": (UNIT.astype(np.float16), "()"),
    "centered": (2 * UNIT - 1, "(-1, 1)"),
    "bytes as floats": (255 * UNIT, "(0, 255)"),
    "bytes": (np.rint(255 * UNIT).astype(np.uint8), "(0, 255)"),
    "levels": (LEVELS, "(0, 16)"),
    "levels of 64 bits": (LEVELS.astype(np.int64), "(0, 16)"),
    "16 bits": (LEVELS.astype(np.uint16) * np.uint16(4095), "(0, 65520)"),
}


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_samples_are_the_same_on_any_scale_that_is_known(tmp_path, name, suffix):
    values, range = SCALES[name]
    file = tmp_path / f"x.{suffix}"
    np.save(file, values) if suffix == "npy" else np.savez(file, values, np.arange(3))
    told: list[str] = []
    drawn = cells.given(config(eval__samples=file, eval__range=range), 17, told.append)
    np.testing.assert_array_equal(drawn.pixels, LEVELS)
    assert (drawn.labels is not None, drawn.not_finite, told) == (suffix == "npz", 0, [])


# (samples, levels of the data, eval.range, what the message must say)
UNKNOWN = {
    "centered": (2 * UNIT - 1, 17, "()", "run from -1 to 1: scale it, or set eval.range=-1,1, or "
                                         "0,1 to clip it"),
    "bytes as floats": (255 * UNIT, 17, "()", "0 to 255: scale it, or set eval.range=0,255"),
    "bytes": (np.rint(255 * UNIT).astype(np.uint8), 17, "()",
              "has 256 levels, the data has 17 levels: set eval.range=0,16 if it has them too, "),
    "levels": (LEVELS, 17, "()", "no value is above 16: set eval.range=0,16 or 0,255"),
    "levels of 64 bits": (LEVELS.astype(int), 17, "()", "int64 from 0 to 16: set eval.range=0,16"),
    "levels of other data": (LEVELS, 256, "()", "no value is above 16"),
    "beyond a range": (255 * UNIT.astype(int), 256, "(0, 16)", "must lie in eval.range=0,16"),
    "NaN": (UNIT * np.nan, 17, "()", "without NaN"),
    "nearly": (UNIT * np.float32(1.1) - np.float32(0.05), 17, "()", "or 0,1 to clip it"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_samples_of_an_unknown_scale_are_refused_with_the_choices(tmp_path, name):
    values, levels, range, message = UNKNOWN[name]
    np.save(tmp_path / "x.npy", values)
    asked = config(eval__samples=tmp_path / "x.npy", eval__range=range)
    with pytest.raises(ValueError, match=r"\A.*eval\.samples.+\Z") as info:
        cells.given(asked, levels, QUIET)
    assert message in str(info.value)


def test_what_is_clipped_or_not_finite_in_samples_is_said(tmp_path):
    values = UNIT.copy()
    values[0, 0, 0] = 1.5
    values[1, 0, 0] = np.nan
    file = tmp_path / "x.npz"
    for stated, range in (({}, "(0, 1)"), ({"range": [0.0, 1.0]}, "()")):
        np.savez(file, samples=values, **stated)
        told: list[str] = []
        drawn = cells.given(config(eval__samples=file, eval__range=range), 17, told.append)
        assert (drawn.pixels[0, 0, 0, 0], drawn.pixels[1, 0, 0, 0], drawn.not_finite) == (16, 0, 1)
        assert told == [
            "eval.samples: 0.52% of the values lie outside of their range and are clipped",
            "eval.samples: 1 of 3 images are not finite",
        ]


def test_samples_drawn_here_are_measured_without_a_setting(workdir, tmp_path, capsys):
    """They may lie outside of [0, 1]: their file says that this is their range."""
    folder = copy(workdir, tmp_path)
    assert run(folder, "sample") == 0
    file = folder / "samples" / "samples.npz"
    with np.load(file) as arrays:
        assert arrays["range"].tolist() == [0, 1]
        assert arrays["samples"].min() < 0  # a tiny network, hardly trained
    found = cells.given(config(eval__samples=file), 17, QUIET)
    assert found.labels is not None


def digits():
    return data_lib.load(config().data, log=QUIET)


def config(**settings):
    given = {name.replace("__", "."): str(value) for name, value in settings.items()}
    return command_line.load(str(tiny.CONFIG), given)


def published(kind, mean, covariance, x):
    return {
        "edm": {"mu": mean, "sigma": covariance},
        "adm": {"mu": mean, "sigma": covariance, "mu_s": mean[:2], "sigma_s": covariance[:2, :2]},
        "score_sde": {"pool_3": x.astype(np.float32)},
    }[kind]


@pytest.mark.parametrize("kind", ["edm", "adm", "score_sde"])
def test_published_statistics_are_read(tmp_path, kind):
    x = np.random.default_rng(0).standard_normal((90, 64))
    moments = Moments.of(x)
    file = tmp_path / "cifar10-32x32.npz"
    np.savez(file, **published(kind, moments.mean, moments.covariance, x))
    found = reference.read(file, extractors.build(config(), digits()))
    np.testing.assert_allclose(found.features.moments.mean, moments.mean, atol=1e-6)
    np.testing.assert_allclose(found.features.moments.covariance, moments.covariance, atol=1e-6)
    assert (found.features.pool is None) == (kind != "score_sde")
    assert (found.features.spatial is None) == (kind != "adm")
    assert found.info["extractor"] == "the file does not say"


def test_a_reference_of_moments_leaves_out_what_needs_more(workdir, tmp_path):
    folder = copy(workdir, tmp_path)
    np.savez(tmp_path / "edm.npz", mu=np.zeros(64), sigma=np.eye(64))
    settings = {"eval__reference": tmp_path / "edm.npz", "eval__held_out": False}
    assert run(folder, eval__repeats=1, **settings) == 0
    found = report(folder)
    assert "only their moments" in found["protocol"]["not_computed"]["kid"]
    assert {"fid", "fid_infinity", "inception_score", "train_close"} <= set(
        found["cells"][0]["metrics"]
    )


# Extractors --------------------------------------------------------------------------------------


def test_an_extractor_of_ones_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("SCALE = 2.0\n\ndef corners(images):\n    return SCALE * images[:, 0, :2, 0]\n")
    found = extractors.build(config(eval__extractor=f"{file}:corners"), digits())
    images = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(found.network(jnp.asarray(images)).pool, 2 * images[:, 0, :2, 0])
    old = found.identity
    file.write_text(file.read_text() + "# changed\n")
    assert extractors.build(config(eval__extractor=f"{file}:corners"), digits()).identity != old


@pytest.mark.parametrize("name", ["digits", "pca", "pixels"])
@pytest.mark.parametrize("size", [7, 64])
def test_features_do_not_depend_on_the_batch(tmp_path, name, size):
    splits = digits()
    extractor = extractors.build(config(eval__extractor=name), splits)
    pixels = splits.test.pixels[:20]
    featurer = featuring.Featurer(extractor, size, 17)
    found = featuring.features_of(featurer, pixels, None, Parts(tmp_path, {}), "", QUIET)
    expected = np.asarray(extractor.network(jnp.asarray(pixels / np.float32(16))).pool, np.float64)
    np.testing.assert_allclose(found.pool, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.moments.mean, expected.mean(0), atol=1e-6)
    covariance = np.cov(expected, rowvar=False)
    np.testing.assert_allclose(found.moments.covariance, covariance, atol=1e-5)


def test_of_a_large_set_the_moments_are_of_all_and_some_features_are_kept(monkeypatch):
    monkeypatch.setattr(featuring, "KEPT", 6)
    x = np.random.default_rng(0).standard_normal((20, 3))
    parts = iter([{"pool": part} for part in np.split(x, [8, 16])])
    found = featuring.streamed(parts, np.arange(20), np.arange(20), 20)
    np.testing.assert_allclose(found.moments.covariance, np.cov(x, rowvar=False))
    assert len(set(found.labels)) == 6
    np.testing.assert_array_equal(found.pool, x[found.labels])


def test_components_have_unit_variance_where_the_data_has_much():
    rng = np.random.default_rng(0)
    images = (rng.standard_normal((500, 16)) * np.geomspace(1, 1e-3, 16)).reshape(500, 4, 4, 1)
    found = np.asarray(extractors.Components.of(images)(jnp.asarray(images, jnp.float32)).pool)
    deviations = found.std(0)
    large = np.geomspace(1, 1e-3, 16) > 0.15
    np.testing.assert_allclose(deviations[large], 1, rtol=1e-3)
    assert (deviations[~large] < 1).all()


# Quantization ------------------------------------------------------------------------------------


def test_samples_are_quantized_by_the_stated_rule():
    x = np.asarray([-0.2, 0.0, 0.49 / 16, 0.51 / 16, 15.6 / 16, 1.0, 1.3, np.nan])
    round_, truncate = (featuring.quantize(x, 17, rule) for rule in ("round", "truncate"))
    assert list(round_) == [0, 0, 0, 1, 16, 16, 16, 0]
    assert list(truncate) == [0, 0, 0, 0, 15, 16, 16, 0]
    assert list(featuring.quantize(np.asarray([0.5]), None, "round")) == [128]
    assert list(featuring.quantize(np.asarray([1.0]), 4096, "round")) == [4095]


def test_more_samples_begin_with_those_that_were_drawn(tmp_path):
    """Batches of 4: ten samples are drawn as twelve, and fourteen need one batch more."""
    calls = []

    class Counting:
        classes, shape, example = 0, (2, 2, 1), (2, 2, 1)

        def draw(self, first, count):
            calls.append(first)
            values = (
                np.full((count, 2, 2, 1), 0.5, np.float32)
                * np.arange(first, first + count)[:, None, None, None]
            )
            return {"samples": values / 20, "evaluations": np.full(count, 3)}

    store = lambda: Draws(tmp_path, {"step": 1}, 4)
    ten = store().drawn(Counting(), 0, 10, 256, "round", QUIET)
    more = store().drawn(Counting(), 0, 14, 256, "round", QUIET)
    assert calls == [0, 4, 8, 12]
    np.testing.assert_array_equal(more.pixels[:10], ten.pixels)
    assert (len(ten.pixels), len(more.pixels), ten.not_finite) == (10, 14, 0)


# What cannot be done -----------------------------------------------------------------------------

BAD = [
    ({"eval__metrics": "fidd"}, "did you mean 'fid'"),
    ({"eval__metrics": " , "}, "got nothing"),
    ({"eval__metrics": "fid, sfid"}, "sfid cannot be computed, the extractor has no spatial"),
    ({"eval__extractor": "inceptoin"}, "did you mean 'inception'"),
    ({"eval__extractor": "inception"}, "eval.weights must be the file of the Inception network"),
    ({"eval__extractor": "none.py:f"}, "there is no file 'none.py'"),
    ({"eval__reference": "nowhere.npz"}, "train, test, all or a .npz file of statistics"),
    ({"eval__checkpoints": "2, 77"}, "newest, all, or some of 1, 2, got '2, 77'"),
    ({"eval__ema_rates": "(0.9,)"}, "among the rates that were trained, 0.999, 0.5, or 0"),
    ({"eval__quantize": "ceil"}, "eval.quantize"),
    ({"eval__samples": "nothing.npz"}, "eval.samples must be a .npy or .npz file"),
]


@pytest.mark.parametrize("settings, message", BAD)
def test_bad_settings_are_one_line_and_nothing_is_drawn(
    workdir, tmp_path, capsys, monkeypatch, settings, message
):
    monkeypatch.setattr(Generator, "draw", None)
    folder = copy(workdir, tmp_path)
    assert run(folder, **settings) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "evaluation").exists()


def test_files_that_are_no_samples_or_statistics_are_said_to_be_so(tmp_path, capsys):
    np.savez(tmp_path / "levels.npz", samples=np.zeros((4, 8, 8, 1), np.uint8))
    np.savez(tmp_path / "large.npz", samples=np.zeros((4, 9, 9, 1), np.float32))
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    np.savez(tmp_path / "wide.npz", mu=np.zeros(7), sigma=np.eye(7))
    (tmp_path / "damaged.npz").write_bytes(b"PK nothing")
    for settings, message in (
        ({"eval__samples": tmp_path / "levels.npz"}, "the data has 17 levels"),
        ({"eval__samples": tmp_path / "large.npz"}, "[n, 8, 8, 1]"),
        ({"eval__reference": tmp_path / "other.npz"}, "must have mu [d] and sigma [d, d]"),
        ({"eval__reference": tmp_path / "damaged.npz"}, "damaged or cut off"),
        ({"eval__reference": tmp_path / "wide.npz"}, "is of 7 features"),
    ):
        samples = {"eval__samples": tmp_path / "levels.npz"} if len(settings) == 0 else {}
        good = {"eval__samples": tmp_path / "good.npz"}
        np.savez(tmp_path / "good.npz", samples=np.zeros((4, 8, 8, 1), np.float32))
        assert run(tmp_path / "run", **good | samples | settings) == 2
        assert message in capsys.readouterr().err
