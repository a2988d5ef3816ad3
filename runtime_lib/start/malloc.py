"""How the C library gets its memory, which must be said before a process starts.

XLA takes the buffers of every step from malloc and gives them back, gigabytes of them, and by
default malloc gives them back to the system, which clears them page by page the next time. Three
settings of glibc keep them in the process, which then stays at its peak: nothing is mapped on its
own, nothing trimmed, and all threads share one arena, since those of threads are unmapped whatever
is set. A fourth asks for huge pages where Linux grants them on request only
("madvise", the usual setting). What each brought is in benchmarks/README.md. Nothing inside a
running process can change them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

TUNABLES = "GLIBC_TUNABLES"
KEPT = {"mmap_max": "0", "trim_threshold": str(2**62), "arena_max": "1"}
HUGE = {"hugetlb": "1"}
OLDER = {
    "mmap_max": "MALLOC_MMAP_MAX_", "trim_threshold": "MALLOC_TRIM_THRESHOLD_",
    "arena_max": "MALLOC_ARENA_MAX",
}  # fmt: skip
"""Setting -> the variable that was its name before there were tunables (man 3 mallopt)."""
KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def environment_with(
    environment: Mapping[str, str], kernel: Path = KERNEL, platform: str = sys.platform
) -> dict[str, str] | None:
    """The environment in which memory is kept; None when there is nothing to change.

    Settings that the user made stay, also those made by `OLDER` names.
    """
    if platform != "linux":
        return None
    given = environment.get(TUNABLES, "")
    wanted = KEPT | (HUGE if _on_request(kernel) else {})
    missing = {
        f"glibc.malloc.{name}": value
        for name, value in wanted.items()
        if f"glibc.malloc.{name}=" not in given and OLDER.get(name, "") not in environment
    }
    if not missing:
        return None
    asked = [f"{name}={value}" for name, value in missing.items()]
    return {**environment, TUNABLES: ":".join(filter(None, [given, *asked]))}


def _on_request(kernel: Path) -> bool:
    """Whether huge pages are granted to who asks, and only then."""
    try:
        return "[madvise]" in kernel.read_text()
    except OSError:
        return False


def restart_with_malloc_kept() -> None:
    """Start this very command again where memory is kept, if it is not; call before heavy imports.

    The process keeps its number, its arguments and its open files.
    """
    environment = environment_with(os.environ)
    if environment is not None and sys.executable:
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
