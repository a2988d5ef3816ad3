"""`--mode likelihood`, `encode` and `interpolate` as a user meets them, on a tiny network."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import main
import models
from configs import command_line
from data_lib import Images, Splits
from data_lib.base import fingerprint
from data_lib.codec import GrayLevels
from data_lib.transforms import to_unit
from eval_lib.likelihood.coder import Coder
from eval_lib.likelihood.data_law import pixel_moments
from modes import latents
from modes.images import chosen
from runtime_lib import batches
from runtime_lib.results import Parts
from sde_lib import VP
from tests import tiny

PICTURES = np.zeros((3, 8, 8, 1), np.float32)
SIXTEENTHS = np.arange(192, dtype=np.uint8).reshape(3, 8, 8, 1) % np.uint8(17)
LABELS = {"labels": np.arange(3)}
ROUGH = {"eval__eps": 1e-2, "eval__rtol": 1e-2, "eval__atol": 1e-2, "eval__num_images": 6}
"""The network has seen two batches: its flow is rough, and what counts is what is written."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    tiny.register()
    folder = tmp_path_factory.mktemp("trained") / "run"
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        assert main.main(tiny.arguments("train", folder, training__n_iters=2)) == 0
    yield folder
    del models.NETWORKS["tiny"]


@pytest.fixture
def run(trained, tmp_path, capsys):
    """run(mode, **settings) -> (exit code, stdout, stderr) in a copy of the trained workdir."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)

    def call(mode, **settings):
        capsys.readouterr()
        flow = "bound" not in settings.get("eval__likelihood", "flow")
        rough = {name: value for name, value in ROUGH.items() if flow or "tol" not in name}
        code = main.main(tiny.arguments(mode, folder, **(rough | settings)))
        said = capsys.readouterr()
        return code, said.out, said.err

    call.folder = folder
    return call


def size(picture):
    with Image.open(picture) as opened:
        return opened.size


def read(folder):
    with np.load(folder / "likelihood.npz") as arrays:
        return dict(arrays), json.loads((folder / "likelihood.json").read_text())


def test_a_report_says_what_its_table_holds(run):
    code, out, _ = run("likelihood", eval__num_probes=3, eval__repeats=2, eval__batch_size=4)
    assert code == 0
    rows, report = read(run.folder / "likelihood")
    assert rows["log_prob"].shape == (6, 2, 3)
    bits = report["bits_per_dim"]
    assert bits["mean"] == pytest.approx(rows["bits_per_dim"].mean())
    assert bits["mean"] == pytest.approx(-rows["log_prob"].mean() / 64 / np.log(2))
    assert bits["standard_error"] == pytest.approx(rows["bits_per_dim"].std(ddof=1) / 6**0.5)
    assert report["nats"]["mean"] == pytest.approx(rows["nats"].mean())
    assert bits["of_probes"] > 0
    assert bits["of_repeats"] > 0
    assert (report["images"], report["not_finite"], report["data"]) == (6, 0, "digits (test)")
    assert report["eval"]["num_probes"] == 3
    assert f"{bits['mean']:.4f} +- {bits['standard_error']:.4f} bits/dim over 6 examples" in out
    text = (run.folder / "likelihood" / "likelihood.md").read_text()
    assert f"{bits['mean']:.4f}" in text
    of_probes = f"{bits['of_probes']:.4f} | {report['nats']['of_probes']:.3f}"
    assert f"| part of it due to probes | {of_probes} |" in text
    assert "eval.num_probes = 3" in text
    law = "the covariance of 1500 training examples"
    assert report["prior_mismatch_from"] == law
    assert f"The prior mismatch is that of a Gaussian with {law}." in text
    assert size(run.folder / "likelihood" / "likelihood.png")[0] > 500
    assert not (run.folder / "likelihood" / "parts").exists()


def test_what_was_cut_short_goes_on_and_ends_in_the_same_numbers(run, monkeypatch):
    settings = {"eval__batch_size": 2, "eval__repeats": 2}
    put, kept = Parts.put, []

    def stop_at_the_fourth(self, name, arrays):
        put(self, name, arrays)
        kept.append(name)
        if len(kept) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Parts, "put", stop_at_the_fourth)
    assert run("likelihood", **settings)[0] == 130
    code, out, _ = run("likelihood", **settings)
    assert code == 0
    assert "4 of 6 batches are finished" in out
    assert len(kept) == len(set(kept)) == 6
    whole, _ = read(run.folder / "likelihood")
    # Other batches are other programs: the same numbers to round-off and the tolerance.
    assert run("likelihood", eval__batch_size=5, eval__repeats=2)[0] == 0
    again, _ = read(run.folder / "likelihood")
    np.testing.assert_allclose(again["log_prob"], whole["log_prob"], rtol=1e-4)


def test_results_of_other_settings_are_moved_aside(run):
    assert run("likelihood")[0] == 0
    first = (run.folder / "likelihood" / "likelihood.npz").read_bytes()
    code, out, _ = run("likelihood", eval__likelihood="bound", eval__bound_draws=2)
    assert code == 0
    assert "other settings: moved to" in out
    assert (run.folder / "likelihood_1" / "likelihood.npz").read_bytes() == first
    _, report = read(run.folder / "likelihood")
    assert set(report["bits_per_dim"]["terms"]) == {"prior", "reconstruction", "diffusion"}
    assert "prior_mismatch_from" not in report
    assert report["evaluations"] == 4


def test_the_kernels_variance_is_another_setting(run):
    settings = {"eval__likelihood": "discrete_bound", "eval__bound_steps": 3,
                "eval__dequantization": "none"}  # fmt: skip
    kept = {}
    for variance in ("posterior", "kernel"):
        code, out, _ = run("likelihood", sampling__ancestral_variance=variance, **settings)
        assert code == 0
        kept[variance] = read(run.folder / "likelihood")
    assert "other settings: moved to" in out
    assert np.all(kept["posterior"][0]["nats"] != kept["kernel"][0]["nats"])
    assert kept["kernel"][1]["ancestral_variance"] == "kernel"


def test_terms_of_a_bound_add_up_to_it(run):
    """For integer levels: the code's length is the sum of the lengths of its parts."""
    settings = {"eval__likelihood": "discrete_bound", "eval__bound_steps": 3}
    assert run("likelihood", eval__dequantization="none", **settings)[0] == 0
    _, report = read(run.folder / "likelihood")
    for unit in ("bits_per_dim", "nats"):
        total = sum(report[unit]["terms"].values())
        assert report[unit]["mean"] == pytest.approx(total, rel=1e-5)
    assert report["evaluations"] == 4


