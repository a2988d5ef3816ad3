"""Several devices on one CPU, each with a thread of its own; JAX must be told before it starts.

One device shares every operation out among all threads: right for large convolutions, wasteful
for a small network, most of whose operations are too short to share. Devices share out the batch
instead, once a step (benchmarks/README.md has what that brings).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

FLAGS, COUNT = "XLA_FLAGS", "--xla_force_host_platform_device_count"
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"


def devices(asked: int, batch: int, cores: int) -> int:
    """How many: as asked, or, for 0, one per core as far as they can share a batch evenly."""
    return asked or max(n for n in range(1, max(cores, 1) + 1) if batch % n == 0)


def flags_with(count: int, environment: Mapping[str, str]) -> str | None:
    """XLA's flags for so many devices; None when nothing is to be changed.

    That is so for one device, and where the user has decided.
    """
    given = environment.get(FLAGS, "")
    if count == 1 or COUNT in given:
        return None
    return " ".join(filter(None, [given, f"{COUNT}={count}", ONE_THREAD]))


def _cores() -> int:
    known = getattr(os, "sched_getaffinity", None)  # Linux alone knows which ones are ours
    return len(known(0)) if known else os.cpu_count() or 1


def use_cpu_devices(config: Any) -> None:
    """Do what `cpu_devices` says; without effect once JAX has been used, and on other platforms."""
    share = config.training.batch_size // config.training.accumulate
    count = devices(config.cpu_devices, max(share, 1), _cores())
    flags = flags_with(count, os.environ)
    if flags is not None:
        os.environ[FLAGS] = flags
