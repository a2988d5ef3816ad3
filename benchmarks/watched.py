"""Reading files from strangers in a process that is watched: resources and actions of each file.

    python -m benchmarks.watched SCRATCH [--fork] < lines of [reader, path], JSON
                                                  > lines of Outcome, JSON

SCRATCH is the one folder that may be written to. With --fork every file is read in a process of its
own, forked from one that has imported everything, and killed after `HANG` seconds.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from untrusted import UntrustedError

HANG = 10.0
"""Seconds after which reading one file is given up."""


class Outcome(NamedTuple):
    """The outcome of reading a file.

    verdict: accepted, refused, traceback, hang or crash.
    told: the message of the exception; for a traceback, its end.
    seconds, cpu: wall-clock and CPU seconds.
    growth: bytes by which the process grew at most.
    acts: code run, files opened for writing, data sent, modules imported.
    """

    verdict: str
    told: str
    seconds: float
    cpu: float
    growth: int
    acts: list[str]


# Readers -----------------------------------------------------------------------------------------


def _checked(weights: Mapping[str, Any] | None) -> None:
    from models.pretrained.base import finite

    for name in weights or ():
        finite(name, np.asarray(weights[name]))  # type: ignore[index]


def checkpoint(path: Path) -> None:
    """The part of `--mode import` before a network is built."""
    from models.pretrained import open_checkpoint

    opened = open_checkpoint(path)
    _checked(opened.checkpoint.raw)
    _checked(opened.checkpoint.ema)


def model(path: Path) -> None:
    """Everything that `--mode import` does without a config, except writing."""
    from models.pretrained import load

    load(path)


def containers(path: Path) -> None:
    """Any file of PyTorch's formats, unchanged."""
    from models.pretrained.files import torch_files

    torch_files.read(path)


def packs(path: Path) -> None:
    """Any file of flax's format, unchanged."""
    from models.pretrained.files import packs

    packs.read(path)


def features(path: Path) -> None:
    """The weights of a feature network."""
    from models.features import files

    weights, _ = files.read(path)
    for name in weights:
        np.asarray(weights[name])


def arrays(path: Path) -> None:
    """A .npy or .npz file."""
    from untrusted import read_arrays, read_headers

    read_headers(path)
    read_arrays(path)


def columns(path: Path) -> None:
    """A table, all columns but the last as numbers, the last as texts."""
    from untrusted import read_names, read_table

    names = read_names(path)
    read_table(path, names[:-1], names[-1])


def settings(path: Path) -> None:
    """A JSON file."""
    from untrusted import read_json

    read_json(path)


def picture(path: Path) -> None:
    """A picture as a folder of them is read."""
    from data_lib.pictures import fit
    from untrusted.pictures import open_picture

    with open_picture(path) as image:
        fit(image, (16, 16), 3)


def pictures(path: Path) -> None:
    """A folder of pictures, by as many threads as there are."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(picture, sorted(path.iterdir())))


def statistics(path: Path) -> None:
    """Reference statistics."""
    from eval_lib.features import reference
    from eval_lib.features.extractors import Extractor, Pixels

    reference.read(path, Extractor(Pixels(), "pixels"))


READERS: dict[str, Callable[[Path], None]] = {
    reader.__name__: reader
    for reader in (checkpoint, model, containers, packs, features, arrays, columns, settings,
                   picture, pictures, statistics)
}  # fmt: skip

# Watching ----------------------------------------------------------------------------------------

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_RUNS = (
    "exec", "import", "marshal.loads", "pickle.find_class", "ctypes.",
    "os.system", "os.exec", "os.posix_spawn", "os.startfile", "os.kill", "subprocess.Popen",
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.link",
    "os.symlink", "os.truncate", "shutil.", "tempfile.", "sqlite3.",
    "socket.", "urllib.", "webbrowser.",
)  # fmt: skip


class Watch:
    """An audit hook that records actions while it is on; hooks cannot be removed."""

    def __init__(self, scratch: Path):
        self.scratch, self.on, self.acts = str(scratch.resolve()), False, list[str]()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or not (event == "open" or event.startswith(_RUNS)):
            return
        if event == "open" and not self._writes(*arguments):
            return
        if event == "import" and arguments[0] in sys.modules:
            return
        # What is written down must not be heard itself.
        self.on = False
        self.acts.append(f"{event} {arguments!r:.200}")
        self.on = True

    def _writes(self, path: Any, mode: Any, flags: Any) -> bool:
        written = flags & _WRITES if isinstance(flags, int) else set(mode or "") & set("wax+")
        inside = isinstance(path, str) and path.startswith(self.scratch)
        return bool(written) and not inside

    @contextlib.contextmanager
    def listening(self) -> Iterator[list[str]]:
        """Record actions within this context in the list."""
        self.acts, self.on = [], True
        try:
            yield self.acts
        finally:
            self.on = False


def _memory(key: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) << 10


def _begin_peak() -> int:
    """Reset the largest memory of the process; returns the present one."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _memory("VmRSS")


def read(reader: str, path: Path, watch: Watch) -> Outcome:
    """Read one file."""
    before, acts = _begin_peak(), []
    start, cpu = time.perf_counter(), time.process_time()
    verdict, told = "accepted", ""
    try:
        with watch.listening() as acts:
            READERS[reader](path)
    except (ValueError, OSError) as error:
        # A table of tensors may follow the line of an UntrustedError.
        told = str(error)
        one_line = bool(told) and ("\n" not in told or isinstance(error, UntrustedError))
        verdict = "refused" if one_line else "traceback"
    except BaseException:
        verdict, told = "traceback", traceback.format_exc(limit=-6)
    growth = _memory("VmHWM") - before
    cpu = time.process_time() - cpu
    return Outcome(verdict, told[-2000:], time.perf_counter() - start, cpu, growth, acts)


def ended(status: int, *, hung: bool) -> Outcome:
    """The outcome for a file whose reader was killed, or died."""
    seconds = HANG if hung else 0.0
    return Outcome("hang" if hung else "crash", f"exit {status}", seconds, seconds, 0, [])


def _forked(reader: str, path: Path, watch: Watch) -> Outcome:
    """Read one file in a process of its own."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(int(HANG))
        with os.fdopen(writing, "w") as file:
            json.dump(read(reader, path, watch), file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if text:
        return Outcome(*json.loads(text))
    return ended(status, hung=status == -signal.SIGALRM)


def main() -> None:
    """Read the requested files until the input ends."""
    warnings.simplefilter("error")
    for name in (
        "models.pretrained", "models.features", "eval_lib.features.reference",
        "data_lib.pictures", "untrusted.pictures", "pyarrow.compute", "pyarrow.csv",
        "pyarrow.parquet",
    ):  # fmt: skip
        __import__(name)
    watch = Watch(Path(sys.argv[1]))
    reading = _forked if "--fork" in sys.argv else read
    gc.freeze()  # what was imported is not looked through, nor copied, in every process
    for line in sys.stdin:
        reader, path = json.loads(line)
        print(json.dumps(reading(reader, Path(path), watch)), flush=True)


if __name__ == "__main__":
    main()