def test_likelihoods_are_of_the_guided_model_and_count_its_network_evaluations(run):
    """The tiny network looks at no class, so that guidance changes nothing but the account."""
    settings = {"eval__likelihood": "bound", "eval__bound_draws": 2}
    guided = {"sampling__guidance": 3.0}
    assert run("likelihood", **settings)[0] == 0
    plain_rows, plain = read(run.folder / "likelihood")
    code, out, _ = run("likelihood", **settings, **guided)
    assert code == 0
    assert "other settings: moved to" in out  # a guided model is another
    assert "of the guided model" in out
    rows, report = read(run.folder / "likelihood")
    assert (plain["guidance"], plain["evaluations"], report["evaluations"]) == (None, 4, 8)
    assert report["guidance"]["guidance"] == 3
    assert "guided (classifier_free)" in (run.folder / "likelihood/likelihood.md").read_text()
    np.testing.assert_allclose(rows["nats"], plain_rows["nats"], rtol=1e-5)


def save(folder, **arrays):
    np.savez(folder / "mine.npz", **arrays)
    return {"eval__images": folder / "mine.npz"}


def test_images_of_a_file_have_log_densities(run, tmp_path):
    images = np.random.default_rng(0).random((3, 8, 8, 1)).astype(np.float32)
    mine = save(tmp_path, images=images, labels=np.arange(3))
    # In batches of two, the last of which has one to fill it up.
    settings = {"eval__units": "nats", "eval__num_images": 0, "eval__batch_size": 2}
    code, out, _ = run("likelihood", **settings, **mine)
    assert code == 0
    rows, report = read(run.folder / "likelihood")
    assert rows["nats"].shape == (3,)
    assert report["data"] == "mine.npz"
    text = (run.folder / "likelihood" / "likelihood.md").read_text()
    assert f"{report['nats']['terms']['truncation']:.5f}" in text
    assert not any("bits" in told for told in (*rows, *report, text, out))


