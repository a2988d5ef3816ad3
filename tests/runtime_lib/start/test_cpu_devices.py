"""Devices of one thread each on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.schema import get_default
from runtime_lib.start.cpu_devices import devices, one_thread, use_cpu_devices, variables

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("asked", "batch", "cores", "count"),
    [(1, 64, 8, 1), (3, 64, 8, 3), (0, 64, 2, 2), (0, 64, 6, 4), (0, 7, 4, 1), (0, 64, 1, 1)],
)
def test_as_many_as_asked_or_as_cores_can_share_a_batch(asked, batch, cores, count):
    assert devices(asked, batch, cores) == count


def test_what_is_said_leaves_what_the_user_has_set():
    one = "--xla_cpu_multi_thread_eigen=false"
    assert variables(2, {}) == {"JAX_NUM_CPU_DEVICES": "2", "XLA_FLAGS": one}
    assert variables(2, {"XLA_FLAGS": "--a=1"})["XLA_FLAGS"] == f"--a=1 {one}"
    assert variables(2, {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}) == {}
    assert variables(2, {"JAX_NUM_CPU_DEVICES": "4"}) == {}
    assert variables(1, {}) == {}


def test_a_flag_is_given_only_to_a_jaxlib_that_knows_it():
    assert [len(one_thread(jaxlib)) for jaxlib in ("0.10.2", "0.12.0.1", "0.13.0", "1.0")] == [
        1, 1, 0, 0]  # fmt: skip


def test_micro_batches_are_what_is_shared(monkeypatch):
    monkeypatch.setattr("runtime_lib.start.cpu_devices._cores", lambda: 8)
    monkeypatch.setattr("runtime_lib.start.cpu_devices.use", (used := []).append)
    config = get_default()
    config.cpu_devices, config.training.batch_size, config.training.accumulate = 0, 12, 2
    use_cpu_devices(config)
    assert used == [6]


@pytest.mark.parametrize("first", ["import jax; ", ""], ids=["jax imported", "jax not imported"])
def test_jax_has_the_devices_that_were_asked_for(first):
    code = (
        f"{first}from runtime_lib.start import cpu_devices; cpu_devices.use(3); import jax; "
        "print(jax.device_count(), jax.numpy.ones((9, 9)).sum())"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["3", "81.0"]
