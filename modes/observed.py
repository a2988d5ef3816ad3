"""Measurements that samples are to agree with, and how they are told of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from data_lib import Codec
from samplers.rules.named import METHODS, Reconstructor
from sde_lib.measurements.base import Measurement
from sde_lib.measurements.masks import Mask

Place = Callable[[np.ndarray], jax.Array]
"""A function that distributes the rows of a batch over the devices."""
NOT_THE_SAMPLE = (
    "num_samples", "condition", "impute", "captions", "negative", "noise", "base",
)  # fmt: skip
"""Settings of the section on which no sample depends: not the name of a file, but its content."""
PRECISION = 0.01
"""Deviation, of encoded data, to which partial examples are known while the others are drawn."""


@dataclass(frozen=True, eq=False)
class Observed:
    """Measurements that samples get in turn: sample k the one numbered k % count.

    of: (their numbers [b], a function that places rows on devices) -> the measurement of a batch.
    method: what tells the score and the sampler of it. exact: data [count, *d] of which values
    that are not NaN are those of the results to the last bit; None for none.
    """

    count: int
    of: Callable[[Int[np.ndarray, " b"], Place], Measurement]
    method: Reconstructor
    exact: Float[np.ndarray, "k *d"] | None = None


def check_guidance(config: Any, asked: str) -> None:
    """Raise ValueError for guidance that a changed score would lose: of the step, or with a memory.

    asked: the setting or the mode that changes the score.
    """
    sampling = config.sampling
    if sampling.guidance_kind == "classifier_mean":
        raise ValueError(
            f"{asked} changes the score, and sampling.guidance_kind='classifier_mean' the step: "
            "use 'classifier'"
        )
    if sampling.guidance_kind == "apg" and sampling.guidance_momentum:
        raise ValueError(f"sampling.guidance_momentum must be 0 with {asked}")


def refuse_latents(config: Any, asked: str) -> None:
    """Raise ValueError for values that are known of pictures and not of what is diffused."""
    if config.data.codec == "autoencoder":
        raise ValueError(
            f"{asked} must be empty with data.codec='autoencoder', as a value of a picture is none "
            "of its latents: --mode reconstruct with inverse.method=dps takes it as measured"
        )


def imputed(partial: Float[np.ndarray, "k *d"], codec: Codec, iterations: int) -> Observed:
    """Partial examples, in the units of the data, of which samples fill in the NaN."""
    known = np.isfinite(partial).astype(np.float32)
    encoded = np.where(known > 0, codec.encode(partial).astype(np.float32), np.float32(0))

    def of(rows: np.ndarray, place: Place) -> Measurement:
        return Measurement(Mask(place(known[rows])), place(encoded[rows]), jnp.float32(PRECISION))

    return Observed(len(partial), of, METHODS["mmps"].make(iterations, "gmres"), partial)


def digest(rows: np.ndarray) -> str:
    """A hash of arrays, for the identity of results."""
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()


def sampling_of(config: Any) -> dict[str, Any]:
    """The sampling settings on which samples depend: not the name of a file, but its content."""
    listed = config.sampling.to_dict()
    return {name: value for name, value in listed.items() if name not in NOT_THE_SAMPLE}


def told(name: str, rows: np.ndarray | None, groups: int) -> dict[str, Any]:
    """{NAME: number that take turns, NAME_sha256}, for JSON; {} without any."""
    return {} if rows is None else {name: groups or 1, f"{name}_sha256": digest(rows)}