def test_a_file_that_has_changed_is_another_file(run, tmp_path, monkeypatch):
    """Neither its finished batches nor its results are taken for those of its old content."""
    images = np.random.default_rng(0).random((4, 8, 8, 1)).astype(np.float32)
    settings = {"eval__units": "nats", "eval__likelihood": "bound", "eval__bound_draws": 2,
                "eval__batch_size": 2, "eval__num_images": 0}  # fmt: skip

    def evaluate():
        return run("likelihood", **settings, **save(tmp_path, images=images, labels=np.arange(4)))

    put = Parts.put

    def stop_at_the_first(self, name, arrays):
        put(self, name, arrays)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Parts, "put", stop_at_the_first)
        assert evaluate()[0] == 130
    images[3] = 1 - images[3]
    code, out, _ = evaluate()
    assert code == 0
    assert "are finished: going on" not in out
    before = read(run.folder / "likelihood")[0]["nats"]
    images[2] = 1 - images[2]
    code, out, _ = evaluate()
    assert code == 0
    assert "other settings: moved to" in out
    after = read(run.folder / "likelihood")[0]["nats"]
    assert np.array_equal(before == after, [True, True, False, True])
    assert np.array_equal(read(run.folder / "likelihood_1")[0]["nats"], before)


@pytest.mark.parametrize("values, range, levels", [
    (SIXTEENTHS, (0, 16), 17),
    (SIXTEENTHS.astype(np.int64) + 3, (3, 19), 17),
    (SIXTEENTHS / np.float32(8) - 1, (-1, 1), None),
    (SIXTEENTHS * np.float32(255 / 16), (0, 255), None),
])  # fmt: skip
def test_images_of_a_file_are_of_the_range_that_is_stated(tmp_path, values, range, levels):
    config = command_line.load(str(tiny.CONFIG), {"model.num_classes": "0"})
    config.eval.images, config.eval.range = str(tmp_path / "x.npy"), range
    np.save(tmp_path / "x.npy", values)
    of_data = Splits(*[Images(SIXTEENTHS, None, 17)] * 2, "digits")
    found, name = chosen(config, of_data)
    assert (found.levels, name) == (levels, "x.npy")
    # one rounding of float32 in making the values, one in taking them back
    np.testing.assert_allclose(to_unit(found.pixels, levels), SIXTEENTHS / 16, atol=2e-7)


def test_images_are_known_by_all_that_they_hold():
    pixels, labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1), np.arange(2)
    changed = pixels.copy()
    changed[1, 2, 3] += 1
    others = [
        Images(pixels, labels, 256),
        Images(changed, labels, 256),
        Images(pixels.reshape(2, 4, 3, 1), labels, 256),
        Images(pixels.view(np.int8), labels, 256),
        Images(pixels, labels, 24),
        Images(pixels, labels[::-1], 256),
        Images(pixels, None, 256),
    ]
    assert len({fingerprint(images) for images in others}) == len(others)
    backwards = Images(pixels[::-1].copy()[::-1], labels.copy(), 256)
    assert fingerprint(backwards) == fingerprint(others[0])


@pytest.mark.parametrize("centered", [False, True])
def test_moments_are_of_the_networks_range(centered):
    pixels = np.random.default_rng(0).integers(0, 17, (50, 2, 3, 1)).astype(np.uint8)
    mean, variance = pixel_moments(Images(pixels, None, 17), GrayLevels(centered))
    span = 2 if centered else 1
    # Values are rounded to float32.
    np.testing.assert_allclose(mean, span * pixels.mean(axis=0) / 16 - centered, atol=1e-6)
    np.testing.assert_allclose(variance, span**2 * pixels.var(axis=0) / 256, rtol=1e-6)


def test_batches_are_as_even_as_they_can_be_and_filled_up_with_the_last_image():
    assert [batches.even(total, 4) for total in (1, 4, 5, 6, 9, 100)] == [1, 4, 3, 3, 3, 4]
    assert batches.numbers(3, 3, 5, devices=2).tolist() == [3, 4, 4, 4]
    assert batches.numbers(0, 4, 9, devices=2).tolist() == [0, 1, 2, 3]


