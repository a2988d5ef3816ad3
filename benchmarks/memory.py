"""What settings that trade memory for time do to a training step.

    python -m benchmarks.memory --config configs/vp_cifar.py --batch_size 32

prints for each of `CASES` the compiled step's temporary memory (activations, gradients: what XLA
allocates beside the state and the batch, on one device), compilation and step in CPU seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from benchmarks import command
from configs import schema
from train_lib.experiment import Experiment
from train_lib.step import make_step

CASES: tuple[dict[str, Any], ...] = (
    {},
    {"model.remat": "products"},
    {"model.remat": "blocks"},
    {"model.dtype": "bfloat16"},
    {"training.accumulate": 2},
    {"training.accumulate": 4},
)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds that it takes, and what it gives."""
    start = time.process_time()
    found = jax.block_until_ready(work())
    return time.process_time() - start, found


def measure(config: ConfigDict, steps: int) -> tuple[float, float, float]:
    """(MiB, CPU seconds of compilation, of a step)."""
    experiment = Experiment.of(config)
    state, size = experiment.init_state(), config.training.batch_size
    batch = {
        "image": jnp.zeros((1, size, *experiment.image_shape)),
        "label": jnp.zeros((1, size), jnp.int32),
    }
    lowered = make_step(experiment.recipe).lower(state, batch)
    compilation, step = cpu_seconds(lowered.compile)
    taken = []
    for _ in range(steps + 1):
        seconds, (state, _) = cpu_seconds(lambda state=state: step(state, batch))
        taken.append(seconds)
    return step.memory_analysis().temp_size_in_bytes / 2**20, compilation, median(taken[1:])


def run(arguments: Sequence[str]) -> None:
    """One line per case."""
    options, config = command.parse(arguments, __doc__, _options)
    config.training.batch_size = options.batch_size
    report = {}
    for case in CASES:
        changed = config.copy_and_resolve_references()
        with changed.unlocked():
            changed.update_from_flattened_dict(case)
        schema.check(changed)
        memory, compilation, step = measure(changed, options.steps)
        name = ", ".join(f"{key}={value}" for key, value in case.items()) or "as it is"
        costs = f"{memory:.0f} MiB, compilation {compilation:.0f} s, step {step:.2f} s"
        print(f"{name}: {costs}", flush=True)
        report[name] = {"MiB": memory, "compilation": compilation, "step": step}
    command.write(options.json, report)


if __name__ == "__main__":
    command.main(run)
