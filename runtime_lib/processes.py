"""Several processes as one run: meeting, agreeing, and writing by one of them.

All of them run the same program on their shares of the arrays; a computation over all devices waits
until every process has started it. So they must decide alike: what only one of them knows (a
signal, a file) is first communicated to all. The first process writes the files, in a workdir
that all can access.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import NoReturn, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, Int

from runtime_lib import sharding
from untrusted import shown

P = ParamSpec("P")

HEARTBEAT = 60
"""Seconds of silence after which a process counts as lost, and the others end."""
MEETING = 300
"""Seconds that processes wait for each other at the start."""
MOST = 2**16
"""Largest number of processes in a run."""


@dataclass(frozen=True)
class Peers:
    """Address of the first process of a run, number of processes, and number of this one.

    None: the value is found by JAX from the cluster (SLURM, Open MPI, TPU pods, or, for the
    address, JAX_COORDINATOR_ADDRESS in the environment).
    """

    coordinator: str | None = None
    count: int | None = None
    index: int | None = None


def connect(peers: Peers) -> None:
    """Join the other processes, before any device is used. ValueError, in one line, on failure."""
    _check(peers)
    # Otherwise a SIGTERM would be noted and nothing more: training has an answer of its own.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            peers.coordinator,
            peers.count,
            peers.index,
            initialization_timeout=MEETING,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=HEARTBEAT,
        )
    except (ValueError, RuntimeError) as error:  # it has its own words for each cluster
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"the processes of this run did not meet ({reason}): give each of them --coordinator "
            "HOST:PORT of the first, --num_processes and its own --process_id"
        ) from error


def _check(peers: Peers) -> None:
    given = {"--coordinator": peers.coordinator, "--num_processes": peers.count,
             "--process_id": peers.index}  # fmt: skip
    if None in given.values():
        known = [name for name, value in given.items() if value is not None]
        if known:
            raise ValueError(f"{known[0]} must be given with the others of {', '.join(given)}")
        return
    host, _, port = str(peers.coordinator).rpartition(":")
    if not (host and re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 2**16):
        raise ValueError(f"--coordinator must be HOST:PORT, got {peers.coordinator!r}")
    count, index = int(peers.count or 0), int(peers.index or 0)
    if count > MOST:
        raise ValueError(f"--num_processes must be at most {MOST:,}, got {shown(count)}")
    if not 0 <= index < count:
        raise ValueError(
            f"--process_id must be from 0 to --num_processes - 1 = {count - 1}, got {index}"
        )


def is_first() -> bool:
    """True if this process writes the files for all."""
    return jax.process_index() == 0


def are_several() -> bool:
    """True if there are other processes."""
    return jax.process_count() > 1


def by_the_first(change: Callable[P, None]) -> Callable[P, None]:
    """Let only the first process run `change` (of files); all return when it is done."""

    @wraps(change)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        if is_first():
            change(*args, **kwargs)
        if are_several():
            multihost_utils.sync_global_devices(change.__qualname__)

    return run


class Agreement:
    """The largest number that any process gave in the previous call, the same for all processes.

    It is the previous call's so that no process waits for a computation on the devices. A single
    process gets its own number at once.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._asked: Int[Array, ""] | None = None

    def __call__(self, own: int) -> int:
        if not are_several():
            return own
        before, self._asked = self._asked, _largest(_spread(own, self._mesh))
        return 0 if before is None else int(before)


_largest = jax.jit(jnp.max)


def _spread(own: int, mesh: Mesh) -> Int[Array, " devices"]:
    """One number per device, given by the device's process."""
    mine = lambda index: np.full(1, own, np.int32)
    return jax.make_array_from_callback((mesh.size,), sharding.split(mesh), mine)


def is_loss(error: BaseException | None) -> bool:
    """True if an error, or one of its causes, says that another process is gone."""
    if error is None or "RESOURCE_EXHAUSTED" in str(error) or not are_several():
        return False
    # On CPUs the collectives' own errors come as ValueErrors.
    named = type(error).__name__ == "JaxRuntimeError" or "UNKNOWN: Gloo" in str(error)
    return named or is_loss(error.__cause__)


def leave(code: int) -> NoReturn:
    """End this process; after an error, without waiting for the other processes, which may hang."""
    if code in (0, 130, 143) or not are_several():
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
