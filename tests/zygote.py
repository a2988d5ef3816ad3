"""Runs of main.py in processes of their own that may be killed, forked from one that has imported.

    python tests/zygote.py FOLDER < Runs, one JSON object a line > Results, likewise

Importing takes several times as long as a tiny run; a fork has it done. No child is forked after
jax has started its threads: the parent never runs a computation.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Run:
    """Arguments of main.py; `event` at `step` (see `EVENTS`) cuts the run short."""

    arguments: list[str]
    event: str = ""
    step: int = 0
    devices: int = 1


class Result(NamedTuple):
    """returncode: -9 for a kill."""

    returncode: int
    stdout: str
    stderr: str


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk() -> None:
    """From now on no file may grow beyond 100 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))


def _at_save(step: int, before: Any = None, after: Any = None) -> None:
    from runtime_lib.checkpoints.store import Checkpoints

    save = Checkpoints.save

    def wrapped(self: Any, at: int, *args: Any, **kwargs: Any) -> None:
        if at == step and before:
            before()
        save(self, at, *args, **kwargs)
        if at == step and after:
            after()

    Checkpoints.save = wrapped  # type: ignore[method-assign]


def _at_update(step: int, act: Any) -> None:
    from train_lib import feed

    stack = feed.stack_batches
    made = [0]

    def wrapped(*args: Any) -> Any:
        made[0] += 1
        if made[0] == step:
            act()
        return stack(*args)

    feed.stack_batches = wrapped


def _poison(step: int) -> None:
    """The images of the update that follows `step` others are NaN, in whichever run makes it."""
    from train_lib import feed

    batches = feed.training_batches

    def wrapped(images: Any, config: Any, start: int) -> Any:
        for made, batch in enumerate(batches(images, config, start), start):
            yield {**batch, "image": batch["image"] * (float("nan") if made == step else 1)}

    feed.training_batches = wrapped  # type: ignore[assignment]


def _when_replacing(step: int) -> None:
    replace, made = os.replace, [0]

    def wrapped(*paths: Any, **kwargs: Any) -> None:
        made[0] += 1
        if made[0] == step:
            kill()
        replace(*paths, **kwargs)

    os.replace = wrapped


def _when_half_written(step: int) -> None:
    # The folder of an unfinished checkpoint has a longer name than its step's.
    def watch() -> None:
        folder = Path(sys.argv[-1]) / "checkpoints"
        while not list(folder.glob(f"{step}.*")):
            time.sleep(1e-4)
        kill()

    _at_save(step, before=threading.Thread(target=watch, daemon=True).start)


def _when_removing(step: int) -> None:
    from runtime_lib.checkpoints import step_directories

    remove = step_directories._remove_known

    def wrapped(folder: Path) -> None:
        if folder.name.startswith(f"{step}."):
            next(p for p in folder.rglob("*") if p.is_file()).unlink()
            kill()
        remove(folder)

    step_directories._remove_known = wrapped


def _when_part_is_kept(step: int) -> None:
    from runtime_lib.results import Parts

    put = Parts.put

    def wrapped(self: Any, name: str, arrays: Any) -> None:
        put(self, name, arrays)
        if name == f"{step:08d}":
            kill()

    Parts.put = wrapped  # type: ignore[method-assign]


def _full_disk_for_samples(step: int) -> None:
    from modes import generator

    draw = generator.Generator.draw

    def wrapped(self: Any, first: int, count: int) -> Any:
        drawn = draw(self, first, count)
        if first == step:
            fill_disk()
        return drawn

    generator.Generator.draw = wrapped  # type: ignore[method-assign]


def _damaged_copy(keep: int) -> None:
    """The workdir `five`, with a flipped byte in every data file but of the oldest `keep` steps."""
    folder = Path(sys.argv[-1])
    shutil.copytree(folder.with_name("five"), folder)
    steps = (folder / "checkpoints").iterdir()
    for step in sorted(steps, key=lambda path: int(path.name))[keep:]:
        for file in (step / "state").rglob("d/*"):
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)