NAMES = {
    "split": ({"eval__split": "valid"}, "eval.split", "test, train"),
    "likelihood": ({"eval__likelihood": "flows"}, "eval.likelihood", "flow"),
    "units": ({"eval__units": "bits"}, "eval.units", "nats"),
    "bins": ({"eval__bins": "eqal"}, "eval.bins", "equal"),
    "dequantization": ({"eval__dequantization": "normal"}, "eval.dequantization", "uniform"),
    "no dequantization": ({"eval__dequantization": "none"}, "eval.likelihood=bound"),
    "trace": ({"eval__trace": "exac"}, "eval.trace", "exact"),
    "probe": ({"eval__probe": "normal"}, "eval.probe", "gaussian"),
    "solver": ({"eval__ode_solver": "rk45"}, "eval.ode_solver", "dopri5"),
    "clock": ({"eval__ode_clock": "snr"}, "eval.ode_clock", "log_snr"),
    "levels": ({"eval__likelihood": "discrete_bound"}, "eval.bound_steps"),
    "draws": ({"eval__likelihood": "bound", "eval__importance_samples": 2}, "must be 1"),
}  # fmt: skip
FILES = {
    "continuous": ({"images": PICTURES, **LABELS}, "eval.units=bits_per_dim", "eval.units=nats"),
    "NaN": ({"images": PICTURES * np.nan, **LABELS}, "NaN", "mine.npz"),
    "shape": ({"images": np.zeros((3, 9, 8, 1), np.float32), **LABELS}, "8x8x1", "9x8x1"),
    "no labels": ({"images": PICTURES}, "no labels", "'labels'"),
    "labels": ({"images": PICTURES, "labels": np.arange(3) + 8}, "0..9", "8 to 10"),
    "levels": ({"images": PICTURES.astype(np.uint8), **LABELS}, "17 levels", "256"),
    "digits": ({"images": SIXTEENTHS, **LABELS}, "no value is above 16", "eval.range=0,16"),
    "centered": (
        {"images": SIXTEENTHS / np.float32(8) - 1, **LABELS},
        "-1 to 1",
        "eval.range=-1,1",
    ),
    "one-hot": ({"images": PICTURES, "labels": np.eye(3)}, "has no labels", "[labels] must be 3"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_setting_is_refused_in_one_line(run, name):
    settings, *words = NAMES[name]
    code, _, error = run("likelihood", **settings)
    assert code == 2
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    assert not (run.folder / "likelihood").exists()


@pytest.mark.parametrize("name", FILES)
def test_bad_images_are_refused_in_one_line(run, name, tmp_path):
    arrays, *words = FILES[name]
    code, _, error = run("likelihood", eval__num_images=0, **save(tmp_path, **arrays))
    assert code == 2
    assert error.count("\n") == 1
    assert all(word in error for word in words), error


def test_an_empty_workdir_is_refused(run):
    shutil.rmtree(run.folder)
    code, _, error = run("likelihood")
    assert code == 2
    assert "--mode train" in error


CLOSE = {"eval__rtol": 1e-4, "eval__atol": 1e-4, "eval__batch_size": 4}
"""Five or six images are batches of three, of which the last of five has one to fill it up."""


def test_codes_are_written_and_decode_to_their_images(run):
    code, out, _ = run("encode", **CLOSE)
    assert code == 0
    folder = run.folder / "latents"
    report = json.loads((folder / "latents.json").read_text())
    with np.load(folder / "latents.npz") as arrays:
        assert arrays["z"].shape == arrays["images"].shape == (6, 8, 8, 1)
        error = np.sqrt(np.mean((arrays["decoded"] - arrays["images"]) ** 2))
        assert error == pytest.approx(report["round_trip_rms"]["mean"], rel=0.2)
        assert arrays["labels"].shape == (6,)
    assert error < 1e-2
    assert "decoded again within" in out
    # Three rows of six images of 8 pixels, four times as large, 2 pixels of white between.
    assert size(folder / "latents.png") == (6 * 34 + 2, 3 * 34 + 2)


def test_codes_are_told_in_units_of_the_prior_and_scaled_by_the_temperature(run, monkeypatch):
    monkeypatch.setattr(VP, "prior_std", property(lambda self: np.float32(2.0)))
    settings = {**CLOSE, "eval__temperature": 0.0}
    assert run("encode", **settings)[0] == 0
    folder = run.folder / "latents"
    with np.load(folder / "latents.npz") as arrays:
        z, decoded = arrays["z"], arrays["decoded"]
    report = json.loads((folder / "latents.json").read_text())
    assert report["code_std"] == pytest.approx(z.std() / 2, rel=1e-5)
    np.testing.assert_array_equal(decoded, np.broadcast_to(decoded[:1], decoded.shape))
    assert run("interpolate", **settings)[0] == 0
    with np.load(run.folder / "interpolations" / "interpolations.npz") as arrays:
        assert not np.any(arrays["z"])


def test_codes_of_a_file_that_has_changed_are_other_codes(run, tmp_path):
    for mode, name, n in (("encode", "latents", 5), ("interpolate", "interpolations", 6)):
        images, labels = np.zeros((n, 8, 8, 1), np.float32), np.arange(n)
        for content in (images, 1 - images):
            code, out, _ = run(mode, **CLOSE, **save(tmp_path, images=content, labels=labels))
            assert code == 0
            assert ("other settings: moved to" in out) == (content is not images)
        for folder, value in ((name, 1), (f"{name}_1", 0)):
            with np.load(run.folder / folder / f"{name}.npz") as arrays:
                assert arrays["z"].shape[0] == (n if mode == "encode" else n // 2)
                assert abs(arrays["images"] - value).max() < 0.1


def test_what_cannot_be_written_and_what_cannot_be_read_are_told_apart(run, monkeypatch):
    (run.folder / "latents").touch()
    code, _, error = run("encode")
    assert code == 2
    assert f"cannot write to {run.folder / 'latents'}" in error

    def unreadable(*_):
        raise OSError(5, "Input/output error", "checkpoints/2")

    monkeypatch.setattr(latents, "load_score", unreadable)
    for mode in ("encode", "interpolate"):
        code, _, error = run(mode)
        assert code == 2
        assert error == "error: checkpoints/2: the disk reports an input/output error\n"


def test_one_image_has_nothing_to_be_interpolated_to(run, tmp_path):
    one = save(tmp_path, images=np.zeros((1, 8, 8, 1), np.float32), labels=np.arange(1))
    code, _, error = run("interpolate", **one)
    assert code == 2
    assert "mine.npz holds one example" in error


@pytest.mark.parametrize("split", ["test", pytest.param("prior", marks=pytest.mark.slow)])
def test_interpolations_begin_and_end_at_the_images(run, split, monkeypatch):
    given, decode = [], Coder.decode
    monkeypatch.setattr(Coder, "decode", lambda *args: given.append(args[-1]) or decode(*args))
    assert run("interpolate", eval__split=split, eval__interpolations=5, **CLOSE)[0] == 0
    folder = run.folder / "interpolations"
    with np.load(folder / "interpolations.npz") as arrays:
        images, z = arrays["images"], arrays["z"]
    assert images.shape == z.shape == (3, 5, 8, 8, 1)
    norms = np.sqrt((z**2).sum(axis=(2, 3, 4)))
    assert np.all(norms[:, 2] > 0.9 * norms[:, [0, 4]].min(axis=1))  # as long as codes are
    if split == "test":
        assert run("encode", **CLOSE)[0] == 0
        with np.load(run.folder / "latents" / "latents.npz") as arrays:
            np.testing.assert_allclose(images[:, 0], arrays["images"][0::2], atol=0.05)
            np.testing.assert_allclose(images[:, 4], arrays["images"][1::2], atol=0.05)
            first, last = arrays["labels"][0::2, None], arrays["labels"][1::2, None]
        nearer = np.where(np.arange(5) < 2, first, last)
        np.testing.assert_array_equal(given[0].reshape(3, 5), nearer)
        assert np.any(first != last)
    assert size(folder / "interpolations.png") == (5 * 34 + 2, 3 * 34 + 2)
