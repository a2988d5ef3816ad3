"""Capabilities of the devices: memory, and operations per second."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

PEAKS = {
    "V100": 125e12, "A100": 312e12, "A10": 125e12, "A10G": 70e12, "L4": 121e12, "L40": 181e12,
    "L40S": 362e12, "RTX 3090": 71e12, "RTX 4090": 165e12, "H100": 989e12, "H200": 989e12,
    "GH200": 989e12, "B200": 2250e12, "TPU v2": 23e12, "TPU v3": 61.5e12,
    "TPU v4": 275e12, "TPU v5 lite": 197e12, "TPU v5e": 197e12, "TPU v5p": 459e12, "TPU v5": 459e12,
    "TPU v6 lite": 918e12, "TPU v6e": 918e12,
}  # fmt: skip
"""Multiplications and additions per second of 16-bit numbers, dense, of one device in JAX's
sense, by a part of its kind's name; from the makers' data sheets."""


def peak_operations(device: jax.Device) -> float | None:
    """Operations per second of one device by its data sheet; None for an unknown device."""
    known = [name for name in PEAKS if name in device.device_kind]
    return PEAKS[max(known, key=len)] if known else None


def measured_operations(size: int = 1024, seconds: float = 0.1) -> float:
    """Operations per second of all devices in float32 matrix products, the best of several runs."""
    multiply = lambda x: jnp.einsum("dij,djk->dik", x, x) / size
    return _best_rate(multiply, (size, size), 2 * size**3, seconds)


def measured_convolutions(
    batch: int = 8, size: int = 32, channels: int = 128, seconds: float = 0.1
) -> float:
    """Operations per second of all devices in 3x3 convolutions of [batch, size, size, channels].

    Convolutions count as direct sums; a form with fewer products (Winograd's) may be faster than
    this one, XLA's own.
    """
    kernel = jnp.ones((3, 3, channels, channels)) / (9 * channels)

    def convolve(x: jax.Array) -> jax.Array:
        one = partial(jax.lax.conv_general_dilated, window_strides=(1, 1), padding="SAME",
                      dimension_numbers=("NHWC", "HWIO", "NHWC"))  # fmt: skip
        return one(x[0], kernel)[None]

    mesh = _local_mesh()
    spread = jax.shard_map(convolve, mesh=mesh, in_specs=_ACROSS, out_specs=_ACROSS)
    shape = batch, size, size, channels
    return _best_rate(spread, shape, 2 * 9 * channels * batch * size * size * channels, seconds)


_ACROSS = jax.sharding.PartitionSpec("x")


def _local_mesh() -> jax.sharding.Mesh:
    auto = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((jax.local_device_count(),), ("x",), auto, devices=jax.local_devices())


def _best_rate(
    work: Callable[[jax.Array], jax.Array],
    shape: tuple[int, ...],
    operations: float,
    seconds: float,
) -> float:
    """Operations per second of all devices here, given the number that each performs on `shape`."""
    count = jax.local_device_count()
    whole = jax.sharding.NamedSharding(_local_mesh(), _ACROSS)
    ones = jax.device_put(np.ones((count, *shape), np.float32), whole)
    compiled = jax.jit(work)
    jax.block_until_ready(compiled(ones))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        jax.block_until_ready(compiled(ones))
        best = min(best, time.perf_counter() - start)
    return count * operations / best


def peak_of_all() -> float:
    """Operations per second of all processes' devices: by data sheet if known, else measured."""
    known = peak_operations(jax.local_devices()[0])
    here = measured_operations() if known is None else known * jax.local_device_count()
    return here * jax.process_count()


def memory(device: jax.Device) -> float | None:
    """Bytes of memory of one device; None if unknown.

    Devices on a CPU share the memory of the machine, or of the container.
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
    """The first number of a file; for /proc/meminfo, MemTotal in bytes."""
    try:
        words = path.read_text().split()
    except OSError:
        return None
    if words and words[0] == "MemTotal:":
        return int(words[1]) * 1024
    return int(words[0]) if words and words[0].isdigit() else None


def peak_memory() -> int:
    """Most bytes in use so far: of this process's fullest device, or of the process on CPUs."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    peaks = [known["peak_bytes_in_use"] for known in stats if known]
    return max(peaks, default=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def give_back_memory() -> None:
    """Return the C library's free memory to the system, where it can (glibc).

    XLA's compiler frees hundreds of megabytes in pieces, which malloc would keep and which are too
    small for the buffers of the compiled program.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
