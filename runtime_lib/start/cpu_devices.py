"""Several devices on one CPU, each with a thread of its own; JAX must be told before it starts.

One device shares every operation out among all threads: right for large convolutions, wasteful
for a small network, most of whose operations are too short to share. Devices share out the batch
instead, once a step (benchmarks/README.md has what that brings).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

COUNT = "JAX_NUM_CPU_DEVICES"
FLAGS, COUNT_FLAG = "XLA_FLAGS", "--xla_force_host_platform_device_count"
ONE_THREAD, UNKNOWN_FROM = "--xla_cpu_multi_thread_eigen=false", (0, 13)
"""Flag, and the first jaxlib it was not tried with: XLA ends the process at one it does not know.
There the threads are shared among the devices, which is slower and gives the same numbers."""


def devices(asked: int, batch: int, cores: int) -> int:
    """How many: as asked, or, for 0, one per core as far as they can share a batch evenly."""
    return asked or max(n for n in range(1, max(cores, 1) + 1) if batch % n == 0)


def one_thread(jaxlib: str | None = None) -> list[str]:
    """The flags of devices of one thread that a jaxlib knows; None: the one that is installed."""
    major, minor = (jaxlib or metadata.version("jaxlib")).split(".")[:2]
    return [ONE_THREAD] if (int(major), int(minor)) < UNKNOWN_FROM else []


def variables(count: int, environment: Mapping[str, str]) -> dict[str, str]:
    """What the environment has to say for so many devices; empty when nothing is to be changed.

    That is so for one device, and where the user has decided.
    """
    given = environment.get(FLAGS, "")
    if count == 1 or COUNT in environment or COUNT_FLAG in given:
        return {}
    flags = " ".join(filter(None, [given, *one_thread()]))
    return {COUNT: str(count)} | ({FLAGS: flags} if flags else {})


def use(count: int) -> None:
    """Have so many devices, unless the user has decided; RuntimeError once JAX has been used."""
    changed = variables(count, os.environ)
    os.environ.update(changed)
    if changed and "jax" in sys.modules:  # which has read its environment
        sys.modules["jax"].config.update(COUNT.lower(), count)


def _cores() -> int:
    known = getattr(os, "sched_getaffinity", None)  # Linux alone knows which ones are ours
    return len(known(0)) if known else os.cpu_count() or 1


def use_cpu_devices(config: Any) -> None:
    """Do what `cpu_devices` says; without effect on other platforms."""
    share = config.training.batch_size // config.training.accumulate
    use(devices(config.cpu_devices, max(share, 1), _cores()))
