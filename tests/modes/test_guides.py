"""Guides of samples: other weights and workdirs, functions of the user's; by the command."""

import json
from pathlib import Path

import numpy as np
import pytest

import main
from modes.model import load
from tests import stored, tiny

pytestmark = pytest.mark.usefixtures("as_main_runs")

FUNCTIONS = """
import jax.numpy as jnp


def brighter(x, t, label):
    return 300.0 * x.mean(axis=(1, 2, 3))

def classes(x, t, label):
    return 300.0 * jnp.where(label == 1, 1.0, -1.0) * x.mean(axis=(1, 2, 3))

classes.classes = 2

def wrong_shape(x, t, label):
    return x.mean()

def not_finite(x, t, label):
    return jnp.log(-1.0 - x**2).sum(axis=(1, 2, 3))

def fails(x, t, label):
    raise RuntimeError("out of ideas")

no_function = 3
"""
PLAIN = {"model__num_classes": 0}
SAMPLE = PLAIN | {"sampling__num_samples": 4, "sampling__ema": False, "sampling__batch_size": 4}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, as_main_runs: None) -> Path:
    """A workdir of a tiny model without classes, with checkpoints of two updates."""
    folder = tmp_path_factory.mktemp("guided") / "run"
    tiny.register()
    kept = PLAIN | {"training__n_iters": 4, "training__snapshot_freq": 2}
    assert main.main(tiny.arguments("train", folder, **kept)) == 0
    return folder


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(FUNCTIONS)
    return path


def drawn(folder: Path, **settings: object) -> np.ndarray:
    assert main.main(tiny.arguments("sample", folder, **SAMPLE | settings)) == 0
    return stored.arrays(folder / "samples" / "samples.npz")["samples"]


def refused(folder: Path, capsys, **settings: object) -> str:
    capsys.readouterr()
    assert main.main(tiny.arguments("sample", folder, **SAMPLE | settings)) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("kind", ["classifier", "denoised_classifier"])
def test_samples_follow_a_function_of_the_users(trained: Path, functions: Path, kind: str) -> None:
    guide = {"sampling__guidance_kind": kind, "sampling__guide": f"{functions}:brighter"}
    plain = drawn(trained)
    brighter = drawn(trained, **guide)
    assert brighter.mean() > plain.mean() + 0.05
    # A weight of 0 is no guidance, to the last bit.
    np.testing.assert_array_equal(drawn(trained, sampling__guidance=0.0, **guide), plain)
    report = json.loads((trained / "samples" / "samples.json").read_text())
    assert report["sampling"]["guide"] == f"{functions}:brighter"


def test_samples_led_by_a_function_that_was_changed_are_others(
    trained: Path, functions: Path, capsys
) -> None:
    guide = {"sampling__guidance_kind": "classifier", "sampling__guide": f"{functions}:brighter"}
    drawn(trained, **guide)
    functions.write_text(FUNCTIONS.replace("300.0 * x.mean", "-300.0 * x.mean"))
    capsys.readouterr()
    drawn(trained, **guide)
    assert "samples drawn with other settings: moved to" in capsys.readouterr().out


def test_a_function_of_classes_is_told_the_class_of_each_sample(
    trained: Path, functions: Path
) -> None:
    guide = {"sampling__guidance_kind": "classifier", "sampling__guide": f"{functions}:classes"}
    drawn(trained, sampling__labels="0,1", **guide)
    found = stored.arrays(trained / "samples" / "samples.npz")
    assert found["labels"].tolist() == [0, 1, 0, 1]
    one, other = (found["samples"][found["labels"] == k].mean() for k in (1, 0))
    assert one > other + 0.05


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wrong_shape", "it gives []"),
        ("not_finite", "not finite"),
        ("fails", "out of ideas"),
        ("no_function", "must be a function"),
        ("nothing", "nothing"),
    ],
)
def test_a_function_that_cannot_guide_is_one_line(
    trained: Path, functions: Path, capsys, name: str, told: str
) -> None:
    guide = {"sampling__guidance_kind": "classifier", "sampling__guide": f"{functions}:{name}"}
    error = refused(trained, capsys, **guide)
    assert error.startswith("error: sampling.guide")
    assert told in error


