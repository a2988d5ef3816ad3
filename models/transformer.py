"""A transformer for sequences, sets of features, pictures and volumes.

Examples are cut in patches, each a token with a learned place; a vector's features are tokens of
one value. Blocks are scaled, shifted and gated by the embedding of noise level, class and vector
(Peebles and Xie, 2023, arXiv:2212.09748), attend to each other, and to the condition's tokens if
there are any. Where values may be missing, patches without any observed value are not attended to.
It needs model.nf, num_res_blocks, patch, attention_head_dim, dropout, nonlinearity, embedding_type,
num_classes and label_dropout.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from models import any_rank
from models.checks import numbers
from models.layers.attend import shown_attention
from models.layers.attention import attend_with_heads
from models.layers.conditions import Condition, as_parts
from models.layers.dropout import Dropout
from models.layers.embeddings import TOKENS, ConditionEmbedding
from models.layers.norm import modulated, standardized
from models.layers.style import Style
from models.shapes import Shape, written

MOST = 256
"""Most tokens that are made of an example without being asked for."""
HEAD = 32
"""Channels of an attention head without being asked for."""
Tokens = Float[Array, "b n d"]


def to_tokens(x: Float[Array, "b *s c"], patch: Shape) -> Tokens:
    """Patches as vectors; their lengths divide those of x."""
    batch, *spatial, channels = x.shape
    counts = [n // p for n, p in zip(spatial, patch, strict=True)]
    cut = [n for pair in zip(counts, patch, strict=True) for n in pair]
    first, second = range(1, 2 * len(patch), 2), range(2, 2 * len(patch) + 1, 2)
    x = x.reshape(batch, *cut, channels).transpose(0, *first, *second, 2 * len(patch) + 1)
    return x.reshape(batch, math.prod(counts), math.prod(patch) * channels)


def from_tokens(tokens: Tokens, patch: Shape, shape: Shape) -> Float[Array, "b *s c"]:
    """The inverse of `to_tokens`, of arrays of that shape."""
    batch, *spatial, channels = shape
    counts = [n // p for n, p in zip(spatial, patch, strict=True)]
    axes = len(patch)
    x = tokens.reshape(batch, *counts, *patch, channels)
    order = [axis for k in range(axes) for axis in (1 + k, 1 + axes + k)]
    return x.transpose(0, *order, 2 * axes + 1).reshape(shape)


def _gated(h: Tokens, gate: Array, branch: Tokens) -> Tokens:
    return (h.astype(jnp.float32) + (1 + gate) * branch.astype(jnp.float32)).astype(h.dtype)


class TokenHead(nn.Module):
    """A scaled and shifted norm, and a linear map to `features`; in float32."""

    style: Style
    features: int

    @nn.compact
    def __call__(self, h: Tokens, told: Float[Array, "b e"]) -> Tokens:
        dense = self.style.exact.dense
        modulation = dense(2 * h.shape[-1], scale=0.0, name="modulation")(told)[:, None]
        h = modulated(h.astype(jnp.float32), *jnp.split(modulation, 2, axis=-1))
        return dense(self.features, scale=0.0, name="project")(h)


class TokenBlock(nn.Module):
    """Attention among tokens, to the condition's tokens, and a perceptron; each is added to h."""

    style: Style

    @nn.compact
    def __call__(
        self,
        h: Tokens,
        told: Float[Array, "b e"],
        among: Bool[Array, "b n"] | None,
        tokens: Float[Array, "b m w"] | None,
        shown: Bool[Array, "b m"] | None,
        train: bool = False,
    ) -> Tokens:
        style, width = self.style, h.shape[-1]
        # In float32, since their gradients are sums over all tokens.
        modulation = style.exact.dense(6 * width, scale=0.0, name="modulation")(told)[:, None]
        scale, shift, gate, scale_2, shift_2, gate_2 = jnp.split(modulation, 6, axis=-1)
        h = _gated(h, gate, self._attention(modulated(h, scale, shift), among, train))
        if tokens is not None and shown is not None:
            h = h + self._tokens(standardized(h), standardized(tokens), shown)
        wide = style.dense(4 * width, name="wide")(modulated(h, scale_2, shift_2))
        inner = Dropout(style.dropout)(style.activation(wide), train=train)
        return _gated(h, gate_2, style.dense(width, scale=0.0, name="narrow")(inner))

    def _attention(self, h: Tokens, among: Array | None, train: bool) -> Tokens:
        style, width = self.style, h.shape[-1]
        names = ("query", "key", "value")
        query, key, value = (style.dense(width, name=name)(h) for name in names)
        heads = style.heads(width)
        if among is None:
            seen = attend_with_heads(style.attend, query, key, value, heads, train)
        else:
            split = lambda y: y.reshape(*y.shape[:2], heads, -1)
            seen = shown_attention(split(query), split(key), split(value), among).reshape(h.shape)
        return style.dense(width, scale=0.0, name="project")(seen)

    def _tokens(self, h: Tokens, tokens: Array, shown: Array) -> Tokens:
        style, width = self.style, h.shape[-1]
        split = lambda y: y.reshape(*y.shape[:2], style.heads(width), -1)
        query = split(style.dense(width, name="token_query")(h))
        key, value = (
            split(style.dense(width, name=f"token_{n}")(tokens)) for n in ("key", "value")
        )
        seen = shown_attention(query, key, value, shown).reshape(h.shape)
        return style.dense(width, scale=0.0, use_bias=False, name="token_project")(seen)


