"""Huge pages for the C library's memory, which must be asked for before a process starts.

XLA takes the buffers of every step from malloc and gives them back. Where Linux grants huge pages
only on request ("madvise", the usual setting), each step touches its buffers anew in pages of
4 KiB: 30,000 page faults and a third of the time of the digits network's step
(benchmarks/README.md). glibc asks for huge pages when it starts with a tunable set; nothing
inside a running process can change that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

TUNABLES, SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def environment_with(
    environment: Mapping[str, str], kernel: Path = KERNEL
) -> dict[str, str] | None:
    """The environment in which a process gets huge pages; None when there is nothing to change.

    That is so where the kernel never grants them or always does, and where the user has decided.
    """
    given = environment.get(TUNABLES, "")
    try:
        on_request = "[madvise]" in kernel.read_text()
    except OSError:
        return None
    if not on_request or SETTING in given:
        return None
    return {**environment, TUNABLES: ":".join(filter(None, [given, f"{SETTING}=1"]))}


def restart_with_huge_pages() -> None:
    """Start this very command again with huge pages, if it has none; call it before heavy imports.

    The process keeps its number, its arguments and its open files.
    """
    environment = environment_with(os.environ)
    if environment is not None and sys.executable:
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
