"""CLIP's reader of texts (Radford et al., 2021, arXiv:2103.00020), and OpenCLIP's.

A transformer in which no token sees those after it; padding is seen, unless the model is told
otherwise. The pooled features are those at the end token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from models.layers.attend import causal, hidden
from models.layers.dense import Dense
from models.layers.text import Features, LayerNorm, TextBlock, exact_gelu

QUICK = 1.702
"""Slope of the sigmoid with which OpenAI approximates a GELU."""
LARGEST = 2
"""The end token in the files of OpenAI's models, which stands for the largest of a text."""


def quick_gelu(x: Array) -> Array:
    """x sigmoid(1.702 x)."""
    return x * jax.nn.sigmoid(QUICK * x)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": exact_gelu}


class Hidden(NamedTuple):
    """Features of a text.

    Attributes:
      states: of every token, before the first layer and after each one, none normalized.
      normed: each of these after the last norm.
      pooled: of the whole text; None if the reader has none.
    """

    states: tuple[Features, ...]
    normed: tuple[Features, ...]
    pooled: Float[Array, "b p"] | None


@dataclass(frozen=True)
class ClipSizes:
    """Sizes of a reader of CLIP's.

    Attributes:
      vocabulary: number of different tokens.
      places: number of tokens of every text.
      width: features of each token.
      wide: features of the perceptrons' hidden layers.
      layers: number of blocks.
      heads: of attention.
      activation: a name in `ACTIVATIONS`.
      projection: features of the projected pooled ones; 0: these are not projected.
      end: the token whose place is pooled, the first of them; `LARGEST`: the largest of the text.
      epsilon: of the norms.
      masked: whether padding is hidden from the other tokens.
    """

    vocabulary: int
    places: int
    width: int
    wide: int
    layers: int
    heads: int
    activation: str
    projection: int = 0
    end: int = LARGEST
    epsilon: float = 1e-5
    masked: bool = False

    @property
    def pooled(self) -> int:
        """Length of the pooled features."""
        return self.projection or self.width


class ClipText(nn.Module):
    """The network."""

    sizes: ClipSizes

    @nn.compact
    def __call__(self, ids: Int[Array, "b n"], shown: Bool[Array, "b n"] | None = None) -> Hidden:
        """Features of texts; shown: the tokens that are no padding, None to see them all."""
        sizes, small = self.sizes, nn.initializers.normal(0.02)
        words = self.param("words", small, (sizes.vocabulary, sizes.width))
        places = self.param("places", small, (sizes.places, sizes.width))
        bias = causal(ids.shape[1])
        bias = bias if shown is None else jnp.minimum(bias, hidden(shown))
        states = [words[ids] + places[None, : ids.shape[1]]]
        activation = ACTIVATIONS[sizes.activation]
        for i in range(sizes.layers):
            block = TextBlock(sizes.heads, sizes.wide, activation, sizes.epsilon, name=f"block_{i}")
            states.append(block(states[-1], bias))
        norm = LayerNorm(sizes.epsilon, name="norm")
        normed = tuple(norm(h) for h in states)
        ends = ends_of(ids, sizes.end)
        pooled = jnp.take_along_axis(normed[-1], ends[:, None, None], axis=1)[:, 0]
        if sizes.projection:
            pooled = Dense(sizes.projection, use_bias=False, name="projection")(pooled)
        return Hidden(tuple(states), normed, pooled)


def ends_of(ids: Int[Array, "b n"], end: int) -> Int[Array, "b"]:
    """The place of each text that is pooled, 0 if there is no end token; see `ClipSizes.end`."""
    return (ids if end == LARGEST else ids == end).argmax(-1)
