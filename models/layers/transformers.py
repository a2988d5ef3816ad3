"""Attention layers of text-to-picture U-Nets, in which pixels see the tokens of a text.

`MapTransformer` is that of latent diffusion (Rombach et al., 2022, arXiv:2112.10752, appendix
E.2.1), `JointAttention` that of GLIDE and Imagen (Nichol et al., 2022, arXiv:2112.10741; Saharia
et al., 2022, arXiv:2205.11487). Both are called as `layer(x, tokens, bias, train)`, x [b, h, w, c],
tokens [b, m, w] and the bias of `models.layers.attend.unseen`, and give x plus something.

The constants added to variances are those of the published networks: 1e-6 in the normalization in
front of a transformer, 1e-5 in all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.attend import Bias, plain_attention
from models.layers.attention import Pixels, attend_with_heads
from models.layers.norm import GroupNorm
from models.layers.style import Style, gelu
from models.layers.text import LayerNorm

Image = Float[Array, "b h w c"]
Tokens = Float[Array, "b m w"] | None
BEFORE_TRANSFORMER, ELSEWHERE = 1e-6, 1e-5
"""Constants added to variances."""
WIDER = 4
"""Length of a perceptron's hidden layer, as a multiple of the features."""


class HeadedAttention(nn.Module):
    """Attention of `heads` heads from the queries to the keys, without biases but of the result.

    Vaswani et al., 2017, arXiv:1706.03762, section 3.2.2.
    """

    style: Style
    heads: int

    @nn.compact
    def __call__(
        self, queries: Pixels, keys: Float[Array, "b m w"], bias: Bias, train: bool
    ) -> Pixels:
        style, width = self.style, queries.shape[-1]
        query, key, value = (
            style.dense(width, use_bias=False, name=name)(y)
            for name, y in (("query", queries), ("key", keys), ("value", keys))
        )
        seen = attend_with_heads(style.attend, query, key, value, self.heads, train, bias)
        return style.dense(width, name="project")(seen)


class MapTransformerBlock(nn.Module):
    """h + attention(norm h), + attention to the tokens, + a perceptron with gates.

    The perceptron is W (a * gelu(b)), both halves of a linear map of norm h (GEGLU: Shazeer, 2020,
    arXiv:2002.05202). With `cross_only` the first attention sees the tokens, too, and all of them.
    """

    style: Style
    heads: int
    cross_only: bool

    @nn.compact
    def __call__(self, h: Pixels, tokens: Float[Array, "b m w"], bias: Bias, train: bool) -> Pixels:
        style, width = self.style, h.shape[-1]
        norm = lambda k: LayerNorm(name=f"norm_{k}")(h).astype(style.dtype)
        attention = partial(HeadedAttention, style, self.heads)
        own = norm(0)
        h = h + attention(name="self")(own, tokens if self.cross_only else own, None, train)
        h = h + attention(name="cross")(norm(1), tokens, bias, train)
        wide = style.dense(2 * WIDER * width, name="wide")(norm(2))
        values, gates = jnp.split(wide, 2, axis=-1)
        return h + style.dense(width, name="narrow")(values * gelu(gates))


class MapTransformer(nn.Module):
    """x + W_out transformer(W_in norm x), over the pixels of x; `depth` blocks."""

    style: Style
    heads: int
    depth: int
    cross_only: bool = False

    @nn.compact
    def __call__(
        self, x: Image, tokens: Float[Array, "b m w"], bias: Bias = None, train: bool = False
    ) -> Image:
        style, channels = self.style, x.shape[-1]
        known = replace(style, epsilon=BEFORE_TRANSFORMER).norm(channels, "norm")(x)
        h = style.dense(channels, name="in")(known.reshape(x.shape[0], -1, channels))
        for k in range(self.depth):
            block = MapTransformerBlock(style, self.heads, self.cross_only, name=f"block_{k}")
            h = block(h, tokens, bias, train)
        out = style.dense(channels, scale=style.init_scale, name="out")
        return x + out(h).reshape(x.shape)


class JointAttention(nn.Module):
    """x + attention of its pixels to the tokens and to the pixels, by one softmax.

    Attributes:
      heads: of attention.
      depth: 1; transformers have others.
      cross_only: whether pixels see the tokens alone.
      token_norm: normalization of the tokens, within a module, by its name; None for none.
    """

    style: Style
    heads: int
    depth: int = 1
    cross_only: bool = False
    token_norm: Callable[[Float[Array, "b m w"], str], Float[Array, "b m w"]] | None = None

    @nn.compact
    def __call__(
        self, x: Image, tokens: Float[Array, "b m w"], bias: Bias = None, train: bool = False
    ) -> Image:
        style, channels = self.style, x.shape[-1]
        norm = replace(style, epsilon=ELSEWHERE).norm(channels, "norm")
        pixels = norm(x).reshape(x.shape[0], -1, channels)
        told = tokens if self.token_norm is None else self.token_norm(tokens, "token_norm")
        linear = lambda name, y: style.dense(channels, name=name)(y)
        query = linear("query", pixels)
        key, value = (linear(f"token_{name}", told) for name in ("key", "value"))
        if not self.cross_only:
            key = jnp.concatenate([key, linear("key", pixels)], axis=1)
            value = jnp.concatenate([value, linear("value", pixels)], axis=1)
            bias = None if bias is None else jnp.pad(bias, ((0, 0), (0, pixels.shape[1])))
        seen = attend_with_heads(style.attend, query, key, value, self.heads, train, bias)
        project = style.dense(channels, scale=style.init_scale, name="project")
        return x + project(seen).reshape(x.shape)


def in_groups(tokens: Float[Array, "b m w"], name: str) -> Float[Array, "b m w"]:
    """32 groups of features normalized over all tokens, within a module."""
    return GroupNorm(32, epsilon=ELSEWHERE, name=name)(tokens)


def each(tokens: Float[Array, "b m w"], name: str) -> Float[Array, "b m w"]:
    """Every token normalized, within a module."""
    return LayerNorm(name=name)(tokens)


TOKEN_NORMS: dict[str, Callable[[Array, str], Array] | None] = {
    "none": None, "group": in_groups, "layer": each,
}  # fmt: skip
"""model.token_norm -> normalization of tokens before joint attention."""


class TokenPooling(nn.Module):
    """A vector of the tokens: attention from their mean to it and to them.

    The mean has a place of its own, added to it. Normalizations are before and after.

    Attributes:
      features: length of the result.
      heads: of attention.
    """

    style: Style
    features: int
    heads: int

    @nn.compact
    def __call__(self, tokens: Float[Array, "b m w"], train: bool = False) -> Float[Array, "b d"]:
        style, width = self.style.exact, tokens.shape[-1]
        known = LayerNorm(name="norm_0")(tokens)
        init = nn.initializers.normal(width**-0.5)
        place = self.param("place", init, (1, width))
        mean = known.mean(1, keepdims=True) + place[None]
        keys = jnp.concatenate([mean, known], axis=1)
        query, key, value = (
            style.dense(width, name=name)(y)
            for name, y in (("query", mean), ("key", keys), ("value", keys))
        )
        pooled = attend_with_heads(plain_attention, query, key, value, self.heads, train)
        projected = style.dense(self.features, name="project")(pooled)
        return LayerNorm(name="norm_1")(projected)[:, 0]