EVENTS = {
    "": lambda step: None,
    "kill before save": lambda step: _at_save(step, before=kill),
    "kill after save returned": lambda step: _at_save(step, after=kill),
    "kill half-written": _when_half_written,
    "kill while removing": _when_removing,
    "kill before update": lambda step: _at_update(step, kill),
    "kill before replacing": _when_replacing,
    "poison": _poison,
    "SIGTERM": lambda step: _at_update(step, lambda: os.kill(os.getpid(), signal.SIGTERM)),
    "SIGINT": lambda step: _at_update(step, lambda: os.kill(os.getpid(), signal.SIGINT)),
    "full disk": lambda step: _at_save(step, before=fill_disk),
    "kill after part": _when_part_is_kept,
    "full disk for samples": _full_disk_for_samples,
    "damaged copy": _damaged_copy,
}


def _hold_to_what_is_listed(mode: str, experiment: Any) -> Any:
    """A check, for when the mode is done, that it read nothing that is not listed."""
    from modes import reading

    record = experiment.config.record
    before, row = set(record.names), reading.kind(mode, experiment.config)

    def check() -> None:
        # Data is loaded from all of its section; `data_lib.settings` says what has an effect.
        unlisted = {name for name in record.names - before if not reading.is_listed(name, row)}
        late = {name for name in unlisted if not name.startswith("data.")}
        if late:
            raise AssertionError(f"--mode {mode} reads {sorted(late)}, which READS does not list")

    return check


def _watch_reads() -> list[Any]:
    """Checks to call when a run is done."""
    from modes import reading

    checks, refuse = [], reading.check

    def wrapped(mode: str, experiment: Any, given: Any) -> None:
        refuse(mode, experiment, given)
        checks.append(_hold_to_what_is_listed(mode, experiment))

    reading.check = wrapped
    return checks


def _child(run: Run, stdout: int, stderr: int) -> NoReturn:
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    code = 70
    try:
        import jax

        import main

        jax.config.update("jax_num_cpu_devices", run.devices)

        sys.argv = [*run.arguments, run.arguments[run.arguments.index("--workdir") + 1]]
        EVENTS[run.event](run.step)
        checks = _watch_reads()
        code = main.main(run.arguments)
        for check in checks:
            check()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _fork(run: Run) -> Result:
    # Pipes hold 64 KiB, which is more than a run says; a file could not grow on a full disk.
    pipes = [os.pipe(), os.pipe()]
    pid = os.fork()
    if pid == 0:
        _child(run, pipes[0][1], pipes[1][1])
    texts = []
    for reading, writing in pipes:
        os.close(writing)
        with os.fdopen(reading) as file:
            texts.append(file.read())
    return Result(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), *texts)


def _serve() -> None:
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    # Whatever a run will need, so that no child has to import it again.
    import jax
    import matplotlib.pyplot  # noqa: F401
    import sklearn.datasets  # noqa: F401

    import main  # noqa: F401
    import modes.sample
    import modes.train  # noqa: F401
    from tests import tiny

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_traceback_in_locations_limit", 0)
    # Compiling takes a fifth of the time, and all children do the same.
    jax.config.update("jax_disable_most_optimizations", True)
    tiny.register()
    for line in sys.stdin:
        start = time.perf_counter()
        run = Run(**json.loads(line))
        print(json.dumps(_fork(run)), flush=True)
        if os.environ.get("ZYGOTE_TIMES"):
            print(f"{time.perf_counter() - start:.1f} s {run.event or 'run'}", file=sys.stderr)


def run_all(runs: list[Run]) -> list[Result]:
    """The results of runs, one after the other."""
    done = subprocess.run(
        [sys.executable, __file__],
        input="".join(json.dumps(asdict(run)) + "\n" for run in runs),
        text=True,
        check=True,
        stdout=subprocess.PIPE,
        timeout=280,
    )
    return [Result(*json.loads(line)) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    _serve()
