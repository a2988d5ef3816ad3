"""What a config costs: training step, network evaluation in sampling, compilation, memory.

    python -m benchmarks.speed --config configs/vp_cifar.py --batch_size 8
    python -m benchmarks.speed --config configs/vp_cifar.py --batch_size 8 \
        --peer path/to/score_sde_pytorch --peer_python path/to/python-with-torch

It runs on the default device of JAX (JAX_PLATFORMS=cpu chooses another) and on random images, and
measures what `main.py` runs: the step that training calls, with its transfer of the batch, and
the sampler with its noise, in `--sample_steps` steps. Numbers are medians of `--steps` warm
repetitions. CPU seconds are summed over the threads of the process; on a shared machine they are
steadier than wall time. On a CPU, peak memory is the resident set of the whole process,
compilation included; elsewhere it is what the device's allocator reports.

With --peer, the PyTorch original takes turns with this framework in the same run, in a process of
its own, with the same network, batch, optimizer and thread count, and the ratios of the medians
(below 1: this framework is faster) are printed. Only settings that it knows are given to it; the
loss, where it differs, costs next to nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import models
from benchmarks import command
from benchmarks.peer import Peer, peer_spec
from benchmarks.timing import KINDS, Timing, summary, take_turns, timed
from configs.schema import flatten
from eval_lib.generate import make_generator
from train_lib import sharding
from train_lib.cpu_devices import use_cpu_devices
from train_lib.experiment import Experiment
from train_lib.huge_pages import restart_with_huge_pages
from train_lib.loop import stack_batches
from train_lib.step import make_step


def _options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--batch_size", type=int, help="images per training step; default: the config's")
    add("--sample_batch_size", type=int, help="images sampled at a time; default: as training")
    add("--sample_steps", type=int, default=5, help="steps of the sampler")
    add("--steps", type=int, default=5, help="repetitions, of which medians are taken")
    add("--peer", type=Path, help="a checkout of score_sde_pytorch to measure against")
    add("--peer_python", default="python", help="an interpreter with torch")


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, ConfigDict]:
    """The command line, its config resolved; ValueError for what cannot be understood."""
    options, config = command.parse(arguments, __doc__, _options)
    sizes = options.batch_size or 1, options.sample_batch_size or 1, options.steps
    if min(*sizes, options.sample_steps - 1) < 1:
        raise ValueError("sizes and steps must be positive, and --sample_steps at least 2")
    return options, prepare(config, options)


# This framework ----------------------------------------------------------------------------------


class Ours:
    """A config's training step and sampler; each call does it once and says how long it took."""

    def __init__(self, config: ConfigDict) -> None:
        self.config = config
        self._experiment = Experiment.of(config)
        self._mesh = sharding.device_mesh()
        self._state = self._experiment.init_state()
        self._update = make_step(self._experiment.recipe)
        self._batches = itertools.repeat(self._random_batch())

    def _random_batch(self) -> dict[str, np.ndarray]:
        size, shape = self.config.training.batch_size, self._experiment.image_shape
        image = np.random.default_rng(0).uniform(-1, 1, (size, *shape)).astype(np.float32)
        return {"image": image, "label": np.zeros(size, np.int32)}

    def step(self) -> Timing:
        """One call of the training step; seconds per update."""
        updates = self.config.training.n_jitted_steps

        def work() -> None:
            batches = stack_batches(self._batches, updates, self._mesh)
            self._state, metrics = self._update(self._state, batches)
            jax.block_until_ready((self._state, metrics))

        return timed(work, updates)

    def evaluation(self) -> Timing:
        """One batch of samples from the averaged weights; seconds per network evaluation."""
        score = self._experiment.score.with_params(self._state.ema[0])
        generator = make_generator(self._experiment, score)
        count = self.config.sampling.batch_size
        drawn: dict[str, np.ndarray] = {}
        once = timed(lambda: drawn.update(generator.draw(0, count)), 1)
        # A batch is evaluated until its slowest sample is done.
        n = int(drawn["evaluations"].max())
        return Timing(once.wall / n, once.cpu / n, n)

    def stats(self) -> dict[str, Any]:
        """Parameters, peak memory in bytes, version."""
        memory = jax.devices()[0].memory_stats()
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {
            "parameters": models.count(self._state.params),
            "peak_bytes": memory["peak_bytes_in_use"] if memory else resident,
            "version": jax.__version__,
        }


