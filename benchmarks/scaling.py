"""Scaling of training: images per second of several devices and several processes, over one's.

    python -m benchmarks.scaling --config configs/vp_digits.py --batch_size 64
    python -m benchmarks.scaling --config configs/vp_cifar.py --batch_size 128 --accelerators \
        --devices 1,2,4,8 --processes 2,8

Each figure is a run of `main.py --mode profile`, which times updates with their data, in processes
of its own; the layouts take turns, `--rounds` times, and medians are given. Programs are kept
between rounds as between any runs (the setting `compiled`). Strong scaling: the batch is
`--batch_size` images in any layout; weak scaling: for each device.

On a CPU a device is one thread, so that there is something to gain up to the number of cores, and
nothing beyond it. With `--accelerators` a process
is shown the first devices of the machine, or one each, by CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import command
from configs import command_line

ROOT = Path(__file__).parents[1]
KINDS = ("strong", "weak")
COUNT, FLAGS = "JAX_NUM_CPU_DEVICES", "XLA_FLAGS"
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"


@dataclass(frozen=True)
class Layout:
    """A number of processes of one run, and the number of devices of each."""

    processes: int
    devices: int

    @property
    def size(self) -> int:
        """Devices of all processes."""
        return self.processes * self.devices

    @property
    def name(self) -> str:
        """The layout in words."""
        if self.processes > 1:
            return f"{self.processes} processes of {self.devices}"
        return f"{self.devices} device" + "s" * (self.devices > 1)


ONE = Layout(1, 1)


def batch_size(kind: str, asked: int, layout: Layout) -> int:
    """Images per update of the run, over all devices."""
    return asked * layout.size if kind == "weak" else asked


def environment(layout: Layout, index: int, accelerators: bool) -> dict[str, str]:
    """Environment of process `index`, which selects its devices."""
    if accelerators:
        mine = range(index * layout.devices, (index + 1) * layout.devices)
        return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, mine))}
    return {COUNT: str(layout.devices), FLAGS: ONE_THREAD, "JAX_PLATFORMS": "cpu"}


def arguments(layout: Layout, index: int, port: int) -> list[str]:
    """Arguments of process `index` that connect it to the others."""
    if layout.processes == 1:
        return []
    return ["--coordinator", f"127.0.0.1:{port}", "--process_id", str(index),
            "--num_processes", str(layout.processes)]  # fmt: skip


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def measure(layout: Layout, run: Sequence[str], accelerators: bool) -> float:
    """Images per second of `main.py` with the arguments `run`, to which mode and workdir are added;
    ValueError, with the last output, if it fails."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        common = [sys.executable, "main.py", *run, "--mode", "profile", "--workdir", name]
        started = []
        for index in range(layout.processes):
            with (folder / f"{index}.err").open("w") as errors:
                started.append(subprocess.Popen(
                    [*common, *arguments(layout, index, port)],
                    env={**os.environ, **environment(layout, index, accelerators)},
                    cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors,
                ))  # fmt: skip
        for index, code in enumerate([process.wait() for process in started]):
            if code:
                said = (folder / f"{index}.err").read_text().strip().splitlines()
                raise ValueError(f"{layout.name}: main.py ended with {code}: {said[-1:]}")
        summary = json.loads((folder / "profile" / "summary.json").read_text())
    return float(summary["images_per_second"])


def table(found: Mapping[str, Mapping[Layout, Sequence[float]]]) -> str:
    """Lines with a layout and, for each kind, the median images per second, their ratio to one
    device's, and that ratio over the number of devices."""
    head = "".join(f"  {kind + ': images/s':>18s} {'ratio':>6s} {'of all':>6s}" for kind in found)
    lines = [f"{'layout':18s}{head}"]
    layouts = next(iter(found.values()))
    for layout in layouts:
        line = f"{layout.name:18s}"
        for rates in found.values():
            rate = statistics.median(rates[layout])
            ratio = rate / statistics.median(rates[ONE])
            line += f"  {rate:18.1f} {ratio:6.2f} {ratio / layout.size:6.2f}"
        lines.append(line)
    return "\n".join(lines)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def parse(given: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """(options, the arguments of `main.py` for the training)."""
    rest, settings = command_line.split(given)
    raw = argparse.RawDescriptionHelpFormatter
    parser = command_line.Parser(description=__doc__, formatter_class=raw, allow_abbrev=False)
    add = parser.add_argument
    add("--config", required=True, help="the config file, e.g. configs/vp_cifar.py")
    add("--batch_size", type=int, required=True, help="images per batch; weak: per device")
    add(
        "--devices",
        type=_numbers,
        default=[1, 2, 4],
        help="devices of one process, as 1,2,4",
    )
    add("--processes", type=_numbers, default=[2], help="one-device processes, as 2,4")
    add("--kinds", default=",".join(KINDS), help="kinds of scaling: strong,weak or one of them")
    add("--rounds", type=int, default=3, help="turns, of which medians are taken")
    add("--steps", type=int, default=20, help="updates per run, which reports their median")
    add("--accelerators", action="store_true", help="use this machine's GPUs as devices")
    add("--json", type=Path, help="a file to write the report to")
    options = parser.parse_args(rest)
    options.kinds = options.kinds.split(",")
    if not set(options.kinds) <= set(KINDS):
        raise ValueError(f"--kinds must be of {', '.join(KINDS)}, got {','.join(options.kinds)}")
    if min(options.rounds, options.steps, options.batch_size, *options.devices) < 1:
        raise ValueError("--rounds, --steps, --batch_size and --devices must be positive")
    run = ["--config", options.config, f"--config.training.profile_steps={options.steps}"]
    return options, run + [f"--config.{name}={value}" for name, value in settings.items()]


def run(given: Sequence[str]) -> None:
    """Measure, print, and write the report if asked to."""
    options, common = parse(given)
    several = [Layout(1, n) for n in options.devices if n > 1]
    layouts = [ONE, *several, *(Layout(n, 1) for n in options.processes if n > 1)]
    found: dict[str, dict[Layout, list[float]]] = {
        kind: {layout: [] for layout in layouts} for kind in options.kinds
    }
    for _ in range(options.rounds):
        for kind, rates in found.items():
            for layout in layouts:
                size = batch_size(kind, options.batch_size, layout)
                asked = [*common, f"--config.training.batch_size={size}"]
                rates[layout].append(measure(layout, asked, options.accelerators))
    cores = len(os.sched_getaffinity(0))
    print(f"{options.config}, batch {options.batch_size}, {options.rounds} rounds, {cores} cores; "
          "ratio: to one device; of all: that over the devices")  # fmt: skip
    print(table(found))
    named = {kind: {layout.name: rates[layout] for layout in layouts}
             for kind, rates in found.items()}  # fmt: skip
    command.write(options.json, {"file": options.config, "cores": cores, "rates": named})


if __name__ == "__main__":
    command.main(run)
