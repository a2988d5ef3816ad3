"""The diffusion transformer DiT as its authors wrote it (Peebles & Xie, 2023, arXiv:2212.09748).

Beside `models.transformer`: places are fixed sines and cosines of column and row; the gate of a
branch is zero at first, not one; classes are rows of a table whose last says "no class"; the noise
level has 256 sines and cosines. Pictures, or latents of them, are cut into square patches.

It needs model.nf, num_res_blocks, num_heads, patch, num_classes, label_dropout, learn_variance,
norm_eps, freq_shift and own_embeddings; the network is given conditions as published
(`models.as_published`).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from models import inputs, settings
from models.checks import flag, integer, number, numbers
from models.layers.attend import Attend
from models.layers.attention import attend_with_heads
from models.layers.conditions import Condition, HideRows, as_rows
from models.layers.dense import Dense
from models.layers.embeddings import Positional
from models.layers.norm import EPSILON, standardized
from models.layers.remat import Remat
from models.layers.style import default_init
from models.shapes import Shape, check_rank, written
from models.transformer import Tokens, from_tokens, to_tokens

WAVES = 256
"""Length of the sines and cosines of the noise level."""
LONGEST = 10000.0
"""Longest period of the sines and cosines of places, in patches, over 2 pi."""
WIDE = 4
"""Length of a perceptron's hidden layer, as a multiple of the features."""
small = nn.initializers.normal(0.02)


def places(rows: int, columns: int, features: int) -> Float[np.ndarray, "n d"]:
    """Sines and cosines of the column (first half) and the row of every patch, row by row."""
    quarter = features // 4
    frequencies = LONGEST ** (-np.arange(quarter) / quarter)

    def waves(place: np.ndarray) -> np.ndarray:
        angle = place.reshape(-1, 1) * frequencies
        return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)

    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.concatenate([waves(column), waves(row)], axis=1).astype(np.float32)


def told_norm(h: Tokens, shift: Array, scale: Array, epsilon: float) -> Tokens:
    """The normalized features, scaled and shifted as the condition says, of h's type."""
    return (standardized(h, epsilon) * (1 + scale) + shift).astype(h.dtype)


class DiTBlock(nn.Module):
    """Attention and a perceptron, each added to h as far as the condition opens its gate."""

    heads: int
    attend: Attend
    dtype: Any
    epsilon: float

    @nn.compact
    def __call__(self, h: Tokens, told: Float[Array, "b d"], train: bool = False) -> Tokens:
        width, zeros = h.shape[-1], nn.initializers.zeros
        dense = lambda features, name: Dense(
            features, kernel_init=default_init(), dtype=self.dtype, name=name
        )
        # In float32, since their gradients are sums over all tokens.
        modulation = Dense(6 * width, kernel_init=zeros, name="modulation")(told)[:, None]
        shift, scale, gate, shift_2, scale_2, gate_2 = jnp.split(modulation, 6, axis=-1)
        known = told_norm(h, shift, scale, EPSILON)
        query, key, value = (dense(width, name)(known) for name in ("query", "key", "value"))
        seen = attend_with_heads(self.attend, query, key, value, self.heads, train)
        h = _gated(h, gate, dense(width, "project")(seen))
        wide = dense(WIDE * width, "wide")(told_norm(h, shift_2, scale_2, self.epsilon))
        return _gated(h, gate_2, dense(width, "narrow")(jax.nn.gelu(wide, approximate=True)))


def _gated(h: Tokens, gate: Array, branch: Tokens) -> Tokens:
    return (h.astype(jnp.float32) + gate * branch.astype(jnp.float32)).astype(h.dtype)


class Patches(nn.Module):
    """A linear map of every patch, with a kernel [p, p, channels, features]."""

    features: int
    patch: Shape

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Tokens:
        shape = (*self.patch, x.shape[-1], self.features)
        flat = lambda key, shape: default_init()(key, (math.prod(shape[:-1]), shape[-1]))
        init = lambda key, shape: flat(key, shape).reshape(shape)
        kernel = self.param("kernel", init, shape).reshape(-1, self.features)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return to_tokens(x, self.patch) @ kernel + bias[None, None]


class DiTEmbedding(nn.Module):
    """The sum of the embeddings of noise level and class, after a SiLU.

    slowest: whether the lowest frequency of the noise level is exactly 1 / 10000 (diffusers).
    """

    features: int
    classes: int
    slowest: bool

    @nn.compact
    def __call__(self, label: Float[Array, "b"], rows: Float[Array, "b k"]) -> Float[Array, "b d"]:
        """rows: as `models.layers.conditions.one_hot` has classes; a row of zeros is no class."""
        waves = Positional(WAVES, self.slowest, cosines_first=True)(label.astype(jnp.float32))
        dense = lambda name: Dense(self.features, kernel_init=small, name=name)
        told = dense("time_1")(jax.nn.silu(dense("time_0")(waves)))
        if self.classes:
            table = self.param("classes", small, (self.classes + 1, self.features))
            whole = jnp.concatenate([rows, 1 - rows.sum(-1, keepdims=True)], -1)
            told = told + jnp.matmul(whole, table, precision=lax.Precision.HIGHEST)
        return jax.nn.silu(told)


