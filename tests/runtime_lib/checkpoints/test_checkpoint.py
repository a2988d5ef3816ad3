"""Checkpoints give back what was saved, or an older one and the reason, or a clear error."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from runtime_lib.checkpoints.store import (
    CheckpointError,
    Checkpoints,
    NoCheckpointError,
    StateMismatchError,
)

ROOT = Path(__file__).parents[3]
META = {"config": {"optim": {"lr": 1e-3}}, "data": {"epoch": 2, "seed": [1, 2]}}


class State(NamedTuple):
    step: jax.Array
    params: dict
    opt_state: optax.OptState
    key: jax.Array
    nothing: None = None


def make_state(step: int = 0, width: int = 512) -> State:
    kernel = jax.random.normal(jax.random.key(step), (3, width))
    params = {
        "dense": {"kernel": kernel, "bias": jnp.full((width,), step, jnp.bfloat16)},
        "empty": jnp.zeros((0, 2)),
        "mask": jnp.arange(5) % 2 == 0,
    }
    keys = jax.random.split(jax.random.key(step), 2)
    return State(jnp.int32(step), params, optax.adam(1e-3).init(params), keys)


def abstract(width: int = 512) -> State:
    return jax.eval_shape(lambda: make_state(0, width))


def bits(leaf: jax.Array) -> tuple:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
    return str(leaf.dtype), array.shape, array.tobytes()


def same(a, b) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        bits(x) == bits(y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.fixture(scope="module")
def three_steps(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    with Checkpoints(directory) as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(step, make_state(step), META)
    return directory


@pytest.fixture
def saved(three_steps, tmp_path) -> Path:
    return Path(shutil.copytree(three_steps, tmp_path / "checkpoints"))


class Log(list):
    def __call__(self, line: str) -> None:
        self.append(line)


def test_restore_gives_back_every_bit_and_the_meta(saved):
    with Checkpoints(saved) as checkpoints:
        restored = checkpoints.restore(abstract())
        earlier = checkpoints.restore(abstract(), step=10)
        assert checkpoints.read_meta() == checkpoints.read_meta(step=10) == META
    assert (restored.step, restored.meta, restored.skipped) == (30, META, [])
    assert same(restored.state, make_state(30))
    assert same(earlier.state, make_state(10))


def test_restore_part_needs_only_the_entries_asked_for(saved):
    with Checkpoints(saved, read_only=True) as checkpoints:
        part = checkpoints.restore_part({"params": abstract().params})
    assert same(part.state, {"params": make_state(30).params})


def data_files(step_directory: Path) -> list[Path]:
    """The files that hold the values and the record (orbax writes others that it never reads)."""
    values = sorted(
        step_directory.glob("state/ocdbt.process_0/d/*"), key=lambda f: f.stat().st_size
    )
    return [values[-1], *step_directory.glob("state/d/*"), step_directory / "meta" / "metadata"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_digit(path: Path) -> None:
    # JSON as good as before, with another data position: only its own checksum can tell.
    path.write_text(path.read_text().replace('"epoch": 2', '"epoch": 3'))


DAMAGE = {
    "flipped values": lambda d: flip(data_files(d)[0]),
    "flipped index": lambda d: flip(data_files(d)[1]),
    "truncated values": lambda d: os.truncate(data_files(d)[0], 100),
    "deleted values": lambda d: data_files(d)[0].unlink(),
    "deleted state": lambda d: shutil.rmtree(d / "state"),
    "bad metadata": lambda d: (d / "state" / "_METADATA").write_text("{"),
    "deleted record": lambda d: data_files(d)[-1].unlink(),
    "changed record": lambda d: change_digit(data_files(d)[-1]),
    "foreign record": lambda d: data_files(d)[-1].write_text("[1, 2]"),
    "empty directory": lambda d: (shutil.rmtree(d), d.mkdir()),
    "another step": lambda d: (shutil.rmtree(d), shutil.copytree(d.parent / "10", d)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_step_is_passed_over_and_it_is_said(saved, damage, capfd):
    DAMAGE[damage](saved / "30")
    log = Log()
    with Checkpoints(saved, log=log) as checkpoints:
        restored = checkpoints.restore(abstract())
        assert checkpoints.latest() == 20
        with pytest.raises(CheckpointError, match=r"checkpoint 30 in .* is damaged"):
            checkpoints.restore(abstract(), step=30)
        assert (saved / "30").exists()
        checkpoints.save(30, make_state(30), META, wait=True)
        assert checkpoints.restore(abstract()).step == 30
    assert restored.step == 20
    assert same(restored.state, make_state(20))
    assert [step for step, _ in restored.skipped] == [30]
    assert log[0].startswith("checkpoint 30 is skipped, damaged (")
    assert "using 20" in log[0]
    assert "\n" not in log[0]
    assert log[1].startswith("checkpoint 30 is replaced")
    assert len(log) == 2
    assert capfd.readouterr().err == ""


def test_flipping_any_byte_of_the_values_is_noticed(saved):
    path = data_files(saved / "30")[0]
    sound = path.read_bytes()
    with Checkpoints(saved, read_only=True, log=Log()) as checkpoints:
        for at in random.Random(0).sample(range(len(sound)), 8):
            path.write_bytes(sound[:at] + bytes([sound[at] ^ 0x10]) + sound[at + 1 :])
            restored = checkpoints.restore(abstract())
            # The compressed file has a few bytes that no value depends on.
            assert restored.step == 20 or same(restored.state, make_state(30))


def test_all_damaged_is_an_error_that_lists_them(saved):
    for step in (10, 20, 30):
        flip(data_files(saved / str(step))[0])
    with Checkpoints(saved) as checkpoints:
        with pytest.raises(
            CheckpointError, match=r"can be used: 30 is .*; 20 is .*; 10 is "
        ) as info:
            checkpoints.restore(abstract())
        assert not isinstance(info.value, NoCheckpointError)
        assert checkpoints.latest() is None
        assert checkpoints.steps() == [10, 20, 30]


def test_no_checkpoint_is_an_error_of_its_own(saved, tmp_path):
    with Checkpoints(tmp_path / "nowhere", read_only=True) as checkpoints:
        with pytest.raises(NoCheckpointError, match="train first"):
            checkpoints.restore(abstract())
        with pytest.raises(CheckpointError, match="reading only"):
            checkpoints.save(1, make_state(), META)
    assert not (tmp_path / "nowhere").exists()
    with Checkpoints(saved) as checkpoints, pytest.raises(NoCheckpointError, match="10, 20, 30"):
        checkpoints.read_meta(step=11)


def test_another_configuration_is_refused_by_leaf_and_not_taken_for_damage(saved):
    message = r"params/dense/bias is bfloat16\[512\] in the checkpoint and bfloat16\[32\] here"
    renamed = abstract()._replace(params={"other": abstract().params["dense"]})
    with Checkpoints(saved) as checkpoints:
        with pytest.raises(StateMismatchError, match=message):
            checkpoints.restore(abstract(width=32))
        with pytest.raises(StateMismatchError, match=r"params/dense/bias is .* absent here"):
            checkpoints.restore(renamed)
        with pytest.raises(StateMismatchError, match="ema/kernel is absent in the checkpoint"):
            checkpoints.restore_part({"ema": {"kernel": jax.ShapeDtypeStruct((3,), jnp.float32)}})
        assert checkpoints.latest() == 30


def test_the_newest_and_the_permanent_steps_are_kept(tmp_path):
    small = {"x": jnp.arange(3.0)}
    with Checkpoints(tmp_path, keep=2, snapshot_every=20) as checkpoints:
        for step in range(0, 75, 5):
            checkpoints.save(step, small, {})
        checkpoints.wait()
        assert checkpoints.steps() == [0, 20, 40, 60, 65, 70]


def test_a_damaged_step_does_not_count_among_those_kept(saved):
    flip(data_files(saved / "30")[0])
    with Checkpoints(saved, keep=1, log=Log()) as checkpoints:
        checkpoints.restore(abstract())
        checkpoints.save(25, make_state(25), META, wait=True)
        assert checkpoints.steps() == [25, 30]
        assert checkpoints.latest() == 25
        checkpoints.save(30, make_state(30), META, wait=True)
        assert checkpoints.steps() == [30]
        assert checkpoints.latest() == 30


def test_saving_a_step_again_replaces_it_only_if_it_differs(saved):
    log = Log()
    before = (saved / "30").stat().st_ino
    with Checkpoints(saved, log=log) as checkpoints:
        checkpoints.save(30, make_state(30), META, wait=True)
        assert (saved / "30").stat().st_ino == before
        assert log == []
        checkpoints.save(30, make_state(31), META, wait=True)
        assert log == ["checkpoint 30 is replaced (it is another state)"]
        assert same(checkpoints.restore(abstract()).state, make_state(31))


def test_a_donated_state_is_saved_as_it_was(tmp_path):
    update = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
    values = [np.random.default_rng(i).normal(size=(256, 1024)).astype("f4") for i in range(16)]
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(3):
            state = jax.tree.map(jnp.array, values)
            checkpoints.save(step, state, {})
            jax.block_until_ready(update(state))
        restored = checkpoints.restore(jax.eval_shape(lambda: jax.tree.map(jnp.array, values)))
        # What is restored can be donated in turn without touching what others hold.
        jax.block_until_ready(update(restored.state))
        again = checkpoints.restore(jax.eval_shape(lambda: jax.tree.map(jnp.array, values)))
    assert again.step == 2
    assert all(np.array_equal(x, y) for x, y in zip(again.state, values, strict=True))


@pytest.fixture
def file_size_limit():
    # What a full disk looks like to a process, without needing one.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failed_write_is_one_line_and_the_older_steps_remain(tmp_path, file_size_limit, capfd):
    big = {"x": jax.random.normal(jax.random.key(0), (500, 1000))}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(1), META, wait=True)
        file_size_limit(1_000_000)
        checkpoints.save(2, big, META)
        with pytest.raises(CheckpointError, match=r"checkpoint 2 could not be written") as info:
            checkpoints.wait()
        assert "size allowed" in str(info.value)
        assert "(saved before: 1)" in str(info.value)
        assert "\n" not in str(info.value)
        assert [path.name for path in tmp_path.iterdir()] == ["1"]
        checkpoints.wait()  # said once
        checkpoints.save(2, big, META)
        with pytest.raises(CheckpointError, match="checkpoint 2 could not be written"):
            checkpoints.save(3, make_state(3), META)
        assert same(checkpoints.restore(abstract()).state, make_state(1))
        file_size_limit(resource.RLIM_INFINITY)
        checkpoints.save(3, make_state(3), META)
    assert checkpoints.steps() == [1, 3]
    assert capfd.readouterr().err == ""


def test_a_directory_that_cannot_be_made_is_an_error_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot create .*: give another --workdir"):
        Checkpoints(tmp_path / "file" / "checkpoints")


def test_only_the_writer_removes_half_written_steps(saved):
    half = saved / "40.orbax-checkpoint-tmp"
    half.mkdir()
    with Checkpoints(saved, read_only=True) as checkpoints:
        assert checkpoints.steps() == [10, 20, 30]
        assert half.exists()
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.steps() == [10, 20, 30]
        assert not half.exists()


def test_a_step_removed_while_it_is_read_is_not_an_error(saved, monkeypatch):
    with Checkpoints(saved, read_only=True, log=Log()) as checkpoints:
        listed = iter([[10, 20, 30, 40], [10, 20, 30]])
        monkeypatch.setattr(checkpoints, "steps", lambda: next(listed))
        restored = checkpoints.restore(abstract())
    assert restored.step == 30
    assert restored.skipped == [(40, "removed while it was being read")]


def run(script: str, *args: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *args],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | environment,
    )


SHARDED = """
import sys, jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from runtime_lib.checkpoints.store import Checkpoints
mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Auto, AxisType.Auto))
specs = {"rows": P("a"), "columns": P(None, "b"), "both": P("b", "a"), "copies": P()}
def put(x, spec): return jax.device_put(x, NamedSharding(mesh, spec))
x = jnp.arange(48.0).reshape(4, 12)
state = {name: put(x + i, spec) for i, (name, spec) in enumerate(specs.items())}
state["key"] = put(jax.random.key(7), P())
with Checkpoints(sys.argv[1]) as checkpoints:
    checkpoints.save(1, state, {})
    back = checkpoints.restore(state).state
    assert all(back[n].sharding.is_equivalent_to(state[n].sharding, 2) for n in specs)
    other = NamedSharding(mesh, P("a", "b"))
    turned = {n: jax.ShapeDtypeStruct((4, 12), jnp.float32, sharding=other) for n in specs}
    part = checkpoints.restore_part(turned)
    assert part.skipped == [] and all(bool((part.state[n] == state[n]).all()) for n in specs)
