"""Use of main.py: runs that are cut short and go on, and bad input.

The runs that must be killed are made once for the module (see `zygote`): a network of 85
parameters on the digits, in real processes, real checkpoints, real signals.
"""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import main
import models
from configs import command_line
from modes.experiment import Experiment
from runtime_lib.checkpoints.store import Checkpoints
from runtime_lib.files import WorkdirLock
from tests import tiny
from tests.zygote import Result, Run, run_all
from untrusted import read_arrays

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def tiny_network() -> Iterator[None]:
    tiny.register()
    yield
    del models.NETWORKS["tiny"]


LIKELIHOOD = {
    "eval__num_images": 7, "eval__batch_size": 3, "eval__num_probes": 2, "eval__repeats": 2,
    "eval__eps": 1e-2, "eval__rtol": 1e-2, "eval__atol": 1e-2,
}  # fmt: skip
"""Settings with few images and a rough tolerance: the test is that nothing changes the result."""


EVALUATION = {
    "eval__num_samples": 7, "eval__batch_size": 500, "sampling__batch_size": 5,
    "eval__metrics": "fid, precision_recall, noise_error", "eval__held_out": False,
}  # fmt: skip


class Story(NamedTuple):
    """The workdirs' parent and the result of every run, by name."""

    root: Path
    results: dict[str, Result]


def script(root: Path) -> dict[str, Run]:
    """Name -> run. Every chain of runs uses one workdir, named as the first word."""

    def run(mode: str, workdir: str, event: str, step: int, devices: int, settings: Any) -> Run:
        return Run(tiny.arguments(mode, root / workdir, **settings), event, step, devices)

    def train(workdir: str, event: str = "", step: int = 0, devices: int = 1, **s: Any) -> Run:
        return run("train", workdir, event, step, devices, s)

    def sample(workdir: str, event: str = "", step: int = 0, devices: int = 1, **s: Any) -> Run:
        return run("sample", workdir, event, step, devices, s)

    small = {"sampling__batch_size": 3, "sampling__frames": 2}
    return {
        "whole": train("whole", training__n_iters=12, training__keep=20),
        # Steps are counted from the start for saves, from the resumption for updates.
        "cut, before a save": train("cut", "kill before save", 2),
        "cut, a save under way": train("cut", "kill after save returned", 3),
        "cut, a save half-written": train("cut", "kill half-written", 4),
        "cut, full disk": train("cut", "full disk", 5),
        "cut, removing an old one": train("cut", "kill while removing", 3),
        "cut, replacing a file": train("cut", "kill before replacing", 2),
        "cut, SIGTERM": train("cut", "SIGTERM", 1),
        "cut, SIGINT": train("cut", "SIGINT", 1),
        "cut, done": train("cut"),
        "cut, n_iters raised": train("cut", devices=4, training__n_iters=12),
        "five, killed": train("five", "kill before update", 6),
        "five, done": train("five"),
        "newest damaged": train("damaged", "damaged copy", 2),
        "all damaged": sample("ruined", "damaged copy", 0),
        "jitted": train("jitted", training__n_iters=3, training__n_jitted_steps=2,
                        training__log_freq=3),
        "diverged": train("diverged", optim__lr=1e30),
        "poisoned": train("poisoned", "poison", 2, training__n_iters=4),
        "poisoned, patient": train("poisoned", "poison", 2, training__n_iters=4,
                                   training__patience=2),
        "patient": train("patient", "poison", 2, training__n_iters=4, training__patience=2,
                         training__log_freq=4),
        "three devices": train("three", devices=3),
        "whole, sampled on 4": sample("whole", devices=4),
        "whole, sampling killed": sample("whole", "kill after part", 0, **small),
        "whole, sampling on a full disk": sample("whole", "full disk for samples", 3, **small),
        "whole, sampled in the end": sample("whole", **small),
        "whole, likelihood on 4": run("likelihood", "whole", "", 0, 4, LIKELIHOOD),
        "whole, evaluation killed": run("eval", "whole", "kill after part", 0, 4, EVALUATION),
        "whole, evaluated on 4": run("eval", "whole", "", 0, 4, EVALUATION),
    }  # fmt: skip


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    root = tmp_path_factory.mktemp("story")
    runs = script(root)
    results = run_all(list(runs.values()))
    return Story(root, dict(zip(runs, results, strict=True)))


