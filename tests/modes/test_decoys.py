"""No command removes or overwrites a file of the user's, wherever in a workdir it may lie.

Decoys of known content are laid wherever a command writes, under the names of its own files too.
Afterwards each content must still be there, perhaps under another name. What costs time, the model,
is replaced: files are what is looked at.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import main
import models
from configs import command_line
from eval_lib.likelihood.evaluator import Evaluator
from modes import latents
from modes.generator import Generator
from runtime_lib.checkpoints.store import Checkpoints
from tests import tiny
from tests.slow import but_slow
from untrusted import ours

NAMES = {
    "": [".notes.tmp", ".config.json.x1y2z3a4.tmp", "loss.png", "config.py", "notes", "checked",
         "thesis-cache"],
    "snapshots": [".a.tmp", "samples_00000003.png", "notes"],
    "logs": [".a.tmp", "metrics.jsonl", "notes"],
    "checkpoints": ["notes", ".a.tmp"],
    "checkpoints/0": ["photo.jpg"],
    "checkpoints/40.orbax-checkpoint-tmp": ["notes"],
    "checkpoints/mine.orbax-checkpoint-tmp": ["state"],
    "samples": ["samples.npz", "samples.png", "samples.json", "trajectory.gif", "notes", ".a.tmp"],
    "samples/parts": ["00000000.npz", "identity.json", "notes"],
    "likelihood": ["likelihood.npz", "likelihood.png", "likelihood.md", "likelihood.json", "notes"],
    "likelihood/parts": ["000_00000000.npz", "notes"],
    "latents": ["latents.npz", "latents.png", "latents.json", "notes"],
    "interpolations": ["interpolations.npz", "interpolations.png", "interpolations.json"],
    "evaluation": ["notes"],
    "evaluation/draws": ["notes"],
    "evaluation/report": ["report.md", "report.json", "samples.png", "curve.png", "notes"],
    "comparison": ["table.json", "table.md", "quality.png", "pictures.png", "notes"],
    "comparison/cells": ["ddim_4.npz", "ddim_4.json", "notes"],
    "reference": ["notes", ".a.tmp"],
    "profile": ["summary.json", "notes"],
    "profile/plugins/profile/2020": ["host.xplane.pb", "host.trace.json.gz"],
}  # fmt: skip


def plant(folder: Path) -> set[bytes]:
    """Lay the decoys; what is in them."""
    contents = set()
    for place, names in NAMES.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        for name in names:
            content = f"precious {place}/{name}".encode()
            (folder / place / name).write_bytes(content)
            contents.add(content)
    return contents


def left(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir of the tiny network, with a checkpoint of step 2."""
    tiny.register()
    folder = tmp_path_factory.mktemp("trained") / "run"
    with jax.numpy_dtype_promotion("standard"):  # optax takes powers of Python and int32 numbers
        assert main.main(tiny.arguments("train", folder, training__n_iters=2)) == 0
    yield folder
    del models.NETWORKS["tiny"]


@pytest.fixture
def quick(monkeypatch):
    """Models that take no time."""

    def draw(generator, first, count):
        samples = np.zeros((count, *generator.shape), np.float32)
        labels = {"labels": np.arange(count) % 10} if generator.classes else {}
        frames = {"frames": samples[None]} if generator.frames else {}
        return {"samples": samples, "evaluations": np.ones(count, int), **labels, **frames}

    def batch(evaluator, first, count, repeat, size):
        return {"log_prob": np.zeros((count, 1)), "evaluations": np.ones(count)}

    def same(coder, values, labels):
        return np.asarray(values), np.ones(len(values))

    monkeypatch.setattr(Generator, "draw", draw)
    monkeypatch.setattr(Evaluator, "batch", batch)
    monkeypatch.setattr(latents.Coder, "encode", same)
    monkeypatch.setattr(latents.Coder, "decode", same)


FEW = {"eval__num_samples": 4, "eval__extractor": "pixels", "eval__metrics": "sliced",
       "eval__held_out": False, "eval__batch_size": 2000}  # fmt: skip
MODES = {
    "train": {"training__n_iters": 3, "training__keep": 1},
    "sample": {"sampling__frames": 1},
    "samplers": {"eval__samplers": "ddim", "eval__sampler_nfe": "(4,)", "sampling__num_steps": 0,
                 "eval__num_samples": 4},
    "eval": FEW,
    "stats": {"eval__extractor": "pixels", "eval__batch_size": 2000},
    "likelihood": {"eval__num_images": 4},
    "encode": {"eval__num_images": 4},
    "interpolate": {"eval__num_images": 4},
    "profile": {"training__profile_steps": 1},
}  # fmt: skip


