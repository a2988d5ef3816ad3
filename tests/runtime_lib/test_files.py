"""Files are old or new and never half, and one training run at a time holds a workdir."""

import errno
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
    atomic_write(path, content)
    assert path.read_bytes() == b"\xc3\xa9"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["file"]


def test_atomic_write_that_fails_leaves_the_old_file_alone(tmp_path):
    def fail(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    atomic_write_json(path, {"b": 1, "a": [2]})
    before = path.read_text()
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, fail)
    assert path.read_text() == before == '{\n  "a": [\n    2\n  ],\n  "b": 1\n}\n'
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "error, reason",
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full: free some space"),
        (ValueError('DATA_LOSS: Error "x"\n in y'), "the data files cannot be read (DATA_LOSS)"),
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


def test_only_what_a_killed_write_left_is_removed(tmp_path):
    kept = [tmp_path / name for name in ("config.json", ".lock", "notes.tmp", ".hidden")]
    for path in (*kept, tmp_path / ".config.json.x1y2.tmp"):
        path.write_text("")
    remove_temporary(tmp_path)
    remove_temporary(tmp_path / "absent")
    assert sorted(tmp_path.iterdir()) == sorted(kept)