@pytest.fixture(scope="module")
def abstract_state(tiny_network: None) -> Any:
    others, settings = command_line.split(tiny.arguments("train", "unused"))
    return Experiment.of(command_line.load(others[1], settings)).abstract_state().as_dict()


@pytest.fixture
def state(story: Story, abstract_state: Any) -> Callable[[str, int], dict[str, Any]]:
    def read(workdir: str, step: int) -> dict[str, Any]:
        with Checkpoints(story.root / workdir / "checkpoints", read_only=True) as checkpoints:
            return checkpoints.restore(abstract_state, step=step).state

    return read


def bits(state: Any) -> list[bytes]:
    state = {**state, "key": jax.random.key_data(state["key"])}
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def distance(a: Any, b: Any) -> float:
    """Norm of the difference over the norm."""
    a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]) for tree in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def metrics(workdir: Path) -> list[dict[str, float]]:
    lines = (workdir / "logs" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def assert_one_line(stderr: str, *words: str) -> None:
    assert stderr.startswith("error: ")
    assert stderr.endswith("\n")
    assert stderr.count("\n") == 1, stderr
    for word in words:
        assert word in stderr


# Resuming ----------------------------------------------------------------------------------------


def test_five_steps_a_kill_and_five_steps_equal_ten_steps_bitwise(story, state):
    killed, done = story.results["five, killed"], story.results["five, done"]
    assert killed.returncode == -9
    assert "step 5/10" in killed.stdout
    assert "step 6/10" not in killed.stdout
    # The sixth update may begin while the fifth save is under way: then the fourth is the newest.
    assert "resuming at step 5" in done.stdout or "resuming at step 4" in done.stdout
    assert bits(state("five", 10)) == bits(state("whole", 10))


def test_a_run_cut_short_at_any_moment_ends_in_the_same_state_bitwise(story, state):
    codes = {name: result.returncode for name, result in story.results.items()}
    assert {n: c for n, c in codes.items() if n.startswith("cut")} == {
        "cut, before a save": -9,
        "cut, a save under way": -9,
        "cut, a save half-written": -9,
        "cut, full disk": 2,
        "cut, removing an old one": -9,
        "cut, replacing a file": -9,
        "cut, SIGTERM": 143,
        "cut, SIGINT": 130,
        "cut, done": 0,
        "cut, n_iters raised": 0,
    }
    assert bits(state("cut", 10)) == bits(state("whole", 10))


@pytest.mark.parametrize("name", ["cut, SIGTERM", "cut, SIGINT"])
def test_a_signal_saves_the_step_it_interrupts(story, name):
    result = story.results[name]
    assert "asked to stop: saved step" in result.stdout.splitlines()[-1]
    assert result.stderr == ""


def test_the_log_of_a_run_cut_short_is_that_of_a_whole_one(story):
    losses = [
        [(record["step"], record["train_loss"]) for record in metrics(story.root / workdir)]
        for workdir in ("cut", "whole")
    ]
    assert [step for step, _ in losses[0]] == list(range(1, 13))
    assert losses[0][:10] == losses[1][:10]


def test_only_the_files_of_a_run_are_left_after_kills(story):
    names = {path.name for path in (story.root / "cut").iterdir()}
    files = {".lock", "config.json", "data.npz", "loss.png"}
    assert names == files | {"checkpoints", "logs", "snapshots"}
    steps = {path.name for path in (story.root / "cut" / "checkpoints").iterdir()}
    assert steps == {"10", "11", "12"}


# Round-off: a few of float32's 6e-8 per operation; Adam divides small numbers by small ones.
ROUND_OFF = 1e-5


def test_four_devices_go_on_from_one_and_make_the_same_updates(story, state):
    four, one = state("cut", 12), state("whole", 12)
    assert "4 cpu device(s)" in story.results["cut, n_iters raised"].stdout
    for name in ("params", "ema", "opt_state"):
        assert distance(four[name], one[name]) < ROUND_OFF
    norms = [[r["grad_norm"] for r in metrics(story.root / w)[10:]] for w in ("cut", "whole")]
    np.testing.assert_allclose(*norms, rtol=ROUND_OFF)


def test_several_updates_per_call_are_the_same_updates(state):
    # The compiler may fuse across updates, so the last bits are its own.
    assert distance(state("jitted", 3)["params"], state("whole", 3)["params"]) < ROUND_OFF


def test_a_raised_n_iters_goes_on_from_the_last_step(story):
    assert "\nresuming at step 10:" in story.results["cut, n_iters raised"].stdout


# Sampling ----------------------------------------------------------------------------------------


def samples(folder: Path) -> np.ndarray:
    with np.load(folder / "samples.npz") as file:
        return file["samples"]


def test_samples_are_the_same_for_any_devices_any_batch_size_and_after_a_kill(story):
    results = story.results
    assert results["whole, sampling killed"].returncode == -9
    assert "1 of 2 batches are finished" in results["whole, sampled in the end"].stdout
    four, one = samples(story.root / "whole/samples_1"), samples(story.root / "whole/samples")
    assert four.shape == one.shape == (6, 8, 8, 1)
    assert np.ptp(one, axis=0).min() > 0  # six different pictures
    np.testing.assert_allclose(four, one, atol=ROUND_OFF)


def test_likelihoods_are_the_same_on_one_device_and_on_four(story, tmp_path):
    """Seven images in batches of three, which four devices share, and in one batch."""
    assert story.results["whole, likelihood on 4"].returncode == 0
    shutil.copytree(story.root / "whole", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "likelihood")
    settings = LIKELIHOOD | {"eval__batch_size": 7}
    assert main.main(tiny.arguments("likelihood", tmp_path / "run", **settings)) == 0
    read = lambda folder: read_arrays(folder / "likelihood" / "likelihood.npz")
    one, four = read(tmp_path / "run"), read(story.root / "whole")
    assert one["log_prob"].shape == (7, 2, 2)
    # Round-off, where it decides whether a step is taken, changes it by less than the tolerance.
    np.testing.assert_allclose(one["log_prob"], four["log_prob"], rtol=1e-4)
    np.testing.assert_allclose(one["truncation"], four["truncation"], rtol=1e-3)


def test_evaluations_are_the_same_on_one_device_and_on_four(story, tmp_path):
    """On four devices it is killed once on the way, with kill -9."""
    assert story.results["whole, evaluation killed"].returncode == -9
    assert story.results["whole, evaluated on 4"].returncode == 0
    shutil.copytree(story.root / "whole", tmp_path / "run")
    for name in ("evaluation", "reference"):
        shutil.rmtree(tmp_path / "run" / name)
    settings = EVALUATION | {"eval__batch_size": 300, "sampling__batch_size": 4}
    assert main.main(tiny.arguments("eval", tmp_path / "run", **settings)) == 0
    read = lambda folder: json.loads((folder / "evaluation/report/report.json").read_text())
    one, four = (read(folder)["cells"][0] for folder in (tmp_path / "run", story.root / "whole"))
    assert one["identity"]["weights"] == four["identity"]["weights"]
    assert one["metrics"]["fid"]["mean"] == pytest.approx(four["metrics"]["fid"]["mean"], rel=1e-4)
    assert one["model"] == pytest.approx(four["model"], rel=1e-4)


def test_samples_of_other_settings_are_moved_aside_and_it_is_said(story):
    assert "samples drawn with other settings: moved to" in (
        story.results["whole, sampling killed"].stdout
    )
    reports = [
        json.loads((story.root / "whole" / name / "samples.json").read_text())
        for name in ("samples_1", "samples")
    ]
    assert [report["sampling"]["batch_size"] for report in reports] == [4, 3]
    assert {report["nfe"] for report in reports} == {5}


def test_a_full_disk_keeps_the_batches_that_were_drawn(story):
    result = story.results["whole, sampling on a full disk"]
    assert result.returncode == 2
    assert_one_line(result.stderr, "samples", "finished batches are kept")


def test_nothing_but_the_results_is_left_in_the_samples_folder(story):
    names = {path.name for path in (story.root / "whole/samples").iterdir()}
    assert names == {"samples.npz", "samples.png", "samples.json", "trajectory.gif"}
    with Image.open(story.root / "whole/samples/trajectory.gif") as film:
        assert film.n_frames == 2


# Failures of a run -------------------------------------------------------------------------------


def test_a_full_disk_ends_training_with_the_earlier_checkpoints_named(story):
    result = story.results["cut, full disk"]
    assert_one_line(result.stderr, "could not be written", "saved before: ")


def test_a_damaged_newest_checkpoint_is_passed_over_and_it_is_said(story, state):
    result = story.results["newest damaged"]
    assert result.returncode == 0
    assert "checkpoint 10 is skipped, damaged" in result.stdout
    assert "resuming at step 9" in result.stdout
    assert bits(state("damaged", 10)) == bits(state("whole", 10))
    assert result.stderr == ""


def test_damaged_checkpoints_only_is_an_error(story):
    result = story.results["all damaged"]
    assert result.returncode == 2
    assert_one_line(result.stderr, "10 is damaged", "9 is damaged", "8 is damaged")


def test_a_run_that_diverges_stops_and_keeps_the_last_finite_state(story, state):
    result = story.results["diverged"]
    assert result.returncode == 2
    assert_one_line(result.stderr, "diverged", "optim.lr", "is kept")
    steps = [int(p.name) for p in (story.root / "diverged" / "checkpoints").iterdir()]
    assert steps
    for step in steps:
        saved = {**state("diverged", step), "key": np.zeros(())}
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(saved))


