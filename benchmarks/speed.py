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

import contextlib
import itertools
import json
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

import models
from benchmarks.peer import Peer, PeerError, peer_spec
from benchmarks.timing import KINDS, Timing, summary, take_turns, timed
from configs.schema import flatten
from train_lib import sharding
from train_lib.experiment import Experiment
from train_lib.huge_pages import restart_with_huge_pages
from train_lib.loop import make_generator, stack_batches
from train_lib.step import make_step

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "The config file, e.g. configs/vp_cifar.py")
flags.DEFINE_integer("batch_size", 0, "Images per training step; 0: the config's", lower_bound=0)
flags.DEFINE_integer("sample_batch_size", 0, "Images sampled at a time; 0: as training", 0)
flags.DEFINE_integer("sample_steps", 5, "Steps of the sampler", lower_bound=2)
flags.DEFINE_integer("steps", 5, "Repetitions, of which medians are taken", lower_bound=1)
flags.DEFINE_string("json", None, "A file to write the report to")
flags.DEFINE_string("peer", None, "A checkout of score_sde_pytorch to measure against")
flags.DEFINE_string("peer_python", "python", "An interpreter with torch")
flags.mark_flag_as_required("config")


# This framework ----------------------------------------------------------------------------------


class Ours:
    """A config's training step and sampler; each call does it once and says how long it took."""

    def __init__(self, config: ConfigDict) -> None:
        self.config = config
        self._experiment = Experiment.of(config)
        self._mesh = sharding.device_mesh()
        self._state = sharding.replicate(self._experiment.init_state(), self._mesh)
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
        score = replace(self._experiment.score, params=self._state.ema[0])
        generator = make_generator(self._experiment, score)
        count = self.config.sampling.batch_size
        return timed(lambda: generator.draw(0, count), generator.evaluations)

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


def prepare(config: ConfigDict) -> ConfigDict:
    """The config with the sizes that the command line asks for."""
    training, sampling = config.training, config.sampling
    training.batch_size = FLAGS.batch_size or training.batch_size
    sampling.batch_size = FLAGS.sample_batch_size or training.batch_size
    sampling.num_steps = FLAGS.sample_steps
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


def run() -> None:
    """Measure, print, and write the report if asked to."""
    config = prepare(FLAGS.config)
    with contextlib.ExitStack() as stack:
        parties: dict[str, Ours | Peer] = {"ours": Ours(config)}
        if FLAGS.peer:
            peer = Peer(Path(FLAGS.peer), FLAGS.peer_python, peer_spec(config, FLAGS.sample_steps))
            parties["peer"] = stack.enter_context(peer)
        report = measure(parties, FLAGS.steps)
    batch, samples = config.training.batch_size, config.sampling.batch_size
    threads = len(os.sched_getaffinity(0))
    device = f"{len(jax.devices())} x {jax.devices()[0].device_kind}, {threads} CPU threads"
    name = config_flags.get_config_filename(FLAGS["config"])
    print(f"{name}: training batch {batch}, sampling batch {samples}; {device}")
    for party, figures in report.items():
        print(describe(party, figures, batch, samples))
    full: dict[str, Any] = {"file": name, "device": device, "config": flatten(config), **report}
    if "peer" in report:
        full["ratios"] = ratios(report)
        for task, ratio in full["ratios"].items():
            print(f"ours / peer, {task}: {ratio['wall']:.2f} wall, {ratio['cpu']:.2f} CPU")
    if FLAGS.json:
        Path(FLAGS.json).write_text(json.dumps(full, indent=1) + "\n")


def main(argv: list[str]) -> int:
    """Parse, run, and turn errors of the user's making into one line and exit code 2."""
    try:
        FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        run()
    except (ValueError, OSError, PeerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    restart_with_huge_pages()
    sys.exit(main(sys.argv))
