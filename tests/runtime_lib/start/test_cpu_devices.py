"""Devices of one thread each on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from configs.schema import get_default
from runtime_lib.start.cpu_devices import devices, flags_with, use_cpu_devices


@pytest.mark.parametrize(
    ("asked", "batch", "cores", "count"),
    [(1, 64, 8, 1), (3, 64, 8, 3), (0, 64, 2, 2), (0, 64, 6, 4), (0, 7, 4, 1), (0, 64, 1, 1)],
)
def test_as_many_as_asked_or_as_cores_can_share_a_batch(asked, batch, cores, count):
    assert devices(asked, batch, cores) == count


def test_flags_leave_what_the_user_has_set():
    two = "--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false"
    assert flags_with(2, {}) == two
    assert flags_with(2, {"XLA_FLAGS": "--a=1"}) == f"--a=1 {two}"
    assert flags_with(2, {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}) is None
    assert flags_with(1, {}) is None


def test_micro_batches_are_what_is_shared(monkeypatch):
    monkeypatch.setattr("runtime_lib.start.cpu_devices._cores", lambda: 8)
    monkeypatch.setattr("runtime_lib.start.cpu_devices.os.environ", environment := {})
    config = get_default()
    config.cpu_devices, config.training.batch_size, config.training.accumulate = 0, 12, 2
    use_cpu_devices(config)
    assert "device_count=6 " in environment["XLA_FLAGS"]


def test_jax_has_the_devices_that_the_flags_say():
    code = "import jax; print(jax.device_count(), jax.numpy.ones((9, 9)).sum())"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags_with(3, {}) or ""}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["3", "81.0"]
