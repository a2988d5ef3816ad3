"""Runs of main.py on so many devices, in one process or in several that are one run.

    python tests/layouts.py STAGES     STAGES: a JSON list of Stage

Importing takes longer than a tiny run: the stages' processes are forked, one stage after the other,
from one that has imported and never runs a computation.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Stage:
    """Command lines, one after the other, on so many processes with so many devices each."""

    runs: list[list[str]]
    devices: int
    processes: int = 1


def start(*stages: Stage) -> subprocess.Popen[str]:
    """A process that makes the stages; it returns 0 if all did."""
    asked = json.dumps([asdict(stage) for stage in stages])
    return subprocess.Popen([sys.executable, __file__, asked], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _import() -> None:
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    import jax
    import matplotlib.pyplot  # noqa: F401
    import sklearn.datasets  # noqa: F401

    import main  # noqa: F401
    import modes.sample
    import modes.train  # noqa: F401
    from tests import tiny

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_disable_most_optimizations", True)  # compiling is most of the time
    tiny.register()


def _child(stage: Stage, port: int, index: int) -> int:
    import jax

    import main

    jax.config.update("jax_num_cpu_devices", stage.devices)
    first, *others = stage.runs
    if stage.processes > 1:  # met once for all runs
        first += ["--coordinator", f"127.0.0.1:{port}", "--process_id", str(index),
                  "--num_processes", str(stage.processes)]  # fmt: skip
    code = 0
    for arguments in (first, *others):
        code = code or main.main(arguments)
    try:
        main.leave(code)
    finally:
        if stage.processes > 1:
            jax.distributed.shutdown()  # a fork ends without atexit


def _fork(stage: Stage, port: int, index: int) -> int:
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = _child(stage, port, index)
        except SystemExit as left:
            code = int(left.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid


def _serve(asked: str) -> int:
    _import()
    worst = 0
    for stage in (Stage(**each) for each in json.loads(asked)):
        port = _free_port()
        pids = [_fork(stage, port, index) for index in range(stage.processes)]
        print(*pids, flush=True)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(*codes, flush=True)
        worst = worst or next((code for code in codes if code), 0)
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(_serve(*sys.argv[1:]))
