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
    folder = tmp_path / compiled.PROGRAMS
    entries = {path.name: path.read_bytes() for path in folder.glob("*-cache")}
    assert entries
    assert {compiled.state(packed) for packed in entries.values()} == {compiled.WHOLE}
    for name, packed in entries.items():
        assert compiled.NAME.fullmatch(name)
        for size in (len(packed) - 1, 1, 0):
            assert compiled.state(packed[:size]) == compiled.CUT
        (folder / name).write_bytes(packed[: len(packed) // 2])
    assert run(tmp_path) == first
    assert {path.name for path in folder.glob("*-cache")} == set(entries)
    states = {compiled.state(path.read_bytes()) for path in folder.glob("*-cache")}
    assert states == {compiled.WHOLE}
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def folder(tmp_path):
    """A folder of programs of ours."""
    place = tmp_path / compiled.PROGRAMS
    assert not compiled._claim(place)
    old = time.time() - 1000
    os.utime(place / compiled.ABOUT, (old, old))
    return place


def entry(folder: Path, name: str, age: float, packed: bytes) -> Path:
    path = folder / f"jit_{name}-{'0' * 64}-cache"
    path.write_bytes(packed)
    os.utime(path, (time.time() - age,) * 2)
    return path


PACKED = zlib.compress(bytes(range(256)))


def test_the_oldest_programs_go_first(folder):
    paths = [entry(folder, str(age), age, PACKED) for age in (30.0, 20.0, 10.0)]
    compiled.tidy(folder, largest=2 * len(PACKED))
    assert [path.exists() for path in paths] == [False, True, True]


def test_a_program_is_read_once(folder, monkeypatch):
    read = []
    monkeypatch.setattr(compiled, "state", lambda packed: read.append(packed) or compiled.WHOLE)
    entry(folder, "old", 100.0, b"1")
    compiled.tidy(folder)
    entry(folder, "new", -1.0, b"2")
    compiled.tidy(folder)
    assert read == [b"1", b"2"]


NAMED = f"jit_f-{'0' * 64}-cache"
DECOYS = {
    "thesis-cache": b"four years", NAMED.upper(): PACKED[:9], f"{NAMED}.bak": PACKED[:9],
    NAMED: b"no program, though named like one", "checked": b"", "notes": b"\x78\x9c",
}  # fmt: skip


def test_what_is_no_program_by_its_name_and_content_stays(folder, monkeypatch):
    for name, content in DECOYS.items():
        (folder / name).write_bytes(content)
    (folder / f"jit_link-{'0' * 64}-cache").symlink_to(folder / "thesis-cache")
    mine = entry(folder, "mine", 5.0, PACKED)
    compiled.tidy(folder, largest=0)
    assert {name: (folder / name).read_bytes() for name in DECOYS} == DECOYS
    assert not mine.exists()


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
    own = tmp_path / "cache" / "score_sde" / "compiled" / compiled.PROGRAMS
    assert environment.pop(compiled.FOLDER) == str(own)
    assert own.stat().st_mode & 0o777 == 0o700
    for _ in range(2):
        compiled.keep_compiled_programs(str(tmp_path / "other"))
        assert environment.pop(compiled.FOLDER) == str(tmp_path / "other" / compiled.PROGRAMS)


def test_a_folder_of_the_users_is_left_as_it_was(environment, tmp_path):
    """Programs have a folder of their own in it."""
    for name, content in DECOYS.items():
        (tmp_path / name).write_bytes(content)
    compiled.keep_compiled_programs(str(tmp_path))
    assert environment[compiled.FOLDER] == str(tmp_path / compiled.PROGRAMS)
    assert {name: (tmp_path / name).read_bytes() for name in DECOYS} == DECOYS


FOREIGN = {
    "files": lambda place: (place.mkdir(), (place / NAMED).write_bytes(PACKED[:9])),
    "a file of that name": lambda place: place.write_bytes(b"mine"),
    "a link": lambda place: (place.with_name("x").mkdir(), place.symlink_to(place.with_name("x"))),
    "written by others": lambda place: (place.mkdir(), place.chmod(0o777)),
    "another's text": lambda place: (place.mkdir(), (place / compiled.ABOUT).write_text("mine")),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_of_another_is_left_alone_and_it_is_said(environment, tmp_path, kind):
    place, told = tmp_path / compiled.PROGRAMS, []
    FOREIGN[kind](place)
    files = lambda: {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}
    before = files()
    compiled.keep_compiled_programs(str(tmp_path), told.append)
    assert compiled.FOLDER not in environment
    assert len(told) == 1
    assert "not kept" in told[0]
    assert files() == before


def test_a_place_that_cannot_be_written_keeps_nobody_from_working(environment, tmp_path):
    (tmp_path / "file").write_text("")
    told = []
    compiled.keep_compiled_programs(str(tmp_path / "file" / "folder"), told.append)
    assert compiled.FOLDER not in environment
    assert "not kept" in told[0]
