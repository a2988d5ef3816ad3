"""Cost of a config: training, sampling, likelihood, compilation, memory; against the original.

    python -m benchmarks.speed --config configs/vp_cifar.py --batch_size 8
    python -m benchmarks.speed --config configs/vp_cifar.py --batch_size 8 \
        --peer path/to/score_sde_pytorch --peer_python path/to/python-with-torch

It runs on the default device of JAX (JAX_PLATFORMS=cpu chooses another), on random images and
weights as they are before training, and measures what `main.py` runs:

    step        the step that training calls, with its transfer of the batch
    evaluation  the sampler with its noise, in `--sample_steps` steps, per evaluation of the network
    ode         sampling by the probability-flow ODE to `--tolerance`, per evaluation and as a whole
    likelihood  the same of the likelihood, per evaluation of drift and divergence

Numbers are medians of `--steps` warm repetitions of `--row` calls in a row: of the mean time of a
row, and of its median call, which a machine that stalls for some of the calls leaves as it is. CPU
seconds are summed over the threads of the process. On a CPU,
peak memory is the resident set of the whole process, compilation included; elsewhere it is what the
device's allocator reports.
Operations per second (`modes.preflight`) are given as shares of what the devices reach in
products of matrices and in 3x3 convolutions, measured before and after, and of their data sheet
where that is known.

With --peer, the PyTorch original takes turns with this framework in the same run, in a process of
its own, as it is installed (without the huge pages that `main.py` asks for), with the same network,
batch, optimizer and thread count, and the ratios of the medians (below 1: this framework is faster)
are printed. Only settings that it knows are given to it; the loss, where it differs, costs next to
nothing. Each has weights of its own, so that the flow takes different numbers of evaluations;
before training it takes few, as the last layers are zero (--config.model.init_scale=1: they are
not).
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from benchmarks import command, roofline
from benchmarks.ours import Ours
from benchmarks.peer import PUBLISHED_TOLERANCE, Peer, peer_spec
from benchmarks.timing import KINDS, in_a_row, summary, take_turns
from configs.schema import flatten
from runtime_lib.start.huge_pages import restart_with_huge_pages


def _options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--batch_size", type=int, help="images per training step; default: the config's")
    add("--sample_batch_size", type=int, help="images sampled at a time; default: --batch_size")
    add("--sample_steps", type=int, default=5, help="steps of the sampler")
    add("--steps", type=int, default=5, help="repetitions, of which medians are taken")
    add("--row", type=int, default=5, help="training steps, or calls of the sampler, one after the "
        "other in each repetition, of which there is one more to warm up")  # fmt: skip
    add("--tolerance", type=float, default=PUBLISHED_TOLERANCE, help="tolerance of the "
        "ODE solvers, relative and absolute; default: as published")  # fmt: skip
    add("--tasks", help=f"any of {','.join(TASKS)}; default: all with --peer, else the first two")
    add("--peer", type=Path, help="a checkout of score_sde_pytorch to measure against")
    add("--peer_python", default="python", help="an interpreter with torch")


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, ConfigDict]:
    """The command line, its config resolved; ValueError for what cannot be understood."""
    options, config = command.parse(arguments, __doc__, _options)
    sizes = options.batch_size or 1, options.sample_batch_size or 1, options.steps, options.row
    if min(*sizes, options.sample_steps - 1) < 1:
        raise ValueError("sizes and steps must be positive, and --sample_steps at least 2")
    if not options.tolerance > 0:
        raise ValueError(f"--tolerance must be positive, got {options.tolerance:g}")
    options.tasks = chosen(options.tasks, bool(options.peer))
    return options, prepare(config, options)


# Measuring ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A task, which each party does by a method of this name.

    title: name of a unit. section: section of the config whose batch_size is the images per unit.
    whole: whether a solver chooses the number of units, so that the time of the whole matters too.
    """

    title: str
    section: str
    whole: bool = False


TASKS = {
    "step": Task("training step", "training"),
    "evaluation": Task("network evaluation", "sampling"),
    "ode": Task("the ODE, evaluation", "sampling", whole=True),
    "likelihood": Task("likelihood, evaluation", "sampling", whole=True),
}
Party = Ours | Peer
Figures = dict[str, Any]
"""Figures of a party: the `summary` of each task, parameters, peak_bytes, version."""


def chosen(names: str | None, all_of_them: bool) -> list[str]:
    """The tasks to do, in the order of TASKS; ValueError for unknown ones."""
    asked = (
        names.split(",") if names else [n for n, t in TASKS.items() if all_of_them or not t.whole]
    )
    for name in asked:
        if name not in TASKS:
            raise ValueError(f"--tasks must be of {', '.join(TASKS)}, got {name!r}")
    return [name for name in TASKS if name in asked]


