"""Utilization of the devices: operations per second as fractions of peaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from modes import preflight
from runtime_lib import hardware

SECONDS = 1.0
"""Seconds of measuring each peak; longer is steadier on a shared machine."""
OPERATIONS = {"step": "update", "evaluation": "forward", "ode": "forward"}
"""Task -> the field of `preflight.Needs` with a unit's operations per image. (Likelihoods push a
derivative through the network, whose operations are not counted there.)"""


def measured() -> dict[str, float]:
    """Operations per second of all devices, by kind of operation."""
    found = {
        "matrix products": hardware.measured_operations(seconds=SECONDS),
        "3x3 convolutions": hardware.measured_convolutions(seconds=SECONDS),
    }
    known = hardware.peak_operations(jax.local_devices()[0])
    return found | ({"data sheet, 16 bits": known * jax.device_count()} if known else {})


def rate(operations: float, images: int, seconds: float) -> float:
    """Operations per second, given operations per image."""
    return operations * images / seconds


def rates(
    party: Mapping[str, Any], needs: preflight.Needs, images: Mapping[str, int]
) -> dict[str, float]:
    """Task -> operations per second, from a party's medians and the images of each task."""
    return {
        task: rate(getattr(needs, name), images[task], party[task]["wall"])
        for task, name in OPERATIONS.items()
        if task in party
    }


def shares(done: Mapping[str, float], peaks: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Task -> peak -> the fraction of it that is reached."""
    return {
        task: {name: found / peak for name, peak in peaks.items()} for task, found in done.items()
    }


def lines(done: Mapping[str, float], peaks: Mapping[str, float]) -> list[str]:
    """A line per task."""
    told = shares(done, peaks)
    return [
        f"  {task:11s} {found / 1e9:9.2f} GFLOP/s: "
        + ", ".join(f"{share:.1%} of {name}" for name, share in told[task].items())
        for task, found in done.items()
    ]
