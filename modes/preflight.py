"""What a run will need, said before anything is compiled; and, if it will not fit, a remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import models
from modes.experiment import Experiment
from modes.sizes import told
from runtime_lib import cost, hardware, sharding
from train_lib.step import Step, make_step

GRADIENT = 3
"""Operations of a gradient over those of a forward pass: each product has two factors."""


@dataclass(frozen=True)
class Needs:
    """parameters: numbers in the network; update: floating-point operations of an update per
    image, none of them for what `model.remat` computes again; state, work: bytes on each device
    of parameters, averages and optimizer, and of what an update computes; limit: bytes that a
    device has, None where that cannot be asked."""

    parameters: int
    update: float
    state: float
    work: float
    limit: float | None

    @property
    def forward(self) -> float:
        """Operations of a forward pass per image."""
        return self.update / GRADIENT

    @property
    def need(self) -> float:
        """Bytes on each device."""
        return self.state + self.work

    def text(self) -> str:
        """One line."""
        has = "" if self.limit is None else f" of {told(self.limit)}"
        return (
            f"{self.parameters:,} parameters; one image: {self.forward / 1e9:.3g} GFLOP forward, "
            f"{self.update / 1e9:.3g} in training; memory of each device about {told(self.need)}"
            f"{has}: {told(self.state)} state, {told(self.work)} work"
        )


def abstract_batches(experiment: Experiment) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of what a step is given."""
    training, mesh = experiment.config.training, experiment.layout.mesh
    shape = training.n_jitted_steps, training.batch_size
    placed = sharding.split(mesh, axis=1)
    image = jax.ShapeDtypeStruct((*shape, *experiment.image_shape), jnp.float32, sharding=placed)
    label = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=placed)
    return {"image": image} | ({"label": label} if experiment.recipe.labelled else {})


def estimate(experiment: Experiment, step: Step | None = None) -> Needs:
    """Of training, from the traced step; tracing `step` here spares it tracing later."""
    layout, recipe = experiment.layout, experiment.recipe
    program: Any = step or make_step(recipe)
    state, batches = experiment.abstract_state(), abstract_batches(experiment)
    traced = program.trace(layout.abstract(state), batches)
    images = experiment.config.training.n_jitted_steps * experiment.config.training.batch_size
    operations = cost.operations(traced.jaxpr.jaxpr) / images
    if (
        experiment.config.model.to_dict()["remat"] != "none"
    ):  # what is computed twice is no progress
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[2:]), x.dtype), batches)
        loss = jax.make_jaxpr(recipe.loss)(state.params, state.key, one)
        operations = GRADIENT * cost.operations(loss.jaxpr)
    size = _on_each_device(layout, state.params)
    return Needs(
        parameters=models.count(state.params),
        update=operations,
        state=sum(map(size, jax.tree.leaves(state))),
        work=cost.peak(traced.jaxpr.jaxpr, size),
        limit=hardware.memory(jax.local_devices()[0]),
    )


def _on_each_device(layout: sharding.Layout, params: Any) -> Callable[[Any], float]:
    """Bytes that an array takes on a device: as a parameter if it is like one, else by examples."""
    like = {x.shape for x in jax.tree.leaves(params)}

    def size(x: Any) -> float:
        if x.shape in like or not x.shape:
            shape, parts = layout.sharding(x).shard_shape(x.shape), 1
        else:
            shape, parts = x.shape, layout.mesh.size
        return math.prod(shape) * x.dtype.itemsize / parts

    return size


def check(needs: Needs, experiment: Experiment) -> None:
    """ValueError, with what would help, if training will not fit into a device's memory."""
    checked = experiment.config.training.check_memory
    if not checked or needs.limit is None or needs.need <= needs.limit:
        return
    raise ValueError(
        f"training will not fit: it needs about {told(needs.need)} on each device "
        f"({told(needs.state)} for the model, {told(needs.work)} to work), which has "
        f"{told(needs.limit)}: {_remedy(needs, experiment)} (training.check_memory=False: try it)"
    )


def _remedy(needs: Needs, experiment: Experiment) -> str:
    """What to change; by numbers where they say enough."""
    training, mesh = experiment.config.training, experiment.layout.mesh
    limit = needs.limit or 0.0
    room = limit - needs.state
    if room <= 0:
        parts = -(-needs.state * mesh.shape[sharding.FSDP] // (limit / 2))
        return f"divide the model with mesh.fsdp={parts:.0f} or more devices"
    share = training.batch_size // (training.accumulate * mesh.size)
    parts = (2**i for i in range(1, share.bit_length()) if share % 2**i == 0)
    fits = next((n for n in parts if needs.work / n <= room), None)
    less = "model.remat=blocks or model.dtype=bfloat16"
    if fits is None:
        return f"set {less}, or take a smaller network: micro-batches are not enough"
    return f"set training.accumulate={training.accumulate * fits}, {less}, or use more devices"