class DiT(nn.Module):
    """The network.

    Attributes:
      features: of every token.
      blocks: number of blocks.
      heads: of attention.
      patch: length of a patch along both axes.
      channels: channels of the output.
      classes: number of classes; the table has one row more, that of none.
      label_dropout: fraction of the labels that are hidden while training.
      epsilon: of the norm before a perceptron, which diffusers has ten times as large.
      own_embeddings: whether every block has embeddings of noise level and class of its own, as in
        diffusers' form; the head has those of the first.
      slowest: as in `DiTEmbedding`.
      attend, dtype, remat: as in `models.layers.style.Style`.
    """

    features: int
    blocks: int
    heads: int
    patch: Shape
    channels: int
    classes: int
    label_dropout: float
    epsilon: float
    own_embeddings: bool
    slowest: bool
    attend: Attend
    dtype: Any
    remat: Remat

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        label: Float[Array, "b"],
        condition: Condition = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w o"]:
        """Raw output of the network; the arguments are those of `models.unet.UNet`."""
        h = Patches(self.features, self.patch, name="stem")(x) + self._places(x.shape)
        h = h.astype(self.dtype)
        rows = self._rows(condition, len(x), train)
        names = [f"told_{i}" for i in range(self.blocks)] if self.own_embeddings else ["told"]
        sizes = self.features, self.classes, self.slowest
        told = [DiTEmbedding(*sizes, name=name)(label, rows) for name in names]
        for i in range(self.blocks):
            block = DiTBlock(self.heads, self.attend, self.dtype, self.epsilon, name=f"block_{i}")
            h = self.remat(block)(h, told[i if self.own_embeddings else 0], train=train)
        out = DiTHead(math.prod(self.patch) * self.channels, name="output")(h, told[0])
        return from_tokens(out, self.patch, (*x.shape[:-1], self.channels)).astype(x.dtype)

    def _places(self, shape: Shape) -> Float[Array, "1 n d"]:
        """The places, which are not trained, yet stored, as in the authors' files."""
        rows, columns = (n // p for n, p in zip(shape[1:3], self.patch, strict=True))
        table = lambda key: jnp.asarray(places(rows, columns, self.features))
        return lax.stop_gradient(self.param("places", table))[None]

    def _rows(self, condition: Condition, batch: int, train: bool) -> Float[Array, "b k"]:
        """The classes, some hidden while training."""
        rows, _ = as_rows(condition, batch, self.classes, 0)
        return HideRows(self.label_dropout)(rows, train)


class DiTHead(nn.Module):
    """A norm, scaled and shifted as the condition says, and a linear map; in float32."""

    features: int

    @nn.compact
    def __call__(self, h: Tokens, told: Float[Array, "b d"]) -> Tokens:
        zeros = nn.initializers.zeros
        dense = lambda features, name: Dense(features, kernel_init=zeros, name=name)
        modulation = dense(2 * h.shape[-1], "modulation")(told)[:, None]
        shift, scale = jnp.split(modulation, 2, axis=-1)
        return dense(self.features, "project")(
            told_norm(h.astype(jnp.float32), shift, scale, EPSILON)
        )


def _patch(config: ConfigDict, lengths: Shape) -> Shape:
    rule = "one integer, or two, that divide the sides of the shape"
    asked = numbers(config.model, "model.patch", rule, int, lambda n: n > 0)
    patch = asked * 2 if len(asked) == 1 else asked
    if len(patch) != 2 or any(n % p for n, p in zip(lengths, patch, strict=True)):
        raise ValueError(
            f"model.patch must be {rule}, {written(lengths)}, with model.name='dit', got "
            f"{written(asked)}"
        )
    return patch


def build(config: ConfigDict) -> DiT:
    """The network that `config.model` and `config.data` describe.

    Raises:
      ValueError: a key is missing or does not fit the others.
    """
    model, given = config.model, inputs.read(config)
    check_rank(config, (3,))
    features, heads = settings.split_features(model, 4)
    return DiT(
        features=features,
        blocks=integer(model, "model.num_res_blocks", least=1),
        heads=heads,
        patch=_patch(config, given.shape[:2]),
        channels=given.channels,
        classes=integer(model, "model.num_classes", least=0),
        label_dropout=settings.rate(model, "model.label_dropout"),
        epsilon=number(model, "model.norm_eps", "positive", lambda v: v > 0),
        own_embeddings=flag(model, "model.own_embeddings"),
        slowest=integer(model, "model.freq_shift", least=0) == 1,
        attend=settings.attend(model),
        dtype=settings.dtype(model),
        remat=settings.remat(model),
    )