def run(mode, folder, settings):
    with jax.numpy_dtype_promotion("standard"):
        return main.main(tiny.arguments(mode, folder, **settings))


@pytest.mark.parametrize("mode", MODES)
def test_a_command_leaves_every_file_of_the_users(trained, quick, tmp_path, capsys, mode):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    for place in ("logs", "loss.png", "snapshots"):
        path = folder / place
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    before = plant(folder)
    for _ in range(2):  # the second time there are files of ours, too
        assert run(mode, folder, MODES[mode]) == 0, capsys.readouterr()
        assert before <= left(tmp_path)
    assert not [path for path in folder.rglob("*") if ours.is_temporary(path)]


@pytest.mark.parametrize(
    "mode", but_slow([m for m in MODES if m not in ("train", "profile")], "samplers", "eval")
)
def test_a_command_that_is_given_again_leaves_one_set_of_results(trained, quick, tmp_path, mode):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    files = []
    for _ in range(2):
        assert run(mode, folder, MODES[mode]) == 0
        files.append({path.relative_to(folder) for path in folder.rglob("*") if path.is_file()})
    assert files[0] == files[1]


def test_other_settings_replace_no_results(trained, quick, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    for mode, change in {
        "sample": {"sampling__num_steps": 3}, "likelihood": {"eval__rtol": 1e-3},
        "encode": {"eval__rtol": 1e-3}, "interpolate": {"eval__rtol": 1e-3},
        "eval": {"eval__quantize": "truncate"},
    }.items():  # fmt: skip
        assert run(mode, folder, MODES[mode]) == 0
        before = left(folder)
        assert run(mode, folder, MODES[mode] | change) == 0
        assert before <= left(folder) | {b""}


def test_an_export_and_an_import_leave_every_file_of_the_users(trained, tmp_path, capsys):
    folder, beside = tmp_path / "run", tmp_path / "out"
    shutil.copytree(trained, folder)
    beside.mkdir()
    names = [".m.safetensors.tmp", ".m.safetensors.123.tmp", ".pipeline.tmp", "m.bak"]
    for name in names:
        (beside / name).write_text("precious")
    for layout, name in (("safetensors", "m.safetensors"),):
        export = ["--export_to", str(beside / name), "--export_as", layout]
        assert main.main([*tiny.arguments("export", folder), *export]) == 0
    assert {(beside / name).read_text() for name in names} == {"precious"}
    new = tmp_path / "new"
    before = plant(new)
    (new / "config.py").unlink()
    read = ["--mode", "import", "--import_from", str(beside / "m.safetensors")]
    (new / "checkpoints" / "0" / "photo.jpg").unlink()
    (new / "checkpoints" / "0").rmdir()
    assert main.main([*read, "--workdir", str(new)]) == 0, capsys.readouterr().err
    gone = {b"precious /config.py", b"precious checkpoints/0/photo.jpg"}
    assert before - gone <= left(new)


# Checkpoints -------------------------------------------------------------------------------------


def test_a_folder_of_the_users_among_checkpoints_stays_and_it_is_said_once(tmp_path):
    told: list[str] = []
    small = {"x": np.arange(3.0)}
    for step in (5, 7):
        (tmp_path / f"{step}").mkdir()
        (tmp_path / f"{step}" / "photo.jpg").write_text("precious")
    with Checkpoints(tmp_path, keep=1, log=told.append) as checkpoints:
        for step in (10, 11, 12):
            checkpoints.save(step, small, {}, wait=True)
        assert checkpoints.steps() == [5, 7, 12]
        with pytest.raises(Exception, match=r"7 is in the way of a checkpoint, and photo.jpg"):
            checkpoints.save(7, small, {})
    assert [line.split(": ")[1] for line in told] == ["photo.jpg is not part of a checkpoint"] * 2
    assert (tmp_path / "5" / "photo.jpg").read_text() == "precious"


def test_a_file_laid_into_a_checkpoint_keeps_it_from_being_removed(tmp_path):
    with Checkpoints(tmp_path, keep=1, log=lambda line: None) as checkpoints:
        checkpoints.save(1, {"x": np.arange(3.0)}, {}, wait=True)
        (tmp_path / "1" / "state" / "notes").write_text("precious")
        checkpoints.save(2, {"x": np.arange(3.0)}, {}, wait=True)
    assert (tmp_path / "1" / "state" / "notes").read_text() == "precious"


def test_settings_are_those_of_a_config(trained):
    """The names in the table above must be those of existing settings."""
    for settings in MODES.values():
        given = {name.replace("__", "."): str(value) for name, value in settings.items()}
        command_line.load(f"{tiny.CONFIG}:smoke", given)
