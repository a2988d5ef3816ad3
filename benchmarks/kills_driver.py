"""`main.py`, killed on its way: python kills_driver.py EVENT AFTER ARGUMENTS...

EVENT: file, save, evaluation or data as in `kills.py`, or empty; AFTER: how many events are let
pass, or, for a save, how many seconds after it began.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CHANGES = "open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"


def kill() -> None:
    """Kill this process at once, without messages or tidying up."""
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Kills at the call after so many others."""

    def __init__(self, passes: float) -> None:
        self._left = passes

    def __call__(self) -> None:
        if self._left <= 0:
            kill()
        self._left -= 1


def at_file(after: float, workdir: str) -> None:
    """Kill at a change of a file of the workdir made by Python (tensorstore's are not seen)."""
    count = Countdown(after)

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if event not in CHANGES or not details or not str(details[0]).startswith(workdir):
            return
        if event != "open" or set(str(details[1])) & set("wax+"):
            count()

    sys.addaudithook(hook)


def at_save(after: float, workdir: str) -> None:
    """Some time after the first save of a run began."""
    from runtime_lib.checkpoints.store import Checkpoints

    save = Checkpoints.save

    def later() -> None:
        time.sleep(after)
        kill()

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        threading.Thread(target=later, daemon=True).start()
        save(self, *args, **kwargs)

    Checkpoints.save = wrapped  # type: ignore[method-assign]


def at_evaluation(after: float, workdir: str) -> None:
    """Kill within the held-out loss, after some of its batches of all evaluations."""
    from train_lib import held_out

    count, batches = Countdown(after), held_out.data_lib.epoch_batches

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for batch in batches(*args, **kwargs):
            count()
            yield batch

    held_out.data_lib.epoch_batches = wrapped


def at_data(after: float, workdir: str) -> None:
    """Kill while a training batch is made, in the thread that makes it."""
    from data_lib.iterator import Batches

    count, make = Countdown(after), Batches._batch

    def wrapped(self: Any, step: int) -> Any:
        count()
        return make(self, step)

    Batches._batch = wrapped  # type: ignore[method-assign]


EVENTS = {"file": at_file, "save": at_save, "evaluation": at_evaluation, "data": at_data}

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import main

    event, after, *arguments = sys.argv[1:]
    workdir = arguments[arguments.index("--workdir") + 1]
    main._parse(arguments)  # before JAX is imported: what must be told it
    if event:
        EVENTS[event](float(after), workdir)
    main.leave(main.main(arguments))
