"""A model of captions that a frozen reader of texts reads: trained, sampled, refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import main
from configs import schema
from configs.changed import with_settings
from models import inputs
from modes import texts
from runtime_lib import workdir
from tests import stored
from tests.models.text_encoders.towers import written
from tests.slow import slow

ROOT = Path(__file__).parents[2]
TOKENIZER = ROOT / "tests" / "golden" / "latent" / "clip_tokenizer"
CAPTIONS = [f"digit {k % 4}" for k in range(40)]
SETTINGS = {
    "data.dataset": "array", "data.condition": "6,8,4", "data.condition_codec": "identity",
    "data.text_nothing": "masked", "model.name": "prior", "model.num_heads": "2",
    "model.condition": "tokens+vector", "model.condition_dropout": "0.1", "model.nf": "8",
    "training.n_iters": "2", "training.log_freq": "2", "training.eval_freq": "0",
    "training.snapshot_sampling": "False", "sampling.num_steps": "2", "sampling.num_samples": "2",
    "sampling.guidance": "2.0",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder of data and of a reader of texts."""
    folder = tmp_path_factory.mktemp("texts")
    written(folder / "pipe" / "text_encoder")
    shutil.copytree(TOKENIZER, folder / "pipe" / "tokenizer")
    images = np.random.default_rng(0).normal(size=(len(CAPTIONS), 5)).astype(np.float32)
    np.savez(folder / "data.npz", images=images, captions=np.array(CAPTIONS))
    return folder


def run(place: Path, mode: str, folder: Path, **settings: Any) -> int:
    given = SETTINGS | {"data.data_dir": place / "data.npz", "data.text_encoder": place / "pipe"}
    given |= {name.replace("__", "."): value for name, value in settings.items()}
    config = ["--config", f"{ROOT / 'configs' / 'arrays.py'}:smoke"]
    arguments = [*config, "--mode", mode, "--workdir", str(folder)]
    return main.main([*arguments, *(f"--config.{name}={value}" for name, value in given.items())])


@pytest.fixture(scope="module")
def trained(as_main_runs, place) -> Path:
    assert run(place, "train", place / "run") == 0
    return place / "run"


def test_captions_are_read_once_and_kept_beside_the_data(trained, place):
    saved = workdir.read_config(trained)
    assert len(saved["data.text_encoder_hash"]) == 16
    kept = sorted(place.glob("captions_*.npy"))
    # Of the training data and of the held-out ones.
    assert [np.load(file).shape[1] for file in kept] == [6 * 8 + 4] * 2
    config = with_settings(schema.get_default(), saved)
    said: list[str] = []
    splits = texts.load_data(config, trained, said.append)
    assert not any("reading" in line for line in said)
    assert sorted(place.glob("captions_*.npy")) == kept
    rows = texts.text_rows(config, splits.train.captions.tolist())
    np.testing.assert_allclose(splits.train.condition, rows, rtol=1e-6)


def test_samples_of_a_caption_are_drawn(trained, place):
    assert run(place, "sample", trained, sampling__captions="digit 2") == 0
    with np.load(trained / "samples" / "samples.npz") as found:
        assert found["samples"].shape == (2, 5)
        assert found["captions"].tolist() == ["digit 2"] * 2


@pytest.mark.parametrize("nothing, said", [("empty", ""), ("zeros", None)])
def test_a_hidden_caption_is_no_caption_as_samples_compare_with_it(trained, place, nothing, said):
    """The features of "", or zeros, in place of a condition that the network hides."""
    told = {"data.text_nothing": nothing, "data.text_encoder": str(place / "pipe")}
    config = with_settings(schema.get_default(), workdir.read_config(trained), told)
    replaced = texts.untold(config)
    np.testing.assert_allclose(replaced.row, texts.text_rows(config, [said]), atol=1e-6)
    assert np.isfinite(replaced.row).all()
    assert replaced.rate == 0.1
    assert inputs.read(config).dropout == 0
    masked = with_settings(config, {"data.text_nothing": "masked"})
    assert texts.untold(masked) is None
    assert inputs.read(masked).dropout == 0.1


@slow
def test_a_model_is_trained_to_be_told_nothing_and_guided_by_it(as_main_runs, place, tmp_path):
    settings = {"data__text_nothing": "empty", "model__condition_dropout": 0.5}
    assert run(place, "train", tmp_path / "run", **settings) == 0
    asked = {"sampling__captions": "digit 2", **settings}
    assert run(place, "sample", tmp_path / "run", **asked) == 0
    assert np.isfinite(stored.arrays(tmp_path / "run" / "samples" / "samples.npz")["samples"]).all()


def one_line(capsys: Any) -> str:
    told = capsys.readouterr().err.strip()
    assert "\n" not in told
    return told


def test_other_files_than_the_models_are_refused(trained, place, capsys):
    other = shutil.copytree(place / "pipe", place / "other")
    (other / "text_encoder" / "notes.txt").write_text("changed")
    capsys.readouterr()
    asked = {"data__text_encoder": other, "sampling__captions": "digit 2"}
    assert run(place, "sample", trained, **asked) == 2
    assert "other files" in one_line(capsys)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"data__condition": "3,8,4"}, "at most 3 tokens"),
        ({"data__condition": "6,9,4"}, "8 features of a token"),
        ({"data__text_layer": "-5"}, "data.text_layer"),
        ({"model__condition": "vector", "data__condition": "4"}, "model.condition=tokens"),
    ],
)
def test_what_does_not_fit_the_reader_is_refused_before_training(
    as_main_runs, place, tmp_path, capsys, settings, said
):
    capsys.readouterr()
    assert run(place, "train", tmp_path / "run", **settings) == 2
    assert said in one_line(capsys)
    assert not (tmp_path / "run" / "checkpoints").exists()
