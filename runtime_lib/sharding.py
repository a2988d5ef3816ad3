"""One mesh over all devices: batches are split over all of it, large parameters over one axis.

The mesh has two axes. `data` copies the model; along `fsdp` its arrays are divided (fully sharded
data parallelism: each device keeps a part, and XLA gathers an array for its use). A batch is split
over both. The layout changes no result: only this module decides where numbers are stored, and
nothing that computes depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXES = DATA, FSDP = "data", "fsdp"


def device_mesh(data: int = -1, fsdp: int = 1) -> Mesh:
    """All devices of all processes as [data, fsdp], one of which may be -1: the remaining devices.

    Devices of one process are neighbours, along `fsdp` first, as their links are fastest. (Auto
    axes: XLA inserts the collectives.) Raises ValueError unless data x fsdp is the number of
    devices.
    """
    count = jax.device_count()
    given = {"mesh.data": data, "mesh.fsdp": fsdp}
    known = data * fsdp if min(data, fsdp) > 0 else max(data, fsdp)
    if known < 1 or count % known or (known != count and min(data, fsdp) > 0):
        told = ", ".join(f"{name}={size}" for name, size in given.items())
        raise ValueError(f"mesh.data x mesh.fsdp must be the number of devices, {count} "
                         f"(one of the two may be -1, for the others), got {told}")  # fmt: skip
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.asarray(devices).reshape(data, fsdp), AXES)


@dataclass(frozen=True)
class Layout:
    """The distribution of a model; arrays of fewer than `smallest` elements are on every device."""

    mesh: Mesh
    smallest: int

    def sharding(self, x: Any) -> NamedSharding:
        """Sharding of an array (or shape): the largest axis that `fsdp` divides, if any, is cut."""
        parts = self.mesh.shape[FSDP]
        axes = [axis for axis, size in enumerate(x.shape) if size % parts == 0]
        if parts == 1 or x.size < self.smallest or not axes:
            return replicated(self.mesh)
        largest = max(axes, key=lambda axis: x.shape[axis])
        return NamedSharding(self.mesh, PartitionSpec(*[None] * largest, FSDP))

    def shardings(self, tree: Any) -> Any:
        """`sharding` of every array; as it depends on shapes alone, parameters, their averages and
        the optimizer's moments are distributed alike."""
        return jax.tree.map(self.sharding, tree)

    def abstract(self, tree: Any) -> Any:
        """Shapes, types and shardings of a tree of shapes, as `Checkpoints.restore` takes them."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.sharding(x)), tree
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Array axis `axis` divided among all devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXES))


def shard_batch(batch: Any, mesh: Mesh, axis: int = 0) -> Any:
    """Global arrays from each process's share of a batch."""
    sharding = split(mesh, axis)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def mesh_of(tree: Any) -> Mesh:
    """The mesh of the arrays of `tree`; a mesh of all devices in a row if they have none."""
    meshes = map(_mesh, jax.tree.leaves(tree))
    found = (mesh for mesh in meshes if mesh is not None and mesh.axis_names == AXES)
    return next(found, None) or device_mesh()


def on_mesh(tree: Any, mesh: Mesh) -> Any:
    """`tree` with each array that is not on `mesh` yet copied to all of its devices."""
    whole = replicated(mesh)
    return jax.tree.map(lambda x: x if _mesh(x) == mesh else _put(x, whole), tree)


def distribute(x: Any, mesh: Mesh) -> jax.Array:
    """A global array, its first axis divided among all devices, from a copy in every process."""
    return _put(x, split(mesh))


def collect(x: Any) -> np.ndarray:
    """A copy, on the host of every process, of an array with any distribution."""
    if getattr(x, "is_fully_addressable", True) or x.is_fully_replicated:
        return np.asarray(x)
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))


def _mesh(x: Any) -> Mesh | None:
    return getattr(getattr(x, "sharding", None), "mesh", None)


def _put(x: Any, sharding: NamedSharding) -> jax.Array:
    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    # device_put would compare the arrays of all processes.
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])
