"""Layouts change no result: devices, processes, copies or parts of a model.

One device, in this process, is the reference; the others are processes of tests/layouts.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

import main
import models
from configs import command_line
from modes.experiment import Experiment
from runtime_lib import processes, sharding
from runtime_lib.checkpoints.store import Checkpoints
from tests import layouts, tiny
from tests.layouts import Stage
from tests.slow import slow
from tests.stored import arrays

# The round-off of float32, 6e-8, in sums of other orders; an update moves a parameter by 2e-4.
# Each update starts from what the one before made of it.
CLOSE = {"rtol": 2e-6, "atol": 2e-6}
AFTER_20 = {"rtol": 2e-5, "atol": 2e-5}
ONE = "1 device"


@pytest.fixture(scope="module", autouse=True)
def tiny_network() -> Iterator[None]:
    tiny.register()
    yield
    del models.NETWORKS["tiny"]


def arguments(
    mode: str, folder: Path, mesh: tuple[int, int] = (-1, 1), **more: object
) -> list[str]:
    settings = {"mesh__smallest": 1, "training__keep": 30}
    settings |= {"mesh__data": mesh[0], "mesh__fsdp": mesh[1]}
    return tiny.arguments(mode, folder, **settings, **more)


class Told(NamedTuple):
    """Results that a run left."""

    metrics: dict[str, list[float]]
    state: list[np.ndarray]


def told(folder: Path, updates: int) -> Told:
    lines = [json.loads(x) for x in (folder / "logs" / "metrics.jsonl").read_text().splitlines()]
    metrics = {
        name: [line[name] for line in lines if name in line]
        for name in ("train_loss", "grad_norm", "eval_loss")
    }
    others, settings = command_line.split(arguments("train", folder))
    abstract = Experiment.of(command_line.load(others[1], settings)).abstract_state().as_dict()
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        state = checkpoints.restore(abstract, step=updates).state
    state["key"] = jax.random.key_data(state["key"])
    return Told(metrics, [np.asarray(x) for x in jax.tree.leaves(state)])


def succeed(*stages: Stage) -> None:
    process = layouts.start(*stages)
    _, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors


def here(run: list[str]) -> None:
    # As users run it: the strictness of tests is for the library's own mathematics.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert main.main(run) == 0


def train_everywhere(root: Path, updates: int, wide: bool) -> list[str]:
    """The workdirs that should hold what that of one device holds; `wide`: of more layouts.

    `relay` is one run that is handed from layout to layout after every update but the first.
    """
    more = {"training__eval_freq": 3 if wide else 0}

    def train(name: str, mesh: tuple[int, int] = (-1, 1), last: int = updates) -> list[str]:
        return arguments("train", root / name, mesh, training__n_iters=last, **more)

    turn = lambda k, mesh=(-1, 1): train("relay", mesh, updates - 5 + k)
    for run in (train(ONE), turn(1), arguments("sample", root / ONE)):
        here(run)
    for name in ("sampled on 4", "sampled by 2"):
        shutil.copytree(root / ONE, root / name)
        shutil.rmtree(root / name / "samples")
    four = [train("2 x 2", (2, 2)), turn(2, (2, 2)), turn(3, (1, 4))]
    four += [arguments("sample", root / "sampled on 4", (1, 4))]
    two = [train("2 processes", (1, 4)), turn(4, (1, 4))]
    two += [arguments("sample", root / "sampled by 2", (1, 4))]
    if wide:
        four += [train("data 4", (4, 1)), train("fsdp 4", (1, 4))]
        two += [train("2 processes, 2 x 2", (2, 2))]
    succeed(Stage(four, 4), Stage(two, 2, 2))
    here(turn(5))
    return ["2 x 2", "2 processes", "relay"] + (
        ["data 4", "fsdp 4", "2 processes, 2 x 2"] if wide else []
    )


def assert_alike(root: Path, name: str, updates: int, tolerance: dict[str, float]) -> None:
    found, wanted = told(root / name, updates), told(root / ONE, updates)
    assert len(found.metrics["train_loss"]) == updates
    for metric in ("train_loss", "grad_norm"):
        np.testing.assert_allclose(found.metrics[metric], wanted.metrics[metric], **tolerance)
    # Handed on, a run is also evaluated at every end.
    np.testing.assert_allclose(
        found.metrics["eval_loss"][-1:], wanted.metrics["eval_loss"][-1:], **tolerance
    )
    for x, y in zip(found.state, wanted.state, strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_network: None) -> Path:
    root = tmp_path_factory.mktemp("layouts")
    train_everywhere(root, 6, wide=False)
    return root


@pytest.mark.parametrize("name", ["2 x 2", "2 processes", "relay"])
def test_a_run_is_the_same_in_every_layout_and_handed_from_one_to_the_next(runs, name):
    assert_alike(runs, name, 6, CLOSE)


@pytest.mark.parametrize("name", ["sampled on 4", "sampled by 2"])
def test_samples_of_a_divided_model_are_those_of_one_device(runs, name):
    folders = runs / name / "samples", runs / ONE / "samples"
    assert not (folders[0] / "parts").exists()
    found, wanted = (arrays(folder / "samples.npz") for folder in folders)
    np.testing.assert_array_equal(found["labels"], wanted["labels"])
    # Four steps, each from what round-off left of the one before.
    np.testing.assert_allclose(found["samples"], wanted["samples"], rtol=1e-5, atol=1e-5)


@slow
def test_a_run_is_the_same_in_every_layout_after_20_updates(tmp_path):
    for name in train_everywhere(tmp_path, 20, wide=True):
        assert_alike(tmp_path, name, 20, AFTER_20)


def _endless(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Two processes that train without end, once they have saved something; their numbers."""
    run = arguments("train", folder / "run", training__n_iters=10**6)
    parent = layouts.start(Stage([run], 1, 2))
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    while not (folder / "run" / "checkpoints" / "5").exists():
        assert parent.poll() is None, parent.communicate()[1]
        time.sleep(0.1)
    return parent, pids


