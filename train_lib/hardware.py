"""What the devices can do: memory, and operations per second."""

from __future__ import annotations

import time
from pathlib import Path

import jax
import jax.numpy as jnp

PEAKS = {
    "V100": 125e12, "A100": 312e12, "A10": 125e12, "A10G": 70e12, "L4": 121e12, "L40": 181e12,
    "L40S": 362e12, "RTX 3090": 71e12, "RTX 4090": 165e12, "H100": 989e12, "H200": 989e12,
    "GH200": 989e12, "B200": 2250e12, "TPU v2": 23e12, "TPU v3": 61.5e12,
    "TPU v4": 275e12, "TPU v5 lite": 197e12, "TPU v5e": 197e12, "TPU v5p": 459e12, "TPU v5": 459e12,
    "TPU v6 lite": 918e12, "TPU v6e": 918e12,
}  # fmt: skip
"""Multiplications and additions per second of 16-bit numbers, dense, of what JAX calls one device,
by a part of its kind's name; from the makers' data sheets."""


def peak_operations(device: jax.Device) -> float | None:
    """Of one device, per second; None where nobody has written it down."""
    known = [name for name in PEAKS if name in device.device_kind]
    return PEAKS[max(known, key=len)] if known else None


def measured_operations(size: int = 1024, seconds: float = 0.1) -> float:
    """Of all devices, per second, in products of float32 matrices, the best of several runs."""
    count = jax.local_device_count()
    mesh = jax.make_mesh((count,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    a = jax.device_put(jnp.ones((count, size, size)), whole)
    multiply = jax.jit(lambda x: jnp.einsum("dij,djk->dik", x, x) / size)
    jax.block_until_ready(multiply(a))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        jax.block_until_ready(multiply(a))
        best = min(best, time.perf_counter() - start)
    return 2 * count * size**3 / best


def peak_of_all() -> float:
    """Operations per second of all devices of all processes: of the data sheet, else measured."""
    known = peak_operations(jax.local_devices()[0])
    here = measured_operations() if known is None else known * jax.local_device_count()
    return here * jax.process_count()


def memory(device: jax.Device) -> float | None:
    """Bytes that one device can hold; None where that cannot be asked.

    Devices on a CPU share what the machine, or the container this runs in, has.
    """
    stats = device.memory_stats()
    if stats:
        return stats.get("bytes_limit")
    limits = [limit for path in _LIMITS if (limit := _read(Path(path)))]
    return min(limits) / jax.local_device_count() if limits else None


_LIMITS = (
    "/proc/meminfo",
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def _read(path: Path) -> int | None:
    """The first number of a file; of /proc/meminfo, where it is MemTotal, in bytes."""
    try:
        words = path.read_text().split()
    except OSError:
        return None
    if words and words[0] == "MemTotal:":
        return int(words[1]) * 1024
    return int(words[0]) if words and words[0].isdigit() else None
