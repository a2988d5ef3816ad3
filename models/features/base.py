"""Interface of all networks that compute features of images for metrics."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Float


class Features(NamedTuple):
    """Features of each image of a batch; None for those that a network does not have.

    Attributes:
      pool: the features in which distances are computed.
      logits: unnormalized log-probabilities of classes, for the Inception score.
      spatial: features that keep positions, for sFID, flattened.
    """

    pool: Float[Array, "b d"]
    logits: Float[Array, "b k"] | None = None
    spatial: Float[Array, "b s"] | None = None


class FeatureNetwork(Protocol):
    """A pytree with the network's weights as leaves; its structure is everything else."""

    def __call__(self, images: Float[Array, "b h w c"]) -> Features:
        """Features of images in [0, 1] on multiples of 1/255, of 1 or 3 channels and any size."""


def pixel_values(images: Float[Array, "b h w c"]) -> Float[Array, "b h w 3"]:
    """Whole numbers 0 to 255 of images in [0, 1]; one channel becomes three equal ones.

    Raises:
      ValueError: there are neither one nor three channels.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"images must be [batch, height, width, 1 or 3 channels], got {images.shape}"
        )
    values = jnp.round(images.astype(jnp.float32) * 255)
    return jnp.broadcast_to(values, (*values.shape[:3], 3))