def test_a_bad_update_ends_the_run_before_it_or_is_left_out_by_setting(story, state):
    stopped, gone_on = story.results["poisoned"], story.results["poisoned, patient"]
    assert stopped.returncode == 2
    assert_one_line(stopped.stderr, "update 3 had loss nan", "checkpoint 2 is kept", "patience")
    assert "resuming at step 2:" in gone_on.stdout
    assert "step 3/4  loss nan" in gone_on.stdout
    assert story.results["patient"].stdout.count("bad updates left out: 1") == 1
    # Another patience is another program: of the same numbers, some differ in their last bit.
    assert distance(state("poisoned", 4)["params"], state("patient", 4)["params"]) < 1e-6
    assert not np.array_equal(*(jax.tree.leaves(state("patient", n)["params"])[0] for n in (3, 4)))
    three, two = state("patient", 3), state("patient", 2)
    assert bits({**three, "step": 0, "watch": 0}) == bits({**two, "step": 0, "watch": 0})
    assert [line.get("refused") for line in metrics(story.root / "poisoned")] == [0, 0, 1, 0]
    assert "NaN" not in (story.root / "poisoned" / "logs" / "metrics.jsonl").read_text()


def test_a_batch_that_the_devices_cannot_share_is_refused(story):
    result = story.results["three devices"]
    assert result.returncode == 2
    assert_one_line(result.stderr, "training.batch_size", "multiple", "3", "got 8")
    assert not (story.root / "three").exists()


