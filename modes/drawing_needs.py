"""The memory that sampling will need, told before anything is compiled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import models
from modes.experiment import Experiment
from modes.sizes import told
from runtime_lib import cost, hardware

LARGE = 10**8
"""Parameters from which on the memory is told."""


@dataclass(frozen=True)
class DrawingNeeds:
    """Estimated memory of sampling on a device, in bytes.

    parameters: numbers in the network. weights: of these, and of the autoencoder's. work: results
    within an evaluation of the guided score. decoder: results while a picture is decoded; 0 for a
    model of no latents. limit: of the device; None if unknown.
    """

    parameters: int
    weights: float
    work: float
    decoder: float
    limit: float | None

    @property
    def need(self) -> float:
        """Total bytes; decoding begins after the last evaluation."""
        return self.weights + max(self.work, self.decoder)

    def text(self) -> str:
        """The memory in one line."""
        has = "" if self.limit is None else f" of {told(self.limit)}"
        decoder = f", {told(self.decoder)} for decoding" if self.decoder else ""
        return (
            f"{self.parameters:,} parameters; memory per device about {told(self.need)}{has}: "
            f"{told(self.weights)} for weights, {told(self.work)} for an evaluation{decoder}"
        )


def drawing_needs(experiment: Experiment, batch: int) -> DrawingNeeds:
    """The needs of `batch` samples at a time on each device, from the traced evaluation."""
    params = experiment.abstract_params()
    x = jax.ShapeDtypeStruct((batch, *experiment.shape), jnp.float32)
    t = jax.ShapeDtypeStruct((batch,), jnp.float32)
    condition = experiment.an_example(batch)

    def evaluation(params: Any, x: Any, t: Any) -> Any:
        return experiment.sampled(experiment.score.with_params(params), condition).denoise(x, t)

    traced = jax.make_jaxpr(evaluation)(params, x, t)
    decoder, own = _decoding(experiment)
    return DrawingNeeds(
        parameters=models.count(params),
        weights=_bytes(params) + own,
        work=cost.peak(traced.jaxpr, _size),
        decoder=decoder,
        limit=hardware.memory(jax.local_devices()[0]),
    )


def _decoding(experiment: Experiment) -> tuple[float, float]:
    """(bytes while a picture is decoded, bytes of the autoencoder's weights)."""
    made: Any = experiment.codec
    if not hasattr(made, "network"):
        return 0.0, 0.0
    z = jax.ShapeDtypeStruct((1, *experiment.shape), jnp.float32)
    run = lambda params, z: made.network.apply({"params": params}, z, method="decode")
    return cost.peak(jax.make_jaxpr(run)(made.params, z).jaxpr, _size), _bytes(made.params)


def _size(x: Any) -> float:
    return math.prod(x.shape) * x.dtype.itemsize if hasattr(x, "shape") else 0.0


def _bytes(params: Any) -> float:
    return sum(map(_size, jax.tree.leaves(params)), 0.0)


def check(needs: DrawingNeeds) -> None:
    """Raise ValueError, with a remedy, if sampling will not fit into a device's memory."""
    if needs.limit is None or needs.need <= needs.limit:
        return
    raise ValueError(
        f"sampling will not fit: it needs about {told(needs.need)}, and the device has "
        f"{told(needs.limit)}: lower sampling.batch_size, set model.dtype=bfloat16, or data.tile "
        "for decoding"
    )