def test_earlier_weights_and_another_workdir_guide(trained: Path, tmp_path: Path) -> None:
    auto = {"sampling__guidance_kind": "autoguidance", "sampling__guidance": 3.0}
    plain = drawn(trained)
    earlier = drawn(trained, sampling__guide_step=2, **auto)
    assert np.abs(earlier - plain).max() > 1e-4
    named = drawn(trained, sampling__guide=trained, sampling__guide_step=2, **auto)
    np.testing.assert_array_equal(named, earlier)
    # prediction + 2 (prediction - guide), and twice the evaluations.
    report = json.loads((trained / "samples" / "samples.json").read_text())
    drawn(trained)
    alone = json.loads((trained / "samples" / "samples.json").read_text())
    assert report["nfe"] == 2 * alone["nfe"]
    # In Python as in a command.
    settings = {
        "sampling.guidance_kind": "autoguidance", "sampling.guidance": 3.0, "sampling.ema": False,
        "sampling.guide_step": 2,
    }  # fmt: skip
    model = load(trained, settings, log=lambda line: None)
    np.testing.assert_allclose(model.sample(4), earlier, atol=1e-5)


def test_training_needs_no_guide_and_says_that_its_snapshots_have_none(
    tmp_path: Path, capsys
) -> None:
    """A config guided by its own earlier weights trains from nothing, samples, and goes on."""
    auto = {"sampling__guidance_kind": "autoguidance", "sampling__guidance": 2.0,
            "sampling__guide_step": 2}  # fmt: skip
    kept = PLAIN | auto | {"training__snapshot_freq": 2, "sampling__num_samples": 4,
                           "training__snapshot_sampling": True}  # fmt: skip
    folder, unguided = tmp_path / "run", "snapshots are drawn unguided: "
    run = lambda mode, **more: main.main(tiny.arguments(mode, folder, **kept | more))
    assert run("train", training__n_iters=4) == 0
    told = capsys.readouterr()
    assert told.out.count(unguided) == 1
    assert f"{unguided}sampling.guide: {folder} holds no trained model" in told.out
    assert run("sample", training__n_iters=4) == 0
    assert run("train", training__n_iters=6) == 0
    told = capsys.readouterr()
    assert unguided not in told.out
    assert f"guided by step 2 of {folder}" in told.out
    # A guide that does not fit, or no word on which it is, is refused before training.
    assert run("train", training__n_iters=6, sampling__guide_ema_rate=0.5) == 2
    assert run("train", training__n_iters=6, sampling__guide_step=0) == 2


def test_a_classifier_that_is_not_there_keeps_from_sampling_alone(
    trained: Path, tmp_path: Path, capsys
) -> None:
    guided = PLAIN | {"sampling__guidance_kind": "classifier", "training__n_iters": 4}
    guide = {"sampling__guide": tmp_path / "judge"}
    run = lambda mode, *more, **own: main.main(
        [*tiny.arguments(mode, trained, **guided, **own), *more]
    )
    assert run("train", **guide) == 0
    capsys.readouterr()
    assert run("sample", **guide) == 2
    assert "sampling.guide" in capsys.readouterr().err
    out = ["--export_to", str(tmp_path / "out.safetensors"), "--export_as", "safetensors"]
    assert run("export", *out) == 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "sampling.guide_step or sampling.guide_ema_rate"),
        ({"sampling__guide": "nowhere"}, "holds no trained model"),
        ({"sampling__guide_ema_rate": 0.5}, "must be one of the guide's averages"),
        ({"sampling__guide_step": 9}, "9"),
    ],
)
def test_a_guide_that_is_not_there_is_one_line(trained: Path, capsys, settings, told: str) -> None:
    auto = {"sampling__guidance_kind": "autoguidance", "sampling__guidance": 2.0}
    assert told in refused(trained, capsys, **auto | settings)


def test_a_guide_of_another_process_or_shape_is_refused(trained: Path, tmp_path, capsys) -> None:
    auto = {"sampling__guidance_kind": "autoguidance", "sampling__guidance": 2.0}
    for change, told in (
        ({"sde__beta_max": 10.0}, "another process"),
        ({"data__centered": False}, "encoded in another way"),
    ):
        folder = tmp_path / told.split()[0]
        assert main.main(tiny.arguments("train", folder, **PLAIN | change)) == 0
        error = refused(trained, capsys, sampling__guide=folder, **auto)
        assert error.startswith("error: sampling.guide")
        assert told in error
