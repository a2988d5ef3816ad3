"""A Brownian motion that can be evaluated at any times, in any order: Levy's construction.

W on [0, 1] has W(0) = 0 and W(1) ~ N(0, 1). Between the ends of an interval [s, u], where it is
known, its middle is

    W((s + u) / 2) ~ N((W(s) + W(u)) / 2, (u - s) / 4).

Intervals are numbered as in a heap, [0, 1] is 1 and the halves of n are 2 n and 2 n + 1; the noise
of each comes from the key folded with its number, so that nothing has to be kept. diffrax has the
same tree, but calls back into Python to check its arguments, which `jax.export` refuses for any
platform and for which a TPU may wait forever.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

DEPTH = 20
"""Number of halvings: in an interval of 2^-20 all points share one draw of the right variance."""


def brownian(
    key: PRNGKeyArray, part: Float[Array, ""], like: jax.ShapeDtypeStruct
) -> Float[Array, " *d"]:
    """W(part), 0 <= part <= 1, of independent motions, one for each element of `like`."""

    def noise(n: Array) -> Float[Array, " *d"]:
        return jax.random.normal(jax.random.fold_in(key, n), like.shape, like.dtype)

    def halve(_: Array, at: tuple[Array, ...]) -> tuple[Array, ...]:
        n, s, width, low, high = at
        width = width / 2
        middle = (low + high) / 2 + jnp.sqrt(width / 2).astype(like.dtype) * noise(n)
        right = part > s + width
        return (
            2 * n + right.astype(n.dtype),
            jnp.where(right, s + width, s),
            width,
            jnp.where(right, middle, low),
            jnp.where(right, high, middle),
        )

    whole = jnp.int32(1), jnp.zeros_like(part), jnp.ones_like(part)
    ends = jnp.zeros(like.shape, like.dtype), noise(jnp.int32(0))
    n, s, width, low, high = jax.lax.fori_loop(0, DEPTH, halve, (*whole, *ends))
    left = jnp.clip((part - s) / width, 0.0, 1.0)
    slack = jnp.sqrt(left * (1 - left) * width)
    left, slack = left.astype(like.dtype), slack.astype(like.dtype)
    return low + left * (high - low) + slack * noise(n)
