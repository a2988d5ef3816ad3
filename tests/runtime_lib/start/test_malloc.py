"""Settings of malloc: made only where they change something, by the very same command."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from runtime_lib.start.malloc import KERNEL, TUNABLES, environment_with

ROOT = Path(__file__).parents[3]
ALL = {"mmap_max": "0", "trim_threshold": str(2**62), "arena_max": "1", "hugetlb": "1"}
MADVISE = "always [madvise] never"


def tunables(**settings: str) -> str:
    return ":".join(f"glibc.malloc.{name}={value}" for name, value in settings.items())


def without(*names: str) -> dict[str, str]:
    return {k: v for k, v in ALL.items() if k not in names}


@pytest.mark.parametrize(
    "kernel, given, expected",
    [
        (MADVISE, "", tunables(**ALL)),
        (MADVISE, "glibc.pthread.rseq=0", f"glibc.pthread.rseq=0:{tunables(**ALL)}"),
        (MADVISE, tunables(hugetlb="0"), tunables(hugetlb="0", **without("hugetlb"))),
        (MADVISE, tunables(arena_max="4"), tunables(arena_max="4", **without("arena_max"))),
        (MADVISE, tunables(**ALL), None),
        ("[always] madvise never", "", tunables(**without("hugetlb"))),
        ("always madvise [never]", "", tunables(**without("hugetlb"))),
        (None, "", tunables(**without("hugetlb"))),
    ],
)
def test_what_the_user_did_not_set_is_set(
    kernel: str | None, given: str, expected: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "enabled"
    if kernel:
        path.write_text(kernel + "\n")
    environment = {"HOME": "/"} | ({TUNABLES: given} if given else {})
    result = environment_with(environment, path, "linux")
    assert result == (None if expected is None else {"HOME": "/", TUNABLES: expected})


def test_older_names_of_the_settings_are_the_users_decision_too(tmp_path: Path) -> None:
    environment = {"MALLOC_ARENA_MAX": "4", "MALLOC_MMAP_MAX_": "9"}
    result = environment_with(environment, tmp_path / "missing", "linux") or {}
    assert result[TUNABLES] == tunables(trim_threshold=ALL["trim_threshold"])


def test_elsewhere_than_on_linux_nothing_changes() -> None:
    assert environment_with({}, KERNEL, "darwin") is None


def test_the_restarted_process_is_the_same_command_in_the_new_environment() -> None:
    program = (
        "import os, sys; from runtime_lib.start.malloc import restart_with_malloc_kept as restart; "
        f"restart(); print(os.environ.get({TUNABLES!r}), sys.argv[1:])"
    )
    clean = {k: v for k, v in os.environ.items() if k != TUNABLES}
    command = [sys.executable, "-c", program, "--config.a=b c", "é"]
    result = subprocess.run(
        command, cwd=ROOT, env=clean, capture_output=True, text=True, check=True
    )
    expected = (environment_with(clean, KERNEL) or {}).get(TUNABLES)
    assert result.stdout == f"{expected} ['--config.a=b c', 'é']\n"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_memory_that_was_given_back_is_there_without_a_page_fault() -> None:
    """Memory of a thread, whose own arena would be unmapped; 64 MiB are 16,384 pages of 4 KiB."""
    program = (
        "import ctypes, resource, threading\n"
        "c = ctypes.CDLL(None); c.malloc.restype = ctypes.c_void_p\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def use():\n"
        "    p = ctypes.c_void_p(c.malloc(2**26)); ctypes.memset(p, 1, 2**26); c.free(p)\n"
        "def turn():\n"
        "    before = faults(); t = threading.Thread(target=use); t.start(); t.join()\n"
        "    return faults() - before\n"
        "turn(); print(turn())"
    )

    clean = {k: v for k, v in os.environ.items() if k != TUNABLES}
    environment = environment_with(clean, Path("/missing"))  # without huge pages, of 512 in one
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 1000