# Measuring ---------------------------------------------------------------------------------------


def measure(parties: dict[str, Ours | Peer], repetitions: int) -> dict[str, dict[str, Any]]:
    """{party: {step, evaluation, parameters, ...}}, the parties taking turns."""
    report: dict[str, dict[str, Any]] = {name: {} for name in parties}
    for task in ("step", "evaluation"):
        works = {name: getattr(party, task) for name, party in parties.items()}
        for name, timings in take_turns(works, repetitions + 1).items():
            report[name][task] = summary(timings)
    for name, party in parties.items():
        report[name] |= party.stats()
    return report


def ratios(report: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Medians of this framework over the peer's."""
    ours, peer = report["ours"], report["peer"]
    return {task: {kind: ours[task][kind] / peer[task][kind] for kind in KINDS}
            for task in ("step", "evaluation")}  # fmt: skip


def prepare(config: ConfigDict, options: argparse.Namespace) -> ConfigDict:
    """The config with the sizes that the command line asks for."""
    training, sampling = config.training, config.sampling
    training.batch_size = options.batch_size or training.batch_size
    sampling.batch_size = options.sample_batch_size or training.batch_size
    sampling.num_steps = options.sample_steps
    return config


def describe(name: str, party: dict[str, Any], batch: int, samples: int) -> str:
    """The lines of one party."""
    step, evaluation = party["step"], party["evaluation"]
    return "\n".join([
        f"{name} ({party['version']}), {party['parameters']:,} parameters",
        f"  training step       {step['wall']:9.4f} s  {step['cpu']:9.4f} CPU s  "
        f"{batch / step['wall']:9.1f} images/s",
        f"  network evaluation  {evaluation['wall']:9.4f} s  {evaluation['cpu']:9.4f} CPU s  "
        f"{samples / evaluation['wall']:9.1f} images/s",
        f"  first call beyond that: step {step['first_call_beyond']:.1f} s, "
        f"sampler {evaluation['first_call_beyond']:.1f} s;  "
        f"peak memory {party['peak_bytes'] / 2**30:.2f} GiB",
    ])  # fmt: skip


def run(arguments: Sequence[str]) -> None:
    """Measure, print, and write the report if asked to."""
    options, config = parse(arguments)
    use_cpu_devices(config)
    with contextlib.ExitStack() as stack:
        parties: dict[str, Ours | Peer] = {"ours": Ours(config)}
        if options.peer:
            peer = Peer(options.peer, options.peer_python, peer_spec(config, options.sample_steps))
            parties["peer"] = stack.enter_context(peer)
        report = measure(parties, options.steps)
    batch, samples = config.training.batch_size, config.sampling.batch_size
    threads = len(os.sched_getaffinity(0))
    device = f"{command.device()}, {threads} CPU threads"
    print(f"{options.config}: training batch {batch}, sampling batch {samples}; {device}")
    for party, figures in report.items():
        print(describe(party, figures, batch, samples))
    full: dict[str, Any] = {"file": options.config, "device": device, "config": flatten(config)}
    full |= report
    if "peer" in report:
        full["ratios"] = ratios(report)
        for task, ratio in full["ratios"].items():
            print(f"ours / peer, {task}: {ratio['wall']:.2f} wall, {ratio['cpu']:.2f} CPU")
    command.write(options.json, full)


if __name__ == "__main__":
    restart_with_huge_pages()
    command.main(run)
