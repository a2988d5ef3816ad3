"""Dropout (Srivastava et al., 2014) that is cheap to compile."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

from models.layers.cpu.outline import outlined


@partial(outlined, static_argnames=("shape", "keep"))
def keep_mask(key: PRNGKeyArray, shape: tuple[int, ...], keep: float) -> Array:
    """Independent events of probability `keep`, one per element, from a key.

    On a CPU they are computed once, not again in the backward pass.
    """
    return jax.random.bits(key, shape, jnp.uint32) < jnp.uint32(min(round(keep * 2**32), 2**32 - 1))


class Dropout(nn.Module):
    """Zero with probability `rate`, else divide by 1 - rate; the identity unless training.

    Draws from the rng stream 'dropout'.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        if not train or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = keep_mask(self.make_rng("dropout"), shape=x.shape, keep=keep)
        return jnp.where(mask, x / keep, jnp.zeros((), x.dtype))
