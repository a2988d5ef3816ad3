"""Parallel projections, as in computed tomography."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from sde_lib.measurements.base import Operator
from sde_lib.pytree import pytree


def detectors(height: int, width: int) -> int:
    """Number of detectors: the diagonal of a picture, even if its width is and odd if that is."""
    least = math.ceil(math.hypot(height, width))
    return least + (least - width) % 2


@pytree
class Radon(Operator):
    """Sums of a picture [h, w, c] along parallel lines, [angles, detectors, c].

    At angle 0 lines run along columns, so that y[0] has the sums of columns in its middle, and at
    90 degrees along rows, from the bottom up. Lines are one pixel apart and have a point in each
    pixel of their length; a point's value is linear in the four pixels around it, 0 beyond the
    borders. The unit is a pixel value times the length of a pixel.

    angles: in radians [b, angles], for all pictures or for each.
    """

    angles: Float[Array, "b n"]

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b n s c"]:
        """A x."""
        count = detectors(*x.shape[1:3])
        at = jnp.arange(count, dtype=x.dtype) - (count - 1) / 2
        middle = [(n - 1) / 2 for n in x.shape[1:3]]

        def one(picture: Array, angle: Array) -> Array:
            across, line = at[:, None], at[None, :]
            cos, sin = jnp.cos(angle), jnp.sin(angle)
            rows = middle[0] - across * sin + line * cos
            columns = middle[1] + across * cos + line * sin
            point = lambda plane: map_coordinates(plane, [rows, columns], order=1)
            return jnp.sum(jax.vmap(point, -1, -1)(picture), axis=1)

        each = lambda picture, angles: jax.lax.map(lambda angle: one(picture, angle), angles)
        angles = jnp.broadcast_to(self.angles, (len(x), self.angles.shape[1]))
        return jax.vmap(each)(x, angles.astype(x.dtype))
