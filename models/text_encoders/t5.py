"""T5's encoder (Raffel et al., 2020, arXiv:1910.10683), the original and version 1.1.

Attention is not divided by the square root of its heads' width, and is told the distance of two
tokens by a bias of each head, of which all layers have the same; norms divide by the root mean
square alone; there are no other biases. Version 1.1 gates its perceptrons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from models.layers.attend import biased_attention, hidden
from models.layers.dense import Dense
from models.layers.text import Features
from models.text_encoders.clip import Hidden


@dataclass(frozen=True)
class T5Sizes:
    """Sizes of an encoder of T5's.

    Attributes:
      vocabulary: number of different tokens.
      width: features of each token.
      wide: features of the perceptrons' hidden layers.
      layers: number of blocks.
      heads: of attention.
      head: features of each head.
      gated: whether perceptrons are gated (version 1.1).
      buckets: number of distances that are told apart, half of them to each side.
      distance: from which on all are the same.
      epsilon: of the norms.
    """

    vocabulary: int
    width: int
    wide: int
    layers: int
    heads: int
    head: int
    gated: bool
    buckets: int = 32
    distance: int = 128
    epsilon: float = 1e-6


class RootMeanSquare(nn.Module):
    """Features divided by their root mean square, times `scale`, in float32."""

    epsilon: float

    @nn.compact
    def __call__(self, h: Features) -> Features:
        scale = self.param("scale", nn.initializers.ones, (h.shape[-1],))
        h = h.astype(jnp.float32)
        return (
            h * lax.rsqrt(jnp.square(h).mean(-1, keepdims=True) + self.epsilon) * scale[None, None]
        )


class T5Block(nn.Module):
    """h + attention(norm(h)), and then + perceptron(norm(h))."""

    sizes: T5Sizes

    @nn.compact
    def __call__(self, h: Features, bias: Float[Array, "b h n n"]) -> Features:
        sizes = self.sizes
        dense = lambda features, name: Dense(features, use_bias=False, name=name)
        known = RootMeanSquare(sizes.epsilon, name="norm_0")(h)
        query, key, value = (
            dense(sizes.heads * sizes.head, name)(known).reshape(*h.shape[:2], sizes.heads, -1)
            for name in ("query", "key", "value")
        )
        seen = biased_attention(query, key, value, bias, scale=1.0)
        h = h + dense(sizes.width, "project")(seen.reshape(*h.shape[:2], -1))
        known = RootMeanSquare(sizes.epsilon, name="norm_1")(h)
        wide = dense(sizes.wide, "wide")(known)
        if sizes.gated:
            wide = jax.nn.gelu(dense(sizes.wide, "gate")(known), approximate=True) * wide
        else:
            wide = jax.nn.relu(wide)
        return h + dense(sizes.width, "narrow")(wide)


class T5Encoder(nn.Module):
    """The network; there are no pooled features."""

    sizes: T5Sizes

    @nn.compact
    def __call__(self, ids: Int[Array, "b n"], shown: Bool[Array, "b n"] | None = None) -> Hidden:
        """Features of texts; shown: the tokens that are no padding, None to see them all."""
        sizes, unit = self.sizes, nn.initializers.normal(1.0)
        words = self.param("words", unit, (sizes.vocabulary, sizes.width))
        distances = self.param("distances", unit, (sizes.buckets, sizes.heads))
        places = bucket(ids.shape[1], sizes.buckets, sizes.distance)
        bias = distances[places].transpose(2, 0, 1)[None]
        bias = bias if shown is None else bias + hidden(shown)
        states = [words[ids]]
        for i in range(sizes.layers):
            states.append(T5Block(sizes, name=f"block_{i}")(states[-1], bias))
        norm = RootMeanSquare(sizes.epsilon, name="norm")
        return Hidden(tuple(states), tuple(norm(h) for h in states), None)


def bucket(length: int, buckets: int, distance: int) -> np.ndarray:
    """The bucket [length, length] of the distance from each token to each other (section 2.1).

    Half of the buckets are for tokens after it. Of each half, the first half are for distances of
    one each, the others for logarithmically growing ranges up to `distance`.
    """
    ahead = np.arange(length)[None] - np.arange(length)[:, None]
    half, far = buckets // 2, np.abs(ahead)
    exact = half // 2
    # In float32, whose rounding decides on the edges between two ranges.
    ratio = np.log(np.maximum(far, 1) / exact).astype(np.float32)
    steps = ratio / np.float32(math.log(distance / exact)) * np.float32(half - exact)
    ranged = np.minimum(exact + steps.astype(np.int64), half - 1)
    return np.where(ahead > 0, half, 0) + np.where(far < exact, far, ranged)
