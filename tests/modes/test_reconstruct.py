"""Reconstructions and edits by the command, on a tiny model: files, exactness, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import main
from configs import arrays
from configs.changed import with_settings
from configs.recorded import Recorded
from data_lib import Images, Splits
from modes.experiment import Experiment
from modes.generator import Given
from modes.model import load
from modes.problem import Problem, problem_of
from modes.reconstruct import identity_of
from sde_lib.measurements.masks import Mask
from tests import stored, tiny

pytestmark = pytest.mark.usefixtures("as_main_runs")

PLAIN = {"model__num_classes": 0}
DRAW = PLAIN | {"sampling__ema": False, "sampling__batch_size": 4, "sampling__num_steps": 3,
                "eval__num_images": 3}  # fmt: skip
ONE_EVALUATION = {"sampling__predictor": "ddim"}
OWN = """
import jax.numpy as jnp


def thinned(x):
    return 2.0 * x[:, ::2, ::2] + 1.0

def squared(x):
    return x**2

def of_the_batch(x):
    return x - x.mean(axis=0)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, as_main_runs: None) -> Path:
    """A workdir of a tiny model without classes."""
    folder = tmp_path_factory.mktemp("inverse") / "run"
    tiny.register()
    assert main.main(tiny.arguments("train", folder, **PLAIN, training__n_iters=2)) == 0
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def run(mode: str, folder: Path, *arguments: str, **settings: object) -> int:
    return main.main(tiny.arguments(mode, folder, **DRAW | settings) + list(arguments))


def width(picture: Path) -> int:
    with Image.open(picture) as image:
        return image.width


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """The last line of stderr is one error that says these words."""
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: "), error
    for word in words:
        assert word in error[-1]


