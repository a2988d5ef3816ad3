"""Files are old or new and never half, and one training run at a time holds a workdir."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime_lib.files import (
    WorkdirLock,
    WorkdirLockedError,
    atomic_write,
    atomic_write_json,
    plain_reason,
    remove_temporary,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "content", [b"\xc3\xa9", "\u00e9", lambda file: file.write(b"\xc3\xa9")], ids=type
)
def test_atomic_write_takes_bytes_text_or_a_function(tmp_path, content):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    atomic_write(path, content, known=True)
    assert path.read_bytes() == b"\xc3\xa9"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["file"]


def test_atomic_write_that_fails_leaves_the_old_file_alone(tmp_path):
    def fail(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    atomic_write_json(path, {"b": 1, "a": [2]}, known=True)
    before = path.read_text()
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, fail)
    assert path.read_text() == before == '{\n  "a": [\n    2\n  ],\n  "b": 1\n}\n'
    assert os.listdir(tmp_path) == ["file"]


def caused(by: Exception) -> Exception:
    """An error as a library raises it after one below it."""
    error = RuntimeError("an index: see the details")
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    "error, reason",
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full: free some space"),
        (ValueError('DATA_LOSS: Error "x"\n in y'), "the data files cannot be read (DATA_LOSS)"),
        (caused(ValueError("OUT_OF_RANGE: bytes")), "the data files cannot be read (OUT_OF_RANGE)"),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError("one\ntwo"), "RuntimeError: one"),
    ],
)
def test_plain_reason_is_one_short_line(error, reason):
    assert plain_reason(error) == reason


HOLD = """
import sys
from runtime_lib.files import WorkdirLock
with WorkdirLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_by_name_until_the_first_is_gone(tmp_path):
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert first.stdout.readline() == b"held\n"
    with pytest.raises(WorkdirLockedError, match=f"process {first.pid}\\)"):
        WorkdirLock(tmp_path).__enter__()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    with WorkdirLock(tmp_path), pytest.raises(WorkdirLockedError, match=f"{os.getpid()}"):
        WorkdirLock(tmp_path).__enter__()
    with WorkdirLock(tmp_path):
        pass


KILLED = """
import os, sys
from runtime_lib.files import atomic_write
atomic_write(sys.argv[1], lambda file: (file.write(b"half"), file.flush(), os._exit(9)))
"""


def test_only_what_a_killed_write_left_is_removed(tmp_path):
    names = ("config.json", ".lock", "notes.tmp", ".hidden", ".config.json.x1y2.tmp",
             ".config.json.0123456789abcdef0123456789abcdef.tmp")  # fmt: skip
    kept = [tmp_path / name for name in names]
    for path in kept:
        path.write_text("")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "config.json")], env=environment
    )
    assert done.returncode == 9
    assert len(list(tmp_path.iterdir())) == len(kept) + 1
    remove_temporary(tmp_path)
    remove_temporary(tmp_path / "absent")
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_file_of_the_users_is_set_aside_and_one_of_ours_is_replaced(tmp_path):
    path, told = tmp_path / "report.json", []
    path.write_text("mine")
    for n in range(2):
        atomic_write_json(path, {"n": n}, log=told.append)
    assert json.loads(path.read_text())["n"] == 1
    assert (tmp_path / "report_1.json").read_text() == "mine"
    assert told == [f"{path} is not a file of this program: moved to {tmp_path}/report_1.json"]


@pytest.mark.parametrize("kind", ["text", "link", "pipe", "folder"])
def test_what_is_no_lock_is_neither_emptied_nor_waited_for(tmp_path, kind):
    lock, other = tmp_path / ".lock", tmp_path / "other"
    other.write_text("precious")
    {"text": lambda: lock.write_text("precious"), "link": lambda: lock.symlink_to(other),
     "pipe": lambda: os.mkfifo(lock), "folder": lock.mkdir}[kind]()  # fmt: skip
    with pytest.raises(WorkdirLockedError, match="is no lock of this program"):
        WorkdirLock(tmp_path).__enter__()
    assert other.read_text() == "precious"
    assert kind != "text" or lock.read_text() == "precious"
