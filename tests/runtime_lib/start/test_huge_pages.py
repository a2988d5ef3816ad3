"""Huge pages: asked for only where that changes something, by the very same command."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime_lib.start import huge_pages
from runtime_lib.start.huge_pages import (
    KERNEL,
    TUNABLES,
    environment_with,
    on_cpu,
    restart_for_training,
)

ROOT = Path(__file__).parents[3]
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
def test_asks_where_the_kernel_waits_to_be_asked(kernel, given, expected, tmp_path):
    path = tmp_path / "enabled"
    path.write_text(kernel + "\n")
    environment = {"HOME": "/"} | ({TUNABLES: given} if given else {})
    result = environment_with(environment, path)
    assert result == (None if expected is None else {"HOME": "/", TUNABLES: expected})


def test_elsewhere_than_on_linux_nothing_changes(tmp_path):
    assert environment_with({}, tmp_path / "missing") is None


@pytest.mark.parametrize("platforms, expected", [("cpu", True), ("cpu,cuda", True), ("tpu", False)])
def test_the_platform_that_the_user_names_comes_first(platforms, expected):
    assert on_cpu({"JAX_PLATFORMS": platforms}) is expected


def test_without_a_name_any_plugin_of_jax_may_be_an_accelerator(monkeypatch):
    found = {"plugins": [], "modules": set()}
    monkeypatch.setattr(huge_pages, "entry_points", lambda group: found["plugins"])
    monkeypatch.setattr(huge_pages, "find_spec", lambda name: name in found["modules"] or None)
    assert on_cpu({})
    assert on_cpu({"JAX_PLATFORMS": ""})
    found["plugins"] = ["cuda"]
    assert not on_cpu({})
    found.update(plugins=[], modules={"libtpu"})
    assert not on_cpu({})


@pytest.mark.parametrize(
    "mode, tuned, expected",
    [("train", True, 1), ("profile", True, 1), ("train", False, 0), ("sample", True, 0)],
)
def test_only_training_on_a_tuned_cpu_restarts(mode, tuned, expected, monkeypatch):
    calls = []
    monkeypatch.setattr(huge_pages, "restart_with_huge_pages", lambda: calls.append(mode))
    restart_for_training(mode, SimpleNamespace(cpu_tuned=tuned))
    restart_for_training("import", None)
    assert len(calls) == expected


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_the_restarted_process_is_the_same_command_in_the_new_environment(platform):
    program = (
        "import os, sys; from runtime_lib.start import huge_pages; "
        "huge_pages.restart_with_huge_pages(); "
        f"print(os.getpid(), os.environ.get({TUNABLES!r}), sys.argv[1:])"
    )
    clean = {k: v for k, v in os.environ.items() if k != TUNABLES} | {"JAX_PLATFORMS": platform}
    command = [sys.executable, "-c", program, "--config.a=b c", "é"]
    process = subprocess.Popen(command, cwd=ROOT, env=clean, stdout=subprocess.PIPE, text=True)
    told = process.communicate()[0]
    wanted = environment_with(clean, KERNEL) if platform == "cpu" else None
    expected = (wanted or {}).get(TUNABLES)
    assert told == f"{process.pid} {expected} ['--config.a=b c', 'é']\n"


def test_a_restart_that_is_impossible_is_left_out(monkeypatch):
    tried = []

    def refused(program, *_):
        tried.append(program)
        raise OSError("no such file")

    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(huge_pages, "environment_with", lambda environment: {})
    monkeypatch.setattr(os, "execve", refused)
    huge_pages.restart_with_huge_pages()
    assert tried == [sys.executable]


def test_main_restarts_once_before_it_trains(tmp_path):
    config, workdir = tmp_path / "config.py", tmp_path / "file"
    config.write_text(
        "import os\nfrom configs.vp_digits import get_config\n"
        f"print('tunables', os.environ.get({TUNABLES!r}))\n"
    )
    workdir.write_text("")  # which is refused at once
    clean = {k: v for k, v in os.environ.items() if k != TUNABLES} | {"JAX_PLATFORMS": "cpu"}
    given = ["--config", str(config), "--mode", "train", "--workdir", str(workdir)]
    command = [sys.executable, "main.py", *given]
    result = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True)
    wanted = environment_with(clean, KERNEL)
    expected = [None, wanted[TUNABLES]] if wanted else [None]
    assert result.stdout.splitlines() == [f"tunables {value}" for value in expected]
    assert result.returncode == 2, result.stderr
