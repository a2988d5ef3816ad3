"""Memory and time of a training step under settings that trade one for the other.

    python -m benchmarks.memory --config configs/vp_cifar.py --batch_size 128

prints for each of `CASES` the memory that the backward pass needs of the forward pass as JAX counts
it, before XLA fuses; this needs no device. With --steps 5 also the compiled step's temporary memory
on this device (without state and batch), and compilation and step in CPU seconds.
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
from modes.experiment import Experiment
from train_lib.step import make_step

CASES: tuple[dict[str, Any], ...] = (
    {"model.remat": "none"},
    {"model.remat": "products"},
    {"model.remat": "blocks"},
    {"model.dtype": "bfloat16", "model.remat": "none"},
    {"model.dtype": "bfloat16", "model.remat": "blocks"},
    {"training.accumulate": 2, "model.remat": "none"},
    {"training.accumulate": 4, "model.remat": "none"},
)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch_size", type=int, default=128, help="images per update")
    parser.add_argument("--steps", type=int, default=0, help="timed steps; 0: do not compile")


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """(CPU seconds of `work()`, its result)."""
    start = time.process_time()
    found = jax.block_until_ready(work())
    return time.process_time() - start, found


def kept(config: ConfigDict) -> float:
    """MiB kept from the forward to the backward pass of a micro-batch, without parameters."""
    experiment, training = Experiment.of(config), config.training
    params = experiment.abstract_state().params
    size = training.batch_size // training.accumulate
    image = jax.ShapeDtypeStruct((size, *experiment.shape), jnp.float32)
    batch = {"image": image, "label": jax.ShapeDtypeStruct((size,), jnp.int32)}

    def backward(params: Any, batch: Any) -> Any:
        return jax.vjp(lambda p: experiment.recipe.loss(p, jax.random.key(0), batch), params)[1]

    count = lambda tree: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
    return (count(jax.eval_shape(backward, params, batch)) - count(params)) / 2**20


def measure(config: ConfigDict, steps: int) -> tuple[float, float, float]:
    """(MiB, CPU seconds of compilation, of a step)."""
    experiment = Experiment.of(config)
    state, size = experiment.init_state(), config.training.batch_size
    batch = {
        "image": jnp.zeros((1, size, *experiment.shape)),
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
    """Print one line per case."""
    options, config = command.parse(arguments, __doc__, _options)
    config.training.batch_size = options.batch_size
    report: dict[str, dict[str, float]] = {}
    for case in CASES:
        changed = config.copy_and_resolve_references()
        with changed.unlocked():
            changed.update_from_flattened_dict(case)
        schema.check(changed)
        name = ", ".join(f"{key}={value}" for key, value in case.items()) or "as it is"
        report[name] = {"kept MiB": kept(changed)}
        if options.steps:
            costs = measure(changed, options.steps)
            names = ("temporary MiB", "compilation CPU s", "step CPU s")
            report[name] |= dict(zip(names, costs, strict=True))
        told = ", ".join(f"{value:.4g} {what}" for what, value in report[name].items())
        print(f"{name}: {told}", flush=True)
    command.write(options.json, report)


if __name__ == "__main__":
    command.main(run)
