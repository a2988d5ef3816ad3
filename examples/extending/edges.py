"""Differences of neighbouring pixels as features."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.features import Features
from sde_lib.pytree import pytree


@pytree
class Edges:
    """Differences of each pixel with those below and to the right."""

    def __call__(self, images: Float[Array, "b h w c"]) -> Features:
        down, right = images[:, 1:] - images[:, :-1], images[:, :, 1:] - images[:, :, :-1]
        flat = [edges.reshape(len(images), -1) for edges in (down, right)]
        return Features(jnp.concatenate(flat, axis=1))
