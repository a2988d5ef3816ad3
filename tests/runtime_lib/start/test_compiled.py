"""Compiled programs are kept for the next run, and what a kill has left of one is removed."""

import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from runtime_lib.start import compiled

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
from runtime_lib.start.compiled import keep_compiled_programs
keep_compiled_programs(sys.argv[1])
import jax, jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3)))[0, 0])
"""


def run(folder: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != compiled.FOLDER}
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_a_half_written_program_is_compiled_again_without_a_word(tmp_path):
    first = run(tmp_path)
    entries = {path.name: path.read_bytes() for path in tmp_path.glob("*-cache")}
    assert entries
    assert all(map(compiled.is_whole, entries.values()))
    for name, packed in entries.items():
        assert not compiled.is_whole(packed[:-1])
        (tmp_path / name).write_bytes(packed[: len(packed) // 2])
    assert run(tmp_path) == first
    assert {path.name for path in tmp_path.glob("*-cache")} == set(entries)
    assert all(compiled.is_whole(path.read_bytes()) for path in tmp_path.glob("*-cache"))
    assert tmp_path.stat().st_mode & 0o077 == 0


def entry(folder: Path, name: str, age: float, packed: bytes) -> Path:
    path = folder / f"{name}-cache"
    path.write_bytes(packed)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_oldest_programs_go_first(tmp_path):
    packed = zlib.compress(b"a program")
    paths = [entry(tmp_path, str(age), age, packed) for age in (30.0, 20.0, 10.0)]
    compiled.tidy(tmp_path, largest=2 * len(packed))
    assert [path.exists() for path in paths] == [False, True, True]


def test_a_program_is_read_once(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(compiled, "is_whole", lambda packed: read.append(packed) or True)
    entry(tmp_path, "old", 100.0, b"1")
    compiled.tidy(tmp_path)
    entry(tmp_path, "new", -1.0, b"2")
    compiled.tidy(tmp_path)
    assert read == [b"1", b"2"]


@pytest.fixture
def environment(monkeypatch, tmp_path):
    monkeypatch.delenv(compiled.FOLDER, raising=False)
    monkeypatch.delenv(compiled.LEAST, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return os.environ


def test_the_place_is_the_users_own_unless_something_else_is_said(environment, tmp_path):
    compiled.keep_compiled_programs("none")
    assert compiled.FOLDER not in environment
    compiled.keep_compiled_programs("")
    own = tmp_path / "cache" / "score_sde" / "compiled"
    assert environment[compiled.FOLDER] == str(own)
    assert own.stat().st_mode & 0o777 == 0o700
    compiled.keep_compiled_programs(str(tmp_path / "other"))
    assert environment[compiled.FOLDER] == str(own)


def test_a_place_that_cannot_be_written_keeps_nobody_from_working(environment, tmp_path):
    (tmp_path / "file").write_text("")
    compiled.keep_compiled_programs(str(tmp_path / "file" / "folder"))
    assert compiled.FOLDER not in environment