@slow
def test_a_signal_to_one_process_ends_all_at_one_saved_step(tmp_path):
    parent, pids = _endless(tmp_path)
    os.kill(pids[1], signal.SIGTERM)
    said, _ = parent.communicate(timeout=100)
    assert said.splitlines()[-1] == "143 143"
    with Checkpoints(tmp_path / "run" / "checkpoints", read_only=True) as checkpoints:
        assert f"saved step {checkpoints.latest()} of" in said


@slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_whose_peer_is_killed_ends(tmp_path, lost):
    parent, pids = _endless(tmp_path)
    os.kill(pids[lost], signal.SIGKILL)
    said, errors = parent.communicate(timeout=2 * processes.HEARTBEAT)
    # 3 where a computation fails first, an abort where the lost connection is noticed first.
    code = said.splitlines()[-1].split()[1 - lost]
    assert code in ("3", str(-signal.SIGABRT)), errors
    assert "another process of this run is gone" in errors or "another task died" in errors


@pytest.mark.parametrize(
    "shape, smallest, expected",
    [
        ((3, 3, 8, 16), 1, (None, None, None, "fsdp")),
        ((3, 3, 16, 6), 1, (None, None, "fsdp")),
        ((12, 8), 1, ("fsdp",)),
        ((12, 8), 97, ()),
        ((3, 7), 1, ()),
        ((), 1, ()),
    ],
)
def test_an_array_is_divided_along_its_largest_axis_that_can_be(shape, smallest, expected):
    x = jax.ShapeDtypeStruct(shape, np.float32)
    for fsdp, spec in ((4, expected), (1, ())):
        mesh = AbstractMesh((2, fsdp), sharding.AXES)
        found = sharding.Layout(mesh, smallest).sharding(x)  # type: ignore[arg-type]
        assert found.spec == PartitionSpec(*spec)


@pytest.mark.parametrize("mesh", [(-1, -1), (2, 1), (-1, 2), (1, 2)])
def test_a_mesh_that_is_not_of_the_devices_is_refused_in_one_line(mesh):
    with pytest.raises(ValueError, match=r"number of devices, 1 .* got mesh\.data=") as e:
        sharding.device_mesh(*mesh)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "given, message",
    [
        (["--coordinator", "host:1"], "--coordinator must be given with the others of"),
        (["--coordinator", "host", "--num_processes", "2", "--process_id", "0"], "HOST:PORT"),
        (["--coordinator", "h:1", "--num_processes", "2", "--process_id", "2"], "from 0 to"),
    ],
)
def test_processes_that_cannot_meet_are_told_why(capsys, tmp_path, given, message):
    assert main.main([*arguments("train", tmp_path / "new"), *given]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_process_alone_agrees_with_itself_and_writes():
    assert processes.Agreement(sharding.device_mesh())(15) == 15
    done: list[int] = []
    processes.by_the_first(done.append)(1)
    assert done == [1]


JUDGED = {
    "model.nf": 8, "model.norm_num_groups": 4, "model.add_attention": False,
    "model.discriminator": 2, "model.discriminator_layers": 1, "training.adversary_start": 1,
    "training.batch_size": 8, "training.n_iters": 4, "training.eval_freq": 0,
    "training.snapshot_sampling": False, "optim.warmup": 0,
}  # fmt: skip
"""Settings of an autoencoder with a discriminator, whose batch norms are those of the batch."""


@slow
def test_an_autoencoder_and_its_judge_are_the_same_on_several_devices(tmp_path):
    def run(name: str) -> list[str]:
        place = ["--config", f"{tiny.CONFIG}:autoencoder,smoke", "--mode", "train"]
        own = [f"--config.{key}={value}" for key, value in JUDGED.items()]
        return [*place, "--workdir", str(tmp_path / name), *own]

    def state(name: str) -> list[np.ndarray]:
        others, settings = command_line.split(run(name))
        abstract = Experiment.of(command_line.load(others[1], settings)).abstract_state().as_dict()
        with Checkpoints(tmp_path / name / "checkpoints", read_only=True) as checkpoints:
            found = checkpoints.restore(abstract, step=4).state
        return jax.tree.leaves({name: found[name] for name in ("params", "ema", "opt_state")})

    here(run("one"))
    succeed(Stage([run("four")], 4))
    for x, y in zip(state("four"), state("one"), strict=True):
        np.testing.assert_allclose(x, y, **AFTER_20)
