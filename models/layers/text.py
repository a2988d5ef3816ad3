"""A transformer that reads texts, lists of tokens of a vocabulary, for a network beside it.

The form of GLIDE (Nichol et al., 2022, arXiv:2112.10741, section 3) and of CLIP.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from models.layers.attend import plain_attention
from models.layers.attention import attend_with_heads
from models.layers.norm import standardized
from models.layers.style import linear

Features = Float[Array, "b n w"]
EPSILON = 1e-5
"""Constant added to the variance in layer normalization."""
WIDE = 4
"""Length of a perceptron's hidden layer, as a multiple of the features."""


@dataclass(frozen=True)
class Text:
    """Sizes of a reader of texts.

    Attributes:
      vocabulary: number of different tokens.
      width: features of each.
      layers: blocks of attention and perceptron; 0: a table of features alone.
      heads: of attention; they divide the width.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int


class LayerNorm(nn.Module):
    """Features of mean 0 and variance 1, times `scale`, plus `bias`."""

    @nn.compact
    def __call__(self, h: Features) -> Features:
        scale = self.param("scale", nn.initializers.ones, (h.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (h.shape[-1],))
        return standardized(h, EPSILON) * scale[None, None] + bias[None, None]


class TextBlock(nn.Module):
    """h + attention(norm(h)), and then + perceptron(norm(h)) with a GELU."""

    heads: int

    @nn.compact
    def __call__(self, h: Features) -> Features:
        width, known = h.shape[-1], LayerNorm(name="norm_0")(h)
        query, key, value = (
            linear(known, width, jnp.float32, name) for name in ("query", "key", "value")
        )
        seen = attend_with_heads(plain_attention, query, key, value, self.heads, False)
        h = h + linear(seen, width, jnp.float32, "project")
        wide = linear(LayerNorm(name="norm_1")(h), WIDE * width, jnp.float32, "wide")
        return h + linear(jax.nn.gelu(wide, approximate=False), width, jnp.float32, "narrow")


class TextReader(nn.Module):
    """Features of every place of a text; all is float32.

    A place without a token has features of its own, so that all places can be attended to, and a
    text of no token at all, the null, is something that the network has learned.
    """

    text: Text

    @nn.compact
    def __call__(self, tokens: Int[Array, "b n"], shown: Bool[Array, "b n"]) -> Features:
        text, small = self.text, nn.initializers.normal(0.02)
        words = self.param("words", small, (text.vocabulary, text.width))
        places, nothing = (
            self.param(name, small, (tokens.shape[1], text.width)) for name in ("places", "nothing")
        )
        h = jnp.where(shown[..., None], words[tokens] + places[None], nothing[None])
        for i in range(text.layers):
            h = TextBlock(text.heads, name=f"block_{i}")(h)
        return LayerNorm(name="norm")(h)
