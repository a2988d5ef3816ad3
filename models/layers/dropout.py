"""Dropout whose random bits are cheap to make and to compile."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, UInt

GOLDEN = 0x9E3779B9


def mix(x: UInt[Array, "..."]) -> UInt[Array, "..."]:
    """A bijection of 32-bit words in which every bit of the input moves half of the output's."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def keep_mask(key: Array, shape: tuple[int, ...], keep: float) -> Array:
    """Independent events of probability `keep`, one per element, from a key.

    The position of an element is hashed with the key's 64 bits. threefry, which keys the rest of
    a run, would take a second of compilation and a tenth of the step per layer of dropout on a
    CPU; masks need no such quality. They depend on position only, not on the devices' layout.
    """
    low, high = jax.random.bits(key, (2,), jnp.uint32)
    position = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = math.prod(shape[axis + 1 :]) % 2**32
        position = position + jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
    word = mix(mix(position * jnp.uint32(GOLDEN) + low) ^ high)
    return word < jnp.uint32(min(round(keep * 2**32), 2**32 - 1))


class Dropout(nn.Module):
    """Zero with probability `rate`, else divide by 1 - rate; the identity unless training.

    Draws from the rng stream 'dropout' (Srivastava et al. 2014).
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        if not train or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = keep_mask(self.make_rng("dropout"), x.shape, keep)
        return jnp.where(mask, x / keep, jnp.zeros((), x.dtype))