def test_what_is_known_is_exact_and_results_are_kept(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {**ONE_EVALUATION, "inverse__method": "pigdm", "inverse__samples": 2}
    assert run("reconstruct", trained, "--measure", "inpaint", "--mask", "left", **asked) == 0
    folder = trained / "reconstructions"
    found = stored.arrays(folder / "reconstructions.npz")
    truth = found["truth"]
    assert found["samples"].shape == (3, 2, 8, 8, 1)
    np.testing.assert_array_equal(found["samples"][:, :, :, :4], np.stack([truth[:, :, :4]] * 2, 1))
    np.testing.assert_allclose(found["mean"], found["samples"].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(found["std"], found["samples"].std(axis=1), atol=1e-6)
    assert width(folder / "reconstructions.png") > 300
    report = json.loads((folder / "reconstructions.json").read_text())
    # Three steps and the end, forward and back.
    assert report["nfe"] == 8
    assert report["figures"]["misfit"]["mean"] == 0
    assert set(report["figures"]["coverage"]) == {"share", "expected"}
    # The same again is the same; another method leaves what was there.
    assert run("reconstruct", trained, "--measure", "inpaint", "--mask", "left", **asked) == 0
    again = stored.arrays(folder / "reconstructions.npz")["samples"]
    np.testing.assert_array_equal(again, found["samples"])
    asked["inverse__method"] = "projection"
    assert run("reconstruct", trained, "--measure", "inpaint", "--mask", "left", **asked) == 0
    assert (trained / "reconstructions_1" / "reconstructions.npz").exists()
    assert "3 measurements by projection" in capsys.readouterr().out


def test_measurements_of_a_file_and_a_function_of_the_users(
    trained: Path, own: Path, tmp_path: Path
) -> None:
    y = np.random.default_rng(0).uniform(1, 3, (2, 4, 4, 1)).astype(np.float32)
    np.save(tmp_path / "y.npy", y)
    truth = np.random.default_rng(1).uniform(size=(2, 8, 8, 1)).astype(np.float32)
    np.save(tmp_path / "truth.npy", truth)
    settings = {**ONE_EVALUATION, "inverse__noise": 0.05, "inverse__method": "mmps",
                "inverse__samples": 1, "inverse__truth": tmp_path / "truth.npy"}  # fmt: skip
    arguments = "--measure", f"{own}:thinned", "--input", str(tmp_path / "y.npy")
    settings.pop("eval__num_images", None)
    given = {k: v for k, v in DRAW.items() if k != "eval__num_images"} | settings
    command = tiny.arguments("reconstruct", trained, **given) + list(arguments)
    assert main.main(command) == 0
    found = stored.arrays(trained / "reconstructions" / "reconstructions.npz")
    # What an affine function adds is taken off.
    np.testing.assert_allclose(found["measurements"], y - 1, atol=1e-6)
    np.testing.assert_array_equal(found["truth"], truth)
    model = load(trained, {"sampling.predictor": "ddim", "sampling.num_steps": 3,
                           "sampling.ema": False, "inverse.method": "mmps"})  # fmt: skip
    drawn = model.reconstruct(y, lambda x: 2.0 * x[:, ::2, ::2] + 1.0, n=1, noise=0.05)
    np.testing.assert_allclose(drawn, found["samples"], atol=1e-5)


def test_pictures_of_a_folder_are_completed(trained: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8)).astype(np.uint8)
    for k, picture in enumerate(pixels):
        Image.fromarray(picture).save(images / f"{k}.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[::2] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    arguments = ("--measure", "inpaint", "--mask", str(tmp_path / "mask.png"),
                 "--input", str(images))  # fmt: skip
    given = {k: v for k, v in DRAW.items() if k != "eval__num_images"} | ONE_EVALUATION
    given |= {"inverse__samples": 1, "inverse__method": "diffpir"}
    command = tiny.arguments("reconstruct", trained, **given) + list(arguments)
    assert main.main(command) == 0
    found = stored.arrays(trained / "reconstructions" / "reconstructions.npz")
    known = (pixels / 255).astype(np.float32)
    np.testing.assert_array_equal(found["samples"][:, 0, ::2, :, 0], known[:, ::2])
    assert "truth" not in found


def test_edits_keep_what_the_mask_shows(trained: Path) -> None:
    assert run("edit", trained, "--mask", "top", edit__samples=2, edit__strength=0.5) == 0
    found = stored.arrays(trained / "edits" / "edits.npz")
    assert found["edits"].shape == (3, 2, 8, 8, 1)
    np.testing.assert_array_equal(found["edits"][:, 0, :4], found["examples"][:, :4])
    assert (found["edits"][:, :, 4:] != found["examples"][:, None, 4:]).mean() > 0.9
    assert width(trained / "edits" / "edits.png") > 100
    for method in ("ddim", "flow"):
        assert run("edit", trained, edit__samples=1, edit__method=method, **ONE_EVALUATION) == 0


def test_pairs_train_a_conditional_model_that_reconstructs(tmp_path: Path) -> None:
    pairs, told = tmp_path / "pairs", tmp_path / "told"
    tiny.register()
    asked = {"inverse__noise": 0.05}
    command = tiny.arguments("measure", pairs, **PLAIN | asked, sampling__batch_size=500)
    assert main.main([*command, "--measure", "inpaint", "--mask", "left"]) == 0
    written = stored.arrays(pairs / "pairs.npz")
    assert written["condition_test"].shape == (297, 8, 8, 1)
    seen = written["condition_test"][:, :, :4] - written["data_test"][:, :, :4] / 16
    assert abs(seen.std() - 0.05) < 5 * 0.05 / (2 * seen.size) ** 0.5
    assert np.isnan(written["condition_test"][:, :, 4:]).all()
    data = {"data__dataset": "array", "data__data_dir": pairs / "pairs.npz",
            "data__condition": "auto", "model__condition": "image",
            "model__name": "unet", "model__nf": 8, "model__ch_mult": "(1,)",
            "model__num_res_blocks": 1, "model__attn_resolutions": "()"}  # fmt: skip
    assert main.main(tiny.arguments("train", told, **PLAIN | data, training__n_iters=1)) == 0
    given = DRAW | data | asked | {"inverse__method": "trained", "inverse__samples": 1}
    command = tiny.arguments("reconstruct", told, **given)
    assert main.main([*command, "--measure", "inpaint", "--mask", "left"]) == 0
    found = stored.arrays(told / "reconstructions" / "reconstructions.npz")
    assert found["samples"].shape == (3, 1, 8, 8, 1)


BAD = {
    "a mask of another size": (
        {"mask": (5, 5)}, {}, ("inverse.mask must be of 8x8", "5x5"),
    ),
    "a mask that keeps nothing": (
        {"mask": None}, {}, ("inverse.mask must leave something to measure",),
    ),
    "an unknown pattern": ({"--mask": "lefft"}, {}, ("inverse.mask must be one of", "left")),
    "an unknown operator": ({"--measure": "inpait"}, {}, ("inverse.measure must be one of",)),
    "an unknown method": ({}, {"inverse__method": "mmmps"}, ("inverse.method must be one of",)),
    "no noise where it divides": (
        {}, {"inverse__method": "likelihood"}, ("divides by the noise", "inverse.noise"),
    ),
    "a measurement that is not linear": (
        {"--measure": "OWN:squared"}, {"inverse__method": "pigdm"},
        ("inverse.method='pigdm' needs a linear measurement",),
    ),
    "a measurement of the whole batch": (
        {"--measure": "OWN:of_the_batch"}, {}, ("must measure each example alone",),
    ),
    "a measurement with NaN": (
        {"--measure": "average", "--input": "nan"}, {}, ("must hold finite numbers",),
    ),
    "a measurement of another shape": (
        {"--measure": "average", "--input": "wide"}, {}, ("must hold measurements of 4x4x1",),
    ),
    "more masks than examples": (
        {"mask": (2, 8, 8)}, {}, ("one mask, or one for each of 3 examples, got 2",),
    ),
    "weights of LPIPS that are none": (
        {}, {"inverse__lpips": "OWN"}, ("inverse.lpips: ",),
    ),
    "an input that is not there": ({"--input": "nowhere"}, {}, ("inverse.input", "nowhere")),
    "a method of another sampler": (
        {}, {"inverse__method": "dps", "sampling__predictor": "heun"}, ("ddim or ancestral",),
    ),
    "a setting of another method": (
        {}, {"inverse__eta": 0.5}, ("inverse.eta=0.5 has no effect with inverse.method='mmps'",),
    ),
    "twice the same": (
        {"--mask": "left"}, {"inverse__mask": "top"}, ("--mask and --config.inverse.mask",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line(
    name: str, trained: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, settings, words = BAD[name]
    arguments = {"--measure": "inpaint", **given}
    if "mask" in arguments:
        shape = arguments.pop("mask")
        np.save(tmp_path / "mask.npy", np.ones(shape) if shape else np.zeros((8, 8)))
        arguments["--mask"] = str(tmp_path / "mask.npy")
    files = {"nan": np.full((1, 4, 4, 1), np.nan), "wide": np.ones((1, 4, 5, 1))}
    if (file := arguments.get("--input", "")) in files:
        np.save(tmp_path / "y.npy", files[file])
        arguments["--input"] = str(tmp_path / "y.npy")
    flat = [text.replace("OWN", str(own)) for pair in arguments.items() for text in pair]
    settings = {k: str(v).replace("OWN", str(own)) for k, v in settings.items()}
    assert run("reconstruct", trained, *flat, **ONE_EVALUATION | settings) == 2
    refused(capsys, *words)


def test_values_that_are_not_known_may_be_missing_and_truth_may_not(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    np.save(tmp_path / "whole.npy", x)
    x[:, 3:] = np.nan
    np.save(tmp_path / "half.npy", x)
    asked = {"data.shape": (6,), "data.codec": "identity", "inverse.measure": "inpaint",
             "inverse.mask": "left", "inverse.input": str(tmp_path / "half.npy")}  # fmt: skip
    config = with_settings(arrays.get_config("smoke"), {}, asked)
    rows = Images(np.zeros((2, 6), np.float32), None, None)
    splits = Splits(rows, rows, "rows")
    found = problem_of(Experiment.of(Recorded.of(config)), splits, print)
    np.testing.assert_array_equal(found.y, np.nan_to_num(x))
    config.inverse.input, config.inverse.truth = "", str(tmp_path / "half.npy")
    with pytest.raises(ValueError, match=r"inverse\.truth must hold finite numbers"):
        problem_of(Experiment.of(Recorded.of(config)), splits, print)


def test_results_depend_on_the_content_of_a_condition_and_not_on_its_file() -> None:
    y = np.zeros((2, 3), np.float32)
    problem = Problem(Mask(np.ones((1, 3))), y, 0.0, 0.0, None, "y", {})

    def identity(condition: float, path: str) -> dict[str, object]:
        asked = {"data.shape": (3,), "data.codec": "identity", "sampling.condition": path}
        config = with_settings(arrays.get_config("smoke"), {}, asked)
        given = Given((), np.full((2, 4), condition, np.float32))
        return identity_of(Experiment.of(Recorded.of(config)), problem, given, 1)

    assert identity(0.0, "a.npy") == identity(0.0, "b.npy")
    assert identity(0.0, "a.npy") != identity(1.0, "a.npy")


def test_short_names_belong_to_their_modes(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([*tiny.arguments("sample", trained), "--mask", "left"]) == 2
    refused(capsys, "--mask belongs to --mode reconstruct or measure or edit")
