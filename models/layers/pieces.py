"""Summary of the exchangeable pieces of a vector: a sample of one law, such as observations."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

LEAST = 1e-4
"""Added in square to the deviations, which are those of standardized values."""


def summary(
    values: Float[Array, "b k"], shown: Bool[Array, "b k"], pieces: int
) -> Float[Array, "b s"]:
    """Mean and log-deviation over the pieces, and every piece in units of both: k + 2 k / pieces.

    Laws that differ in scale by orders of magnitude so look alike, but for two numbers. Values that
    are not shown are left out; the mean of none is 0.
    """
    b, k = values.shape
    x, there = (y.reshape(b, pieces, k // pieces) for y in (values, shown.astype(values.dtype)))
    count = jnp.maximum(there.sum(axis=1, keepdims=True), 1.0)
    mean = (x * there).sum(axis=1, keepdims=True) / count
    apart = (x - mean) * there
    deviation = jnp.sqrt((apart**2).sum(axis=1, keepdims=True) / count + LEAST**2)
    parts = (mean, jnp.log(deviation), apart / deviation)
    return jnp.concatenate([part.reshape(b, -1) for part in parts], axis=-1)
