"""The watch sees what it is for; files are changed, in the same ways from the same seed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks import fuzz, fuzz_changes
from benchmarks.fuzz_seeds import Seed, arrays, directories, pictures
from benchmarks.watched import Outcome

ROOT = Path(__file__).parents[2]
MISDEEDS = """
import json, os, signal, socket, subprocess, sys, time, warnings
from pathlib import Path
from benchmarks import watched
from untrusted import UntrustedError

def table(path):
    raise UntrustedError("a line\\nand a table")
def two_lines(path):
    raise ValueError("a line\\nand another")
def wordless(path):
    raise ValueError("")
def key(path):
    return {}["x"]
def numbers(path):
    raise ZeroDivisionError("division by zero")
def leaving(path):
    raise SystemExit(0)
def warned(path):
    warnings.warn("careful")
def command(path):
    os.system("true")
def program(path):
    subprocess.run(["true"])
def text(path):
    exec("1")
def module(path):
    import antigravity_of_nobody
def network(path):
    socket.socket().close()
def written(path):
    open(path, "w").close()
def removed(path):
    os.remove(path)
def scratch(path):
    open(Path(sys.argv[1]) / "inside", "w").close()
def looked_at(path):
    open(path).read()
def large(path):
    b"x" * (210 << 20)
def waiting(path):
    time.sleep(60)
def killed(path):
    os.kill(os.getpid(), signal.SIGSEGV)

warnings.simplefilter("error")
watched.HANG = 5
watch = watched.Watch(Path(sys.argv[1]))
for reader in (table, two_lines, wordless, key, numbers, leaving, warned, command, program, text,
               module, network, written, removed, scratch, looked_at, large, waiting, killed):
    watched.READERS[reader.__name__] = reader
    path = Path(sys.argv[2])
    path.write_text("x")
    print(json.dumps([reader.__name__, watched._forked(reader.__name__, path, watch)]))
"""


@pytest.fixture(scope="module")
def misdeeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    command = [sys.executable, "-c", MISDEEDS, str(folder / "scratch"), str(folder / "file")]
    (folder / "scratch").mkdir()
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return {name: Outcome(*told) for name, told in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize(
    "name, found",
    [("table", []), ("looked_at", []), ("scratch", []), ("two_lines", ["traceback"]),
     ("wordless", ["traceback"]), ("key", ["traceback"]), ("numbers", ["traceback"]),
     ("leaving", ["traceback"]), ("warned", ["traceback"]), ("command", ["acts"]),
     ("program", ["acts"]), ("text", ["acts"]), ("module", ["traceback", "acts"]),
     ("network", ["acts"]), ("written", ["acts"]), ("removed", ["acts"]), ("large", ["growth"]),
     ("waiting", ["hang"]), ("killed", ["crash"])],
)  # fmt: skip
def test_the_watch_finds_what_must_not_come_of_a_file_and_nothing_else(name, found, misdeeds):
    assert fuzz.findings(misdeeds[name]) == found, misdeeds[name]


@pytest.mark.slow
def test_a_process_that_waits_for_others_is_not_one_that_hangs(monkeypatch):
    """Silence is counted by the processor, and by the clock only after long."""
    monkeypatch.setattr(fuzz, "HANG", 1.0)
    silent = "import time; time.sleep(2); print('late')"
    busy = "while True: pass"
    for program, patience, said in ((silent, 60, "late\n"), (silent, 0.5, ""), (busy, 60, "")):
        monkeypatch.setattr(fuzz, "PATIENCE", patience)
        command = [sys.executable, "-I", "-S", "-c", program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert fuzz._line(process) == said
            process.kill()


def test_slow_is_what_takes_the_processor_for_two_seconds():
    assert fuzz.findings(Outcome("refused", "x", 9.0, 1.9, 0, [])) == []
    assert fuzz.findings(Outcome("refused", "x", 9.0, 2.1, 0, [])) == ["hang"]


@pytest.mark.parametrize("name", fuzz_changes.FORMATS)
def test_changes_are_of_all_sorts_and_follow_from_the_seed(name):
    known = {"torch zip": Seed("", "torch zip", "", (ROOT / ZIP).read_bytes())}
    known |= {**directories(), **arrays(), **pictures()}
    known["snapshot"] = Seed("", "snapshot", "", (ROOT / SNAPSHOT).read_bytes())
    known["torch stream"] = Seed("", "torch stream", "", (ROOT / STREAM).read_bytes())
    known["msgpack"] = Seed("", "msgpack", "", b"\x82\xa1a\x01\xa1b\x93\x01\x02\x03")
    data = next(seed.data for seed in known.values() if seed.mutation == name)
    change = fuzz_changes.FORMATS[name]
    first, again = ([change(random.Random(k), data) for k in range(60)] for _ in range(2))
    assert first == again
    assert len(set(first) - {data}) > 30


ZIP = "tests/golden/foreign/zip.pth"
SNAPSHOT = "tests/golden/foreign/snapshot_4.pkl"
STREAM = "tests/golden/foreign/legacy.pth"


def test_changes_within_a_zip_leave_it_sound(tmp_path):
    """Otherwise checksums and directories would keep a reader from what is in it."""
    data = arrays()["npz"].data
    sound = 0
    for k in range(40):
        path = tmp_path / f"{k}.npz"
        path.write_bytes(
            fuzz_changes.rebuilt(lambda name: fuzz_changes.npy)(random.Random(k), data)
        )
        sound += zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip() is None
    assert sound == 40


def test_what_was_found_is_kept_and_the_table_counts_it(tmp_path):
    seed = Seed("arrays", "npz", "a.npz", b"sound")
    outcome = Outcome("traceback", "Traceback", 0.1, 0.1, 5, [])
    for data in (b"one", b"two"):
        fuzz.keep(tmp_path, "npz, of mine", seed, data, outcome)
    assert (tmp_path / "npz_of_mine.1.data").read_bytes() == b"two"
    assert json.loads((tmp_path / "npz_of_mine.0.json").read_text())["verdict"] == "traceback"
    counts = {"npz": fuzz.Counter(files=3, refused=2, traceback=1)}
    assert fuzz.table(counts).splitlines()[-1] == "| all | 3 | 0 | 2 | 1 | 0 | 0 | 0 | 0 |"
    path = fuzz.written(Seed("x", "json", "d/e/f", b"", {"d/g": b"beside"}), b"new", tmp_path)
    assert path == tmp_path / "d"
    assert ((path / "e/f").read_bytes(), (path / "g").read_bytes()) == (b"new", b"beside")
