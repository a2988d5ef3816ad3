"""Resources that a run will need, printed before compilation; a remedy if they are too large."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import models
from models.layers.remat import ONCE
from modes.experiment import Experiment
from modes.sizes import told
from runtime_lib import cost, hardware, sharding
from train_lib.step import Prepared, Step, make_step

GRADIENT = 3
"""Operations of a gradient over those of a forward pass: each product has two factors."""


@dataclass(frozen=True)
class Needs:
    """Estimated resources of training.

    parameters: numbers in the network; update: floating-point operations of an update per image,
    without those that `model.remat` repeats; state, work: bytes on each device of parameters,
    averages and optimizer, and of the results within an update; limit: memory of a device in
    bytes, None if unknown.
    """

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
        """Total bytes on each device."""
        return self.state + self.work

    def text(self) -> str:
        """The resources in one line."""
        has = "" if self.limit is None else f" of {told(self.limit)}"
        return (
            f"{self.parameters:,} parameters; per example {self.forward / 1e9:.3g} GFLOP for a "
            f"forward pass, {self.update / 1e9:.3g} for an update; memory per device about "
            f"{told(self.need)}{has}: {told(self.state)} for parameters, averages and optimizer, "
            f"{told(self.work)} for an update"
        )


def abstract_batches(experiment: Experiment) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of a step's batches."""
    training, mesh = experiment.config.training, experiment.layout.mesh
    shape = training.n_jitted_steps, training.batch_size
    placed = sharding.split(mesh, axis=1)
    image = jax.ShapeDtypeStruct((*shape, *experiment.shape), jnp.float32, sharding=placed)
    label = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=placed)
    found = {"image": image}
    if experiment.recipe.labelled:
        found["label"] = label
    if experiment.recipe.condition.names:
        given = (*shape, *experiment.recipe.condition.stored)
        found["condition"] = jax.ShapeDtypeStruct(given, jnp.float32, sharding=placed)
    if experiment.config.data.missing == "mask":
        found["observed"] = image
    return found


def estimate(experiment: Experiment, step: Step | None = None) -> Needs:
    """Resources of training, from the traced step; tracing `step` here saves tracing it later."""
    layout, recipe = experiment.layout, experiment.recipe
    program: Any = step or make_step(recipe)
    state, batches = experiment.abstract_state(), abstract_batches(experiment)
    traced = program.trace(layout.abstract(state), batches)
    images = experiment.config.training.n_jitted_steps * experiment.config.training.batch_size
    operations = cost.operations(traced.jaxpr.jaxpr) / images
    # What is computed twice is no progress.
    if experiment.config.model.to_dict()["remat"] not in ONCE:
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


def make_room() -> None:
    """Give back the memory of the small programs that building an experiment took, on a CPU.

    They are some forty, of 2 MiB each, beside which XLA would compile the step. To be called before
    the step is traced, which would be forgotten, too.
    """
    if jax.default_backend() == "cpu":
        jax.clear_caches()
        gc.collect()
        hardware.give_back_memory()


def prepare(experiment: Experiment, step: Step) -> Step:
    """The step, compiled before there is a state; the memory this took is given back."""
    state = experiment.layout.abstract(experiment.abstract_state())
    prepared = Prepared(step, state, abstract_batches(experiment))
    hardware.give_back_memory()
    return prepared


def _on_each_device(layout: sharding.Layout, params: Any) -> Callable[[Any], float]:
    """Bytes of an array on a device: divided like a parameter of its shape, else by examples."""
    like = {x.shape for x in jax.tree.leaves(params)}

    def size(x: Any) -> float:
        if x.shape in like or not x.shape:
            shape, parts = layout.sharding(x).shard_shape(x.shape), 1
        else:
            shape, parts = x.shape, layout.mesh.size
        return math.prod(shape) * x.dtype.itemsize / parts

    return size


def check(needs: Needs, experiment: Experiment) -> None:
    """Raise ValueError, with a remedy, if training will not fit into a device's memory."""
    checked = experiment.config.training.check_memory
    if not checked or needs.limit is None or needs.need <= needs.limit:
        return
    raise ValueError(
        f"training will not fit: it needs about {told(needs.need)} on each device "
        f"({told(needs.state)} for the model, {told(needs.work)} for an update), which has "
        f"{told(needs.limit)}: {_remedy(needs, experiment)} (training.check_memory=False: try it)"
    )


def _remedy(needs: Needs, experiment: Experiment) -> str:
    """Changes of settings that would help, with numbers if these are enough."""
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