def test_no_run_prints_anything_but_lines_for_the_user(story):
    for name, result in story.results.items():
        assert "\r" not in result.stdout + result.stderr, name
        assert result.stderr.count("\n") == (result.returncode == 2), (name, result.stderr)


# Bad input: nothing is compiled, nothing is written ----------------------------------------------


@pytest.fixture
def assert_refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """assert_refused(arguments, *words): exit code 2, one line on stderr with the words in it."""

    def run(arguments: list[str], *words: str) -> None:
        capsys.readouterr()
        assert main.main(arguments) == 2
        assert_one_line(capsys.readouterr().err, *words)

    return run


def test_a_device_without_enough_memory_is_told_in_one_line(assert_refused, monkeypatch, tmp_path):
    def exhaust(asked: main.Asked) -> int:
        # The size of all of memory some thousand times over: refused when it is asked for.
        jnp.zeros((1 << 28, 1 << 20), jnp.float32).block_until_ready()
        return 0

    monkeypatch.setitem(main.MODES, "train", exhaust)
    arguments = ["--config", str(tiny.CONFIG), "--mode", "train", "--workdir", str(tmp_path)]
    assert_refused(arguments, "memory is too small", "training.batch_size", "sampling.batch_size")


BAD_SETTINGS = {
    "misspelt section": (["trainin.batch_size=3"], "did you mean 'training.batch_size'"),
    "misspelt key": (["training.batchsize=3"], "did you mean 'training.batch_size'"),
    "whole section": (["training=3"], "unknown setting training"),
    "word for a number": (["training.batch_size=many"], "training.batch_size", "'many'"),
    "fraction for an integer": (["model.nf=1.5"], "model.nf", "integer"),
    "word for a truth": (["model.fir=perhaps"], "model.fir", "True or False"),
    "word for numbers": (["model.ch_mult=(1,a)"], "model.ch_mult", "(1, 2, 2)"),
    "out of range": (["model.dropout=1.5"], "model.dropout", "[0, 1)"),
    "not a number": (["optim.lr=nan"], "optim.lr"),
    "all of a variance": (["sde.betas=(0.1,1.0)"], "sde.betas", "in (0, 1)"),
    "no signal": (["sde.terminal_alpha=0.0"], "sde.terminal_alpha", "in (0, 1)"),
    "edge of nothing": (["data.edge=1e-9"], "data.edge", "0.001"),
    "image size": (["data.image_size=9", "model.name=ncsnpp", "model.ch_mult=(1,2)"],
                   "data.image_size", "multiple of 2", "got 9"),
    "another image size": (["data.image_size=16"], "data.image_size", "8x8", "got 16"),
    "network": (["model.name=ncsnp"], "model.name", "ncsnpp"),
    "SDE": (["sde.name=vpp"], "sde.name", "subvp"),
    "predictor": (["sampling.predictor=euler_maruyam"], "sampling.predictor", "euler_maruyama"),
    "corrector": (["sampling.corrector=langevn"], "sampling.corrector", "langevin"),
    "grid": (["sampling.grid=kaas"], "sampling.grid", "karras"),
    "nothing moves": (["sampling.predictor=none", "sampling.corrector=none"],
                      "sampling.predictor", "sampling.corrector"),
    "guidance without classes": (["model.num_classes=0", "sampling.guidance=2"],
                                 "sampling.guidance=2", "label_dropout"),
    "guided nowhere": (["sampling.guidance_min=3", "sampling.guidance_max=2"],
                       "sampling.guidance_min must be below"),
    "dataset": (["data.dataset=digit"], "data.dataset", "digits"),
    "accumulate": (["training.accumulate=3"], "training.batch_size", "multiple", "3"),
    "no folder": (["data.dataset=folder", "data.data_dir=/nowhere"], "data.data_dir", "/nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_bad_setting_is_refused_in_one_line(assert_refused, tmp_path, name):
    settings, *words = BAD_SETTINGS[name]
    arguments = tiny.arguments("train", tmp_path / "run")
    assert_refused(arguments + [f"--config.{setting}" for setting in settings], *words)
    assert not (tmp_path / "run").exists()


BAD_COMMANDS = {
    "nothing": ([], "--config"),
    "no workdir": (["--config", "c.py", "--mode", "train"], "--workdir"),
    "empty workdir": (["--config", "c.py", "--mode", "train", "--workdir", ""], "--workdir"),
    "wrong mode": (["--config", "c.py", "--mode", "trian", "--workdir", "x"], "train, sample"),
    "no file": (["--config", "c.py", "--mode", "train", "--workdir", "x"], "there is no c.py"),
    "stray word": (["--config", "c.py", "--mode", "train", "--workdir", "x", "y"], "y"),
    "unknown flag": (["--confg=c.py", "--mode", "train", "--workdir", "x"], "--confg"),
}


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_a_bad_command_is_refused_in_one_line(assert_refused, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    arguments, *words = BAD_COMMANDS[name]
    assert_refused(arguments, *words)
    assert not list(tmp_path.iterdir())


BAD_FILES = {
    "raises": ("def get_config(): return 1 / 0", "ZeroDivisionError"),
    "syntax": ("def get_config(:", "SyntaxError"),
    "import": ("import nosuch", "nosuch"),
    "empty": ("", "get_config"),
    "no config": ("def get_config(): return {}", "ConfigDict"),
    "no argument": ("def get_config(argument): pass", "argument"),
    "half a config": (
        "from ml_collections import ConfigDict\n"
        "def get_config(): return ConfigDict({'seed': 1})", "lacks sde.name"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_config_file_is_refused_in_one_line(assert_refused, tmp_path, name):
    text, *words = BAD_FILES[name]
    file = tmp_path / "mine.py"
    file.write_text(text)
    assert_refused(
        ["--config", str(file), "--mode", "train", "--workdir", str(tmp_path / "run")], *words
    )
    assert not (tmp_path / "run").exists()


def test_an_unknown_argument_of_a_config_lists_the_known_ones(assert_refused, tmp_path):
    config = f"{ROOT / 'configs' / 'vp_cifar.py'}:deeep"
    arguments = ["--config", config, "--mode", "train", "--workdir", str(tmp_path / "run")]
    assert_refused(arguments, "bits, deep, fid, likelihood, ode_fid, smoke", "'deeep'")


def test_lines_with_names_of_any_bytes_can_be_said(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "utf-8"))
    main.use_any_output()
    print("wrote", os.fsdecode(b"caf\xe9"))
    assert raw.getvalue() == b"wrote caf\\udce9\n"


def test_a_broken_picture_is_named(assert_refused, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in range(3):
        Image.new("L", (8, 8), 80 * k).save(folder / f"{k}.png")
    broken = folder / "1.png"
    broken.write_bytes(broken.read_bytes()[:40])
    arguments = tiny.arguments(
        "train", tmp_path / "run", data__dataset="folder", data__data_dir=folder
    )
    assert_refused(arguments, "1.png", "data.data_dir")
    assert not (tmp_path / "run").exists()


def test_sampling_without_a_trained_model_is_refused(assert_refused, tmp_path):
    assert_refused(
        tiny.arguments("sample", tmp_path / "missing"), "no trained model", "--mode train"
    )
    assert not (tmp_path / "missing").exists()
    assert_refused(tiny.arguments("sample", tmp_path), "no trained model", "--mode train")
    assert not list(tmp_path.iterdir())


def test_a_workdir_before_its_first_checkpoint_has_nothing_to_sample(
    assert_refused, story, tmp_path
):
    shutil.copy(story.root / "whole" / "config.json", tmp_path)
    assert_refused(tiny.arguments("sample", tmp_path), "no checkpoint", "train first")


def test_an_unknown_step_is_refused_with_the_known_ones(assert_refused, story):
    arguments = tiny.arguments("sample", story.root / "cut", sampling__step=7)
    assert_refused(arguments, "no checkpoint 7", "10, 11, 12")


def test_a_workdir_of_another_config_is_refused_with_the_difference(assert_refused, story):
    workdir = story.root / "cut"
    before = (workdir / "config.json").read_bytes()
    assert_refused(
        tiny.arguments("train", workdir, optim__lr=0.5), "optim.lr: 0.002 there, 0.5 here"
    )
    assert_refused(
        tiny.arguments("sample", workdir, sde__name="ve"), "sde.name: 'vp' there, 've' here"
    )
    assert (workdir / "config.json").read_bytes() == before


def test_a_second_training_run_in_a_workdir_is_refused(assert_refused, story):
    workdir = story.root / "cut"
    before = (workdir / "config.json").read_bytes()
    with WorkdirLock(workdir):
        arguments = tiny.arguments("train", workdir, training__n_iters=99)
        assert_refused(arguments, "another training run", str(os.getpid()))
    assert (workdir / "config.json").read_bytes() == before


def test_a_workdir_that_cannot_be_written_is_refused(assert_refused, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("precious")
    assert_refused(tiny.arguments("train", file), str(file), "file")
    assert_refused(tiny.arguments("train", file / "run"), str(file))
    assert_refused(tiny.arguments("train", "/proc/run"), "/proc/run")
    assert_refused(tiny.arguments("sample", file), str(file))
    assert file.read_text() == "precious"


def test_a_damaged_config_of_a_workdir_is_refused(assert_refused, tmp_path):
    (tmp_path / "config.json").write_text("{")
    assert_refused(tiny.arguments("train", tmp_path), "config.json", "cannot be read")
    assert (tmp_path / "config.json").read_text() == "{"


def test_an_impatient_interrupt_is_no_traceback(capsys, monkeypatch, tmp_path):
    def interrupted(asked: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(main.MODES, "sample", interrupted)
    assert main.main(tiny.arguments("sample", tmp_path)) == 130
    assert capsys.readouterr().err == "interrupted\n"


# The program itself ------------------------------------------------------------------------------


def launch(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )


def test_the_two_commands_train_and_sample_a_real_network(tmp_path):
    common = ["--config", "configs/vp_digits.py:smoke", "--workdir", str(tmp_path / "run")]
    smaller = ["model.nf=8", "model.ch_mult=(1,)", "model.num_res_blocks=1",
               "model.attn_resolutions=()", "training.n_iters=4"]  # fmt: skip
    common += [f"--config.{setting}" for setting in smaller]
    trained = launch("--mode", "train", *common)
    assert (trained.returncode, trained.stderr) == (0, "")
    assert "step 4/4  held-out loss" in trained.stdout
    assert "\r" not in trained.stdout
    with Image.open(tmp_path / "run" / "snapshots" / "samples_00000004.png") as grid:
        assert grid.size == (70, 70)  # four pictures, enlarged to 32 pixels, 2 between them

    sampled = launch("--mode", "sample", *common)
    assert (sampled.returncode, sampled.stderr) == (0, "")
    folder = tmp_path / "run" / "samples"
    assert samples(folder).shape == (4, 8, 8, 1)
    assert json.loads((folder / "samples.json").read_text())["step"] == 4
