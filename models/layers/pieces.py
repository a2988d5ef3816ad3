"""Summary of the exchangeable pieces of a vector: a sample of one law, such as observations."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

LEAST = 1e-4
"""Added in square to the deviations, which are those of standardized values."""

CORRELATED = 32
"""Most numbers of a piece of which the correlations are given: n (n - 1) / 2 of them."""

SHORT_OF_ONE = 0.9999
"""Factor of the correlations, whose inverse hyperbolic tangent is then finite."""


def summary(
    values: Float[Array, "b k"], shown: Bool[Array, "b k"], pieces: int
) -> Float[Array, "b s"]:
    """Mean, log-deviation and correlations over the pieces, and every piece in units of the former.

    Laws that differ in scale by orders of magnitude so look alike, but for a few numbers, and what
    takes products of pieces to see is told: the moments up to the second are all that a sample of
    a Gaussian says of it. Correlations r are given as Fisher's z = artanh(r), whose error is alike
    for all r, and for pieces of at most `CORRELATED` numbers. Values that are not shown are left
    out; mean and correlation of none are 0.
    """
    b, k = values.shape
    x, there = (y.reshape(b, pieces, k // pieces) for y in (values, shown.astype(values.dtype)))
    count = jnp.maximum(there.sum(axis=1, keepdims=True), 1.0)
    mean = (x * there).sum(axis=1, keepdims=True) / count
    apart = (x - mean) * there
    deviation = jnp.sqrt((apart**2).sum(axis=1, keepdims=True) / count + LEAST**2)
    unit = apart / deviation
    parts = (mean, jnp.log(deviation), unit, _correlations(unit, there))
    return jnp.concatenate([part.reshape(b, -1) for part in parts], axis=-1)


def _correlations(
    unit: Float[Array, "b pieces n"], there: Float[Array, "b pieces n"]
) -> Float[Array, "b z"]:
    """Fisher's z of every two of the n numbers, over the pieces that show both."""
    n = unit.shape[-1]
    first, second = np.triu_indices(n if n <= CORRELATED else 0, 1)
    both = jnp.maximum((there[..., first] * there[..., second]).sum(axis=1), 1.0)
    correlation = (unit[..., first] * unit[..., second]).sum(axis=1) / both
    return jnp.arctanh(SHORT_OF_ONE * jnp.clip(correlation, -1.0, 1.0))
