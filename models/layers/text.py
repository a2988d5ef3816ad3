"""A transformer that reads texts, lists of tokens of a vocabulary, for a network beside it.

The form of GLIDE (Nichol et al., 2022, arXiv:2112.10741, section 3) and of CLIP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from models.layers.attend import biased_attention, plain_attention
from models.layers.norm import standardized
from models.layers.style import linear

Features = Float[Array, "b n w"]
EPSILON = 1e-5
"""Constant added to the variance in layer normalization."""
WIDE = 4
"""Length of a perceptron's hidden layer, as a multiple of the features."""
exact_gelu: Callable[[Array], Array] = partial(jax.nn.gelu, approximate=False)


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

    epsilon: float = EPSILON

    @nn.compact
    def __call__(self, h: Features) -> Features:
        scale = self.param("scale", nn.initializers.ones, (h.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (h.shape[-1],))
        return standardized(h, self.epsilon) * scale[None, None] + bias[None, None]


class TextBlock(nn.Module):
    """h + attention(norm(h)), and then + perceptron(norm(h)).

    Attributes:
      heads: of attention.
      wide: features of the perceptron's hidden layer; 0: four times those of h.
      activation: of the perceptron.
      epsilon: of both norms.
    """

    heads: int
    wide: int = 0
    activation: Callable[[Array], Array] = exact_gelu
    epsilon: float = EPSILON

    @nn.compact
    def __call__(self, h: Features, bias: Float[Array, "#b #h n n"] | None = None) -> Features:
        """bias: added to the logits of attention, as -1e30 where a key is not to be seen."""
        width, known = h.shape[-1], LayerNorm(self.epsilon, name="norm_0")(h)
        query, key, value = (
            linear(known, width, jnp.float32, name).reshape(*h.shape[:2], self.heads, -1)
            for name in ("query", "key", "value")
        )
        seen = (
            plain_attention(query, key, value)
            if bias is None
            else biased_attention(query, key, value, bias)
        )
        h = h + linear(seen.reshape(h.shape), width, jnp.float32, "project")
        known = LayerNorm(self.epsilon, name="norm_1")(h)
        wide = linear(known, self.wide or WIDE * width, jnp.float32, "wide")
        return h + linear(self.activation(wide), width, jnp.float32, "narrow")


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