class Transformer(nn.Module):
    """The network.

    Attributes:
      style: shared choices.
      features: of every token.
      blocks: number of blocks.
      patch: length of a patch along each spatial axis.
      channels: channels of the output.
      conditioning: makes the embedding that all blocks see.
    """

    style: Style
    features: int
    blocks: int
    patch: Shape
    channels: int
    conditioning: ConditionEmbedding

    @nn.nowrap
    def multiples(self) -> Shape:
        """The length of each axis must be a multiple of these."""
        return self.patch

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *s c"],
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b *s o"]:
        """Raw output of the network; the arguments are those of `models.unet.UNet`."""
        parts, style = as_parts(condition), self.style
        observed = parts.pop("observed", None)
        tokens, shown = (parts.get(name) for name in TOKENS)
        told: Any = self.conditioning(label, self.conditioning.takes(parts), train)
        among = None if observed is None else (to_tokens(observed, self.patch) > 0).any(-1)
        # In bfloat16 the input would be rounded by more than the least noise in it.
        h = style.exact.dense(self.features, name="stem")(to_tokens(x, self.patch))
        h = h + self.param("places", nn.initializers.normal(0.02), (h.shape[1], h.shape[2]))[None]
        h = h.astype(style.dtype)
        for i in range(self.blocks):
            block = TokenBlock(style, name=f"block_{i}")
            h = style.remat(block)(h, told, among, tokens, shown, train=train)
        size = math.prod(self.patch) * self.channels
        out = TokenHead(style, size, name="output")(h, told)
        return from_tokens(out, self.patch, (*x.shape[:-1], self.channels)).astype(x.dtype)


def _patch(config: ConfigDict, lengths: Shape) -> Shape:
    rule = f"() or a positive integer for each spatial axis of the shape {written(lengths)}"
    asked = numbers(config.model, "model.patch", rule, int, lambda n: n > 0)
    if len(asked) not in (0, len(lengths)):
        raise ValueError(f"model.patch must be {rule}, got {written(asked)}")
    patch = list(asked or [1] * len(lengths))
    counts = lambda: [-(-n // p) for n, p in zip(lengths, patch, strict=True)]
    while not asked and math.prod(counts()) > MOST:
        patch[counts().index(max(counts()))] *= 2
    return tuple(patch)


def build(config: ConfigDict) -> Transformer:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    model, common = config.model, any_rank.read(config)
    shape = common.inputs.shape
    lifted = len(shape) == 1
    style = common.style(heads=any_rank.heads(model, (common.nf,), HEAD))
    return Transformer(
        style=style,
        features=common.nf,
        blocks=common.blocks,
        patch=_patch(config, shape if lifted else shape[:-1]),
        channels=common.inputs.outputs if lifted else common.inputs.channels,
        conditioning=common.conditioning(style, common.nf),
    )