"""


def test_a_state_of_four_devices_restores_in_other_layouts_and_on_one(tmp_path):
    four = run(SHARDED, str(tmp_path), JAX_NUM_CPU_DEVICES="4")
    four.communicate()
    assert four.returncode == 0
    x = jnp.arange(48.0).reshape(4, 12)
    state = {name: x + i for i, name in enumerate(("rows", "columns", "both", "copies"))}
    state["key"] = jax.random.key(7)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(jax.eval_shape(lambda: state))
    assert restored.skipped == []
    assert same(restored.state, state)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(restored.state))


TRAINING = """
import sys, jax, jax.numpy as jnp
from runtime_lib.checkpoints.store import Checkpoints
def make(step): return {str(i): jnp.full((128, 1024), step + i / 16.0) for i in range(16)}
with Checkpoints(sys.argv[1], keep=2) as checkpoints:
    step = checkpoints.restore(jax.eval_shape(lambda: make(0))).step if checkpoints.steps() else 0
    while True:
        step += 1
        checkpoints.save(step, make(step), {"position": step})
        print(step, flush=True)
"""


def test_kill_during_saves_leaves_a_sound_newest_step(tmp_path):
    def make(step: int) -> dict:
        return {str(i): jnp.full((128, 1024), step + i / 16.0) for i in range(16)}

    delays, interrupted, newest = random.Random(time.time_ns()), 0, 0
    half_written = lambda: any("tmp" in path.name for path in tmp_path.iterdir())
    for kill in range(3):
        training = run(TRAINING, str(tmp_path))
        lines = [int(training.stdout.readline()) for _ in range(2)]
        assert lines[0] == newest + 1  # it resumed from the newest step
        time.sleep(delays.uniform(0, 0.3))
        while kill == 0 and not half_written():
            time.sleep(1e-4)
        training.send_signal(signal.SIGKILL)
        training.communicate()
        interrupted += half_written()
        with Checkpoints(tmp_path, read_only=True) as checkpoints:
            restored = checkpoints.restore(jax.eval_shape(lambda: make(0)))
        # The second save begins when the first is on the disk.
        assert restored.skipped == []
        assert restored.step >= lines[0]
        assert restored.meta == {"position": restored.step}
        assert same(restored.state, make(restored.step))
        newest = restored.step
    assert interrupted > 0  # else the kills proved nothing
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert all(path.name.isdecimal() for path in tmp_path.iterdir())
        assert checkpoints.steps()[-1] == newest
