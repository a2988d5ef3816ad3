"""Keys from which others, and random bits, are made by a hash: cheap to compile and to run.

threefry, which keys the rest of a run, is a loop of 200 instructions to compile for every key and
every array of numbers, of which a network has hundreds: one for each layer's initial parameters and
one for each mask of dropout, where it also took a tenth of a step on a CPU. Initial parameters and
masks need no generator of its quality.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, UInt

GOLDEN = 0x9E3779B9
Words = UInt[Array, "2"]


def mix(x: UInt[Array, "..."]) -> UInt[Array, "..."]:
    """A bijection of 32-bit words in which every bit of the input moves half of the output's."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _bits(words: Words, width: int, shape: tuple[int, ...]) -> UInt[Array, "..."]:
    """The position of each element hashed with the key: the same on any layout of devices."""
    position = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = math.prod(shape[axis + 1 :]) % 2**32
        position = position + jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
    high = _hash(position, words[0], words[1])
    if width <= 32:
        return (high >> (32 - width)).astype(f"uint{width}")
    low = _hash(position, words[1], words[0])
    return (high.astype(jnp.uint64) << 32) | low.astype(jnp.uint64)


def _hash(position: UInt[Array, "..."], first: Array, second: Array) -> UInt[Array, "..."]:
    return mix(mix(position * jnp.uint32(GOLDEN) + first) ^ second)


def _fold_in(words: Words, data: Any) -> Words:
    low = mix(words[0] + data.astype(jnp.uint32) * jnp.uint32(GOLDEN))
    return jnp.stack([low, mix((words[1] ^ low) + jnp.uint32(GOLDEN))])


def _seed(seed: Array) -> Words:
    return _fold_in(jnp.zeros(2, jnp.uint32), seed)


def _split(words: Words, shape: tuple[int, ...]) -> UInt[Array, "... 2"]:
    numbers = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    return jax.vmap(_fold_in, (None, 0))(words, numbers).reshape(*shape, 2)


HASHED = jax.extend.random.define_prng_impl(
    key_shape=(2,), seed=_seed, split=_split, random_bits=_bits, fold_in=_fold_in,
    name="hashed", tag="hash",
)  # fmt: skip


def hashed(key: PRNGKeyArray) -> PRNGKeyArray:
    """A key from which others, and bits, are derived by `mix`."""
    words = jax.random.key_data(key)
    return jax.random.wrap_key_data(jnp.stack([words[0], words[-1]]), impl=HASHED)
