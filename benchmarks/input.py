"""Speed of making batches of training images, on an idle and on a busy machine.

    python -m benchmarks.input

Random pictures of the stated sizes are in memory, as after `data_lib.load`; images per second are
medians of `--rounds` turns, each over at least `--seconds`. Busy: one process per core that
does nothing but count.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import command
from benchmarks.timing import Timing, Work, counted, summary, take_turns
from data_lib import Batches, Images
from data_lib.codec import GrayLevels


@dataclass(frozen=True)
class Case:
    """Images of size x size pixels in three channels, flipped at random."""

    size: int
    count: int
    dequantize: bool = False
    centered: bool = False


CASES = {
    "CIFAR-10's": Case(32, 50_000),
    "to [-1, 1]": Case(32, 50_000, centered=True),
    "dequantized": Case(32, 50_000, dequantize=True),
    "64x64": Case(64, 20_000),
    "64x64, dequantized": Case(64, 20_000, dequantize=True),
}


def work(case: Case, batch: int, seconds: float) -> Work:
    """Batches of a case, for at least `seconds`; a unit is an image."""
    shape = case.count, case.size, case.size, 3
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images = Images(pixels, np.zeros(case.count, np.int32), 256)
    batches = Batches(
        images, batch_size=batch, seed=0, flip=True, dequantize=case.dequantize,
        codec=GrayLevels(case.centered),
    )  # fmt: skip

    def some() -> int:
        count, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            count += len(next(batches)["image"])
        return count

    def go() -> Timing:
        # Those that were made while others had their turn are not this turn's work.
        for _ in range(AHEAD):
            next(batches)
        return counted(some)

    return go


AHEAD = 8
"""Upper bound of the batches that the iterator prefetches."""


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep `count` processes counting within this context."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--batch_size", type=int, default=128, help="images per batch")
    parser.add_argument("--rounds", type=int, default=5, help="turns, of which medians are taken")
    parser.add_argument("--seconds", type=float, default=0.5, help="least duration of a turn")
    parser.add_argument("--json", type=Path, help="a file to write the report to")
    options = parser.parse_args(arguments)
    if min(options.batch_size, options.rounds) < 1 or not options.seconds > 0:
        raise ValueError("--batch_size, --rounds and --seconds must be positive")
    return options


def run(arguments: Sequence[str]) -> None:
    """Measure, print, and write the report if asked to."""
    options = parse(arguments)
    works = {name: work(case, options.batch_size, options.seconds) for name, case in CASES.items()}
    cores, report = len(os.sched_getaffinity(0)), {}
    print(f"batches of {options.batch_size}, {options.rounds} rounds, {cores} cores")
    for state, others in {"alone": 0, "busy": cores}.items():
        with busy(others):
            taken = take_turns(works, options.rounds + 1)
        for name, timings in taken.items():
            found = summary(timings)
            rates = [1 / call["wall"] for call in found["calls"]]
            report[f"{name}, {state}"] = asdict(CASES[name]) | found
            print(f"{name:20s} {state:6s} {1 / found['wall']:9.0f} images/s (from {min(rates):.0f} "
                  f"to {max(rates):.0f}), {1e6 * found['cpu']:5.1f} CPU us an image")  # fmt: skip
    command.write(options.json, report)


if __name__ == "__main__":
    command.main(run)
