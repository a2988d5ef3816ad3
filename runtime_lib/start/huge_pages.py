"""Huge pages for the buffers of a training step, which must be asked for before a process starts.

XLA takes the buffers of every step from malloc and gives them back, so that each step touches all
of them anew, in pages of 4 KiB: a third of the time of a small network's step on a CPU
(benchmarks/README.md). Where Linux grants huge pages to who asks ("madvise", the usual setting),
glibc asks if it is told to by its environment, and by nothing within a running process.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TUNABLES, SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")
ACCELERATORS = ("jax_plugins", "libtpu")
"""Modules by which JAX finds other devices than CPUs."""


UPDATING = ("train", "profile")
"""Modes of `main.py` that make training steps; a sampler's buffers last from step to step."""


def restart_for_training(mode: str, config: Any) -> None:
    """`restart_with_huge_pages` in the modes that gain by it, if the config is tuned for CPUs."""
    if mode in UPDATING and config.cpu_tuned:
        restart_with_huge_pages()


def restart_with_huge_pages() -> None:
    """Start this very command again with huge pages, if it computes on a CPU and has none.

    The process keeps its number, its arguments and its open files.
    """
    environment = environment_with(os.environ)
    if environment is None or not sys.executable or not on_cpu(os.environ):
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with contextlib.suppress(OSError):  # it trains without them, only more slowly
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def environment_with(
    environment: Mapping[str, str], kernel: Path = KERNEL
) -> dict[str, str] | None:
    """The environment in which malloc asks for huge pages; None where there is nothing to change.

    That is so where Linux never grants them or always does, and where the user has decided.
    """
    given = environment.get(TUNABLES, "")
    try:
        on_request = "[madvise]" in kernel.read_text()
    except OSError:
        return None
    if not on_request or SETTING in given:
        return None
    return {**environment, TUNABLES: ":".join(filter(None, [given, f"{SETTING}=1"]))}


def on_cpu(environment: Mapping[str, str]) -> bool:
    """True if JAX will compute on the CPU, as far as that can be told before it is imported."""
    if platforms := environment.get("JAX_PLATFORMS"):
        return platforms.split(",")[0] == "cpu"
    return not entry_points(group="jax_plugins") and not any(map(find_spec, ACCELERATORS))
