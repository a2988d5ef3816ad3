"""Proof that a run which is killed again and again ends where an undisturbed one ends.

    python -m benchmarks.kills --config configs/vp_digits.py:smoke --workdir DIR --kills 50

trains `training.n_iters` updates (500 unless --config.training.n_iters says otherwise) twice: once
undisturbed, and once killed (SIGKILL) so many times, each time by one of

    moment       after a random time
    file         at a random change of a file: opening, renaming, removing, making a folder
    save         while a checkpoint is written in the background, a random time after it began
    evaluation   while the held-out loss is computed
    data         while a batch is made
    progress     when it got further than its share of the way without meeting one of these

and started again with the same command. After every kill the next run must go on from the newest
checkpoint that was complete (nothing is lost beyond it); in the end the checkpoints of the last
step must be equal bit for bit, the losses in the logs equal, and the workdirs must hold the same
files.
Ends with code 1 where that is not so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from benchmarks import command
from modes.experiment import Experiment
from runtime_lib.checkpoints.store import Checkpoints

EVENTS = "moment", "file", "save", "evaluation", "data"
FREQUENT = {
    "training.n_iters": "500", "training.log_freq": "5", "training.eval_freq": "20",
    "training.snapshot_freq": "100", "training.snapshot_freq_for_preemption": "10",
    "training.snapshot_sampling": "False",
}  # fmt: skip
"""Settings that make events for kills frequent; those of the command line take precedence."""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, type=Path, help="new folder for both runs")
    parser.add_argument("--kills", type=int, default=50, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the kills")


class Trained:
    """A run in a folder, started with a command that never changes."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self.folder = folder
        self._arguments = [*arguments, "--mode", "train", "--workdir", str(folder)]

    def start(self, event: str = "", after: float = 0.0) -> subprocess.Popen[str]:
        """The process, which kills itself at an event (`kills_driver.py`)."""
        driver = str(Path(__file__).with_name("kills_driver.py"))
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, driver, event, str(after), *self._arguments],
            stdout=pipe, stderr=pipe, text=True,
        )  # fmt: skip

    def newest(self) -> int:
        """The last step with a complete checkpoint; 0 if there is none."""
        places = (self.folder / "checkpoints").glob("[0-9]*")
        return max((int(path.name) for path in places if path.name.isdigit()), default=0)

    def files(self) -> set[str]:
        """Paths of all files; the event files of all starts count as one, and so do the files of a
        checkpoint."""
        names = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}
        kept = (re.sub(r"^(checkpoints/\d+)/.*", r"\1", name) for name in names)
        return {re.sub(r"tfevents.*", "tfevents", name) for name in kept}

    def losses(self) -> list[tuple[Any, ...]]:
        """Values in the log for each step, without times and speeds."""
        lines = (self.folder / "logs" / "metrics.jsonl").read_text().splitlines()
        names = "step", "train_loss", "grad_norm", "update_norm", "eval_loss"
        return [tuple(json.loads(line).get(name) for name in names) for line in lines]

    def state(self, like: Any) -> list[bytes]:
        """The bits of the newest state."""
        with Checkpoints(self.folder / "checkpoints", read_only=True) as checkpoints:
            state = checkpoints.restore(like).state
        state["key"] = jax.random.key_data(state["key"])
        return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


class Wrong(Exception):
    """A violated expectation."""


def check(holds: bool, words: str) -> None:
    """Raise Wrong unless it holds."""
    if not holds:
        raise Wrong(words)


def finish(run: Trained, saved: int) -> float:
    """Run to the end; seconds."""
    start = time.monotonic()
    process = run.start()
    out, error = process.communicate()
    check(process.returncode == 0, f"a run failed: {error}")
    check(_resumed(out) in (saved, None), f"resumed from elsewhere than {saved}: {out[:200]}")
    return time.monotonic() - start


def _resumed(out: str) -> int | None:
    """Step from which a run resumed; None if it was killed before it said so."""
    found = re.search(r"resuming at step (\d+)", out)
    return int(found[1]) if found else (0 if "starting: " in out else None)


def kill_once(run: Trained, event: str, after: float, limit: int) -> bool:
    """Start, be killed, and check what was gone on from; whether it was the event that killed.

    A run that reaches a checkpoint of `limit` or more is killed there, so that all kills find one.
    """
    saved = run.newest()
    process = run.start(event if event != "moment" else "", after)
    end = time.monotonic() + (after if event == "moment" else float("inf"))
    while process.poll() is None and time.monotonic() < end and run.newest() < limit:
        time.sleep(0.02)
    met = process.poll() is not None or time.monotonic() >= end
    process.kill()
    out, error = process.communicate()
    check(error == "", f"a run said: {error}")
    check(process.returncode == -9, f"a run ended with code {process.returncode}")
    resumed = _resumed(out)
    check(resumed in (saved, None), f"resumed at {resumed}, {saved} was saved")
    check("skipped" not in out, f"a complete checkpoint was damaged: {out}")
    check(run.newest() >= saved, f"step {saved} was lost")
    return met


def _after(event: str, chance: random.Random, whole: float) -> float:
    """The time of a kill: seconds, or how many events are let pass."""
    return {
        "moment": chance.uniform(0.1, whole),
        "file": float(chance.randrange(60)),
        "save": chance.uniform(0.0, 0.15),
        "evaluation": float(chance.randrange(2)),
        "data": float(chance.randrange(30)),
    }[event]


def run(arguments: Sequence[str]) -> None:
    """Both runs, and the verdict."""
    options, _ = command.parse(arguments, __doc__, _options)
    if options.workdir.exists():
        raise ValueError(f"--workdir must be new, there is {options.workdir}")
    _, settings = command.command_line.split(arguments)
    settings = FREQUENT | settings
    config = command.command_line.load(options.config, settings)
    given = ["--config", options.config, *(f"--config.{k}={v}" for k, v in settings.items())]
    total, chance = config.training.n_iters, random.Random(options.seed)
    undisturbed = Trained(options.workdir / "undisturbed", given)
    disturbed = Trained(options.workdir / "killed", given)
    finish(Trained(options.workdir / "warm", given), 0)  # compiles for all
    whole = finish(undisturbed, 0)
    kills: Counter[str] = Counter()
    for made in tqdm(range(options.kills), desc="kills"):
        event = chance.choice(EVENTS)
        limit = total * (made + 1) // (options.kills + 1)
        met = kill_once(disturbed, event, _after(event, chance, whole), limit)
        kills[event if met else "progress"] += 1
    reached = disturbed.newest()
    finish(disturbed, reached)
    like = Experiment.of(config).abstract_state().as_dict()
    check(disturbed.state(like) == undisturbed.state(like), "the states differ")
    check(disturbed.losses() == undisturbed.losses(), "the logs differ")
    extra = disturbed.files() ^ undisturbed.files()
    check(not extra, f"files that only one of both has: {sorted(extra)}")
    told = ", ".join(f"{count} {event}" for event, count in sorted(kills.items()))
    print(
        f"{total} updates, {options.kills} kills ({told}), the last at step {reached}: state, log "
        "and files are those of the undisturbed run"
    )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        command.main(run)
    except Wrong as wrong:
        print(f"wrong: {wrong}", file=sys.stderr)
        sys.exit(1)