def measure(
    parties: Mapping[str, Party],
    tasks: Sequence[str],
    repetitions: int,
    row: int,
    tell: Callable[[str, dict[str, Figures]], None],
) -> dict[str, Figures]:
    """{party: Figures}, the parties taking turns; `tell` is called after each task.

    row: calls in a turn of tasks whose work is of a fixed size, which repeat as training does.
    """
    report: dict[str, Figures] = {name: {} for name in parties}
    for task in tasks:
        works = {name: getattr(party, task) for name, party in parties.items()}
        count = 1 if TASKS[task].whole else row
        firsts = {name: work() for name, work in works.items()}
        turns = {name: in_a_row(work, count) for name, work in works.items()}
        for name, timings in take_turns(turns, repetitions).items():
            report[name][task] = summary([firsts[name], *timings])
        tell(task, report)
    for name, party in parties.items():
        report[name] |= party.stats()
    return report


def ratios(ours: Figures, peer: Figures, task: str) -> dict[str, dict[str, float]]:
    """Medians of this framework over the peer's, of units and (task + ", whole") of whole runs."""
    over = lambda mine, other: {kind: mine[kind] / other[kind] for kind in KINDS}
    found = {task: over(ours[task], peer[task])}
    if TASKS[task].whole:
        found[f"{task}, whole"] = over(ours[task]["whole"], peer[task]["whole"])
    return found


def prepare(config: ConfigDict, options: argparse.Namespace) -> ConfigDict:
    """The config with the sizes that the command line asks for."""
    training, sampling = config.training, config.sampling
    training.batch_size = options.batch_size or training.batch_size
    sampling.batch_size = options.sample_batch_size or training.batch_size
    sampling.num_steps = options.sample_steps
    return config


def describe(task: str, report: dict[str, Figures], images: int) -> str:
    """The lines of one task."""
    lines = [TASKS[task].title]
    for name, figures in report.items():
        found = figures[task]
        lines.append(f"  {name:5s}      {found['wall']:9.4f} s  {found['cpu']:9.4f} CPU s  "
                     f"median call {found['call']:.4f} s  {images / found['wall']:9.1f} images/s  "
                     f"first call {found['first_call_beyond']:.1f} s longer")  # fmt: skip
        if TASKS[task].whole:
            whole = found["whole"]
            lines.append(f"    {found['units']:5.0f} of   {whole['wall']:9.4f} s  "
                         f"{whole['cpu']:9.4f} CPU s")  # fmt: skip
    if "peer" in report:
        for name, ratio in ratios(report["ours"], report["peer"], task).items():
            told = f"{ratio['wall']:.2f} wall ({ratio['call']:.2f} of the median calls)"
            lines.append(f"  ours / peer, {name}: {told}, {ratio['cpu']:.2f} CPU")
    return "\n".join(lines)


def run(arguments: Sequence[str]) -> None:
    """Measure, print, and write the report if asked to."""
    options, config = parse(arguments)
    images = {name: config[task.section].batch_size for name, task in TASKS.items()}
    device = f"{command.device()}, {len(os.sched_getaffinity(0))} CPU threads"
    print(f"{options.config}: training batch {images['step']}, sampling batch "
          f"{images['evaluation']}, tolerance {options.tolerance:g}; {device}")  # fmt: skip
    peaks = roofline.measured()
    tell = lambda task, report: print(describe(task, report, images[task]), flush=True)
    with contextlib.ExitStack() as stack:
        ours = Ours(config, options.tolerance)
        parties: dict[str, Party] = {"ours": ours}
        if options.peer:
            spec = peer_spec(config, options.sample_steps, options.tolerance)
            peer = Peer(options.peer, options.peer_python, spec)
            parties["peer"] = stack.enter_context(peer)
        report = measure(parties, options.tasks, options.steps, options.row, tell)
    peaks = {name: max(peak, peaks[name]) for name, peak in roofline.measured().items()}
    for name, party in report.items():
        print(f"{name} ({party['version']}): {party['parameters']:,} parameters, peak memory "
              f"{party['peak_bytes'] / 2**30:.2f} GiB")  # fmt: skip
    full: dict[str, Any] = {"file": options.config, "device": device, "config": flatten(config)}
    full |= {**report, "peaks": peaks}
    if options.peer:
        found = [ratios(report["ours"], report["peer"], task) for task in options.tasks]
        full["ratios"] = {name: ratio for each in found for name, ratio in each.items()}
    needs = ours.estimate()
    full["rates"] = {name: roofline.rates(party, needs, images) for name, party in report.items()}
    print("peaks: " + ", ".join(f"{v / 1e9:.1f} GFLOP/s in {name}" for name, v in peaks.items()))
    for name, done in full["rates"].items():
        print("\n".join([f"{name}:", *roofline.lines(done, peaks)]))
    command.write(options.json, full)


if __name__ == "__main__":
    restart_with_huge_pages()  # as main.py does before it trains
    command.main(run)
