"""Huge pages: asked for only where that changes something, by the very same command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from train_lib.huge_pages import KERNEL, TUNABLES, environment_with

ROOT = Path(__file__).parents[2]
ASKED = "glibc.malloc.hugetlb=1"


@pytest.mark.parametrize(
    "kernel, given, expected",
    [
        ("always [madvise] never", None, ASKED),
        ("always [madvise] never", "glibc.pthread.rseq=0", f"glibc.pthread.rseq=0:{ASKED}"),
        ("always [madvise] never", "glibc.malloc.hugetlb=0", None),
        ("always [madvise] never", ASKED, None),
        ("[always] madvise never", None, None),
        ("always madvise [never]", None, None),
    ],
)
def test_asks_where_the_kernel_waits_to_be_asked(
    kernel: str, given: str | None, expected: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "enabled"
    path.write_text(kernel + "\n")
    environment = {"HOME": "/"} | ({TUNABLES: given} if given else {})
    result = environment_with(environment, path)
    assert result == (None if expected is None else {"HOME": "/", TUNABLES: expected})


def test_elsewhere_than_on_linux_nothing_changes(tmp_path: Path) -> None:
    assert environment_with({}, tmp_path / "missing") is None


def test_the_restarted_process_is_the_same_command_in_the_new_environment() -> None:
    program = (
        "import os, sys; from train_lib.huge_pages import restart_with_huge_pages as restart; "
        f"restart(); print(os.environ.get({TUNABLES!r}), sys.argv[1:])"
    )
    clean = {k: v for k, v in os.environ.items() if k != TUNABLES}
    command = [sys.executable, "-c", program, "--config.a=b c", "é"]
    result = subprocess.run(
        command, cwd=ROOT, env=clean, capture_output=True, text=True, check=True
    )
    expected = (environment_with(clean, KERNEL) or {}).get(TUNABLES)
    assert result.stdout == f"{expected} ['--config.a=b c', 'é']\n"
