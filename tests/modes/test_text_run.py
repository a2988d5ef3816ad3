"""A model of captions from the command line: trained, then asked for what it was never shown."""

import json
from pathlib import Path

import numpy as np
import pytest

import main
from modes.model import load

CONFIG = Path(__file__).parents[2] / "configs" / "glyphs.py"
SETTINGS = {
    "model.name": "transformer", "model.patch": "8,8", "model.nf": "8", "model.text_width": "8",
    "model.attention_head_dim": "0", "training.n_iters": "2", "training.snapshot_freq": "2",
    "training.snapshot_freq_for_preemption": "2", "training.log_freq": "1",
    "training.eval_freq": "0", "training.snapshot_sampling": "False", "sampling.predictor": "ddim",
    "sampling.num_steps": "2",
}  # fmt: skip


def run(mode, folder, **settings):
    own = {k: v for k, v in SETTINGS.items() if mode == "train" or not k.startswith("sampling.b")}
    given = own | {name.replace("__", "."): value for name, value in settings.items()}
    arguments = ["--config", f"{CONFIG}:text,smoke", "--mode", mode, "--workdir", str(folder)]
    return main.main([*arguments, *(f"--config.{name}={value}" for name, value in given.items())])


@pytest.fixture(scope="module")
def trained(as_main_runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text") / "run"
    assert run("train", folder) == 0
    return folder


def test_the_words_of_the_captions_are_kept_with_the_model(trained):
    saved = json.loads((trained / "config.json").read_text())
    assert saved["model.vocabulary"] == len(saved["data.words"].split()) == 48
    assert saved["data.condition"] == [8]


def test_samples_of_several_captions_are_beside_them(trained, tmp_path, capsys):
    (tmp_path / "said.txt").write_text("bold digit seven\nslanted latin capital letter q\n")
    told = {"sampling__captions": tmp_path / "said.txt", "sampling__num_samples": 2}
    assert run("sample", trained, **told) == 0
    with np.load(trained / "samples" / "samples.npz") as file:
        said = ["bold digit seven", "slanted latin capital letter q"] * 2
        assert file["captions"].tolist() == said
        assert file["samples"].shape == (4, 16, 16, 1)
        found = file["samples"]
    model = load(trained, {"sampling.batch_size": 4}, log=print)
    np.testing.assert_allclose(model.sample(4, captions=said), found, atol=1e-5)
    with pytest.raises(ValueError, match=r"got 'seen' \(did you mean 'seven'\?\)"):
        model.sample(1, captions="digit seen")


def test_an_unknown_word_is_one_line(trained, capsys):
    capsys.readouterr()
    assert run("sample", trained, sampling__captions="bold digit sevn") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "got 'sevn' (did you mean 'seven'?)" in told
