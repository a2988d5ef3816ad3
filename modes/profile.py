"""`--mode profile`: the duration of an update, and the operations that take the time."""

from __future__ import annotations

import contextlib
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax

import data_lib
from modes import preflight, texts
from modes.experiment import Experiment
from modes.latent_data import in_latents
from runtime_lib import hardware, workdir
from runtime_lib.files import atomic_write_json
from runtime_lib.processes import is_first
from train_lib import feed
from train_lib.step import make_step

FOLDER, SUMMARY = "profile", "summary.json"
TRACES = "plugins/profile/*/*.xplane.pb"
"""Traces of this profile and of earlier ones, each in a folder named by its time."""
WARM = 2
"""Calls before measuring; the first one compiles."""
SHOWN = 15
"""Most kinds of operations that are listed."""


def profile(experiment: Experiment, folder: Path, log: Callable[[str], None] = print) -> int:
    """Time `training.profile_steps` calls of the step, trace as many more, and log the result.

    Writes the trace (for XProf, alone or in TensorBoard, and Perfetto) and `summary.json` to
    `folder`/profile; nothing of a training run there is read or changed. Updates start from fresh
    parameters. With several processes only the first writes, and only its devices are traced.
    Raises ValueError or WorkdirError as in training.
    """
    count = experiment.config.training.profile_steps
    config = experiment.config
    splits = texts.with_texts(data_lib.load(config.data, log=log), config, folder, log)
    preflight.make_room()
    step = make_step(experiment.recipe, experiment.layout.shardings(experiment.abstract_state()))
    needs = preflight.estimate(experiment, step)
    log(needs.text())
    preflight.check(needs, experiment)
    workdir.create(folder)
    splits = in_latents(config, splits, folder, log)
    call = _calls(experiment, splits, step)
    first = call()
    for _ in range(WARM - 1):
        call()
    times = [call() for _ in range(count)]
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    before = set(place.glob(TRACES))
    # Only the first process traces: others on its machine would write to the same files.
    with jax.profiler.trace(str(place)) if is_first() else contextlib.nullcontext():
        for _ in range(count):
            call()
    found = _summary(experiment, needs, first, statistics.median(times))
    if is_first():
        found["operations"] = seconds_by_operation(set(place.glob(TRACES)) - before)
        atomic_write_json(place / SUMMARY, found)
        for line in lines(found):
            log(line)
        log(f"trace in {place}: open its .trace.json.gz in Perfetto, or all with xprof {place}")
    return 0


def _calls(experiment: Experiment, splits: data_lib.Splits, step: Any) -> Callable[[], float]:
    """A function that calls the step once, with data, and returns the seconds of an update."""
    k, mesh = experiment.config.training.n_jitted_steps, experiment.layout.mesh
    batches = feed.training_batches(splits.train, experiment.config, 0)
    state = [experiment.init_state()]

    def call() -> float:
        start = time.perf_counter()
        state[0], metrics = step(state[0], feed.stack_batches(batches, k, mesh))
        jax.block_until_ready((state[0], metrics))
        return (time.perf_counter() - start) / k

    return call


def _summary(
    experiment: Experiment, needs: preflight.Needs, first: float, seconds: float
) -> dict[str, Any]:
    batch = experiment.config.training.batch_size
    device = jax.local_devices()[0]
    rate, peak = needs.update * batch / seconds, hardware.peak_of_all()
    return {
        "devices": f"{jax.device_count()} x {device.device_kind}",
        "parameters": needs.parameters,
        "seconds_per_update": seconds,
        "first_update_seconds": first,
        "images_per_second": batch / seconds,
        "flops_per_second": rate,
        "peak_flops_per_second": peak,
        "peak_is": "measured" if hardware.peak_operations(device) is None else "of the data sheet",
        "flops_utilization": rate / peak,
        "peak_memory_bytes": hardware.peak_memory(),
    }


def seconds_by_operation(traces: Iterable[Path]) -> list[dict[str, Any]]:
    """Seconds of the devices by kind of operation in files of traces, longest first.

    Kinds are names without the number that distinguishes instances. Threads of one device that work
    together on one operation each count if the trace lists them separately.
    """
    seconds: Counter[str] = Counter()
    for path in traces:
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            for line in plane.lines:
                for event in line.events:
                    name = dict(event.stats).get("hlo_op")
                    if name:
                        seconds[re.sub(r"[.\d]+$", "", str(name))] += event.duration_ns / 1e9
    total = sum(seconds.values())
    return [
        {"kind": kind, "seconds": spent, "share": spent / total}
        for kind, spent in seconds.most_common()
    ]


def lines(found: dict[str, Any]) -> list[str]:
    """The summary for people."""
    told = [
        f"{found['devices']}: {found['seconds_per_update']:.4g} s per update (the first one "
        f"{found['first_update_seconds']:.1f} s), {found['images_per_second']:.4g} examples/s",
        f"{found['flops_per_second'] / 1e9:.4g} GFLOP/s, {found['flops_utilization']:.0%} of "
        f"the peak, {found['peak_flops_per_second'] / 1e9:.4g} ({found['peak_is']}); peak memory "
        f"{found['peak_memory_bytes'] / 2**30:.2f} GiB",
    ]
    shown = found["operations"][:SHOWN]
    told += [f"{op['share']:6.1%}  {op['seconds']:9.4f} s  {op['kind']}" for op in shown]
    rest = sum(op["share"] for op in found["operations"][SHOWN:])
    return [*told, f"{rest:6.1%}  others"] if rest else told
