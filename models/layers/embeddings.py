"""Embeddings of the noise label and of class labels.

The parametrization defines the label. `Fourier` expects the logarithm of the noise level, log
sigma; `Positional` a time or an index between 0 and about 1000.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float

from models.layers.conditions import Condition, HideRows, as_parts, as_rows
from models.layers.dense import Dense
from models.layers.norm import standardized
from models.layers.style import Activation, Style, default_init

LONGEST_PERIOD = 10000.0
LEVEL_WAVES = 64
"""Length of the waves of which the embedding of a level is made."""


class Fourier(nn.Module):
    """[sin(2 pi w label), cos(2 pi w label)] with fixed random frequencies w ~ N(0, scale^2).

    Tancik et al., 2020, "Fourier Features Let Networks Learn High Frequency Functions in Low
    Dimensional Domains", arXiv:2006.10739. The frequencies are stored with the parameters,
    since a trained network is useless without them, but no gradient reaches them.
    """

    features: int
    scale: float

    @nn.compact
    def __call__(self, label: Float[Array, "b"]) -> Float[Array, "b d"]:
        init = nn.initializers.normal(self.scale)
        frequencies = lax.stop_gradient(self.param("frequencies", init, (self.features,)))
        angle = label[:, None] * frequencies[None] * (2 * math.pi)
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class Positional(nn.Module):
    """[sin(w_i label), cos(w_i label)], w_i = 10000^(-i / (n - 1)), i < n = features // 2.

    Vaswani et al., 2017, arXiv:1706.03762, section 3.5, with sines and cosines apart and the
    slowest frequency included. An odd number of features ends in a zero.

    Attributes:
      features: length of the vector.
      endpoint: whether the slowest frequency is included; if not, n stands in place of n - 1.
      cosines_first: whether the cosines come before the sines.
    """

    features: int
    endpoint: bool = True
    cosines_first: bool = False

    @nn.compact
    def __call__(self, label: Float[Array, "b"]) -> Float[Array, "b d"]:
        half = self.features // 2
        steps = jnp.arange(half, dtype=jnp.float32)
        last = half - 1 if self.endpoint else half
        angle = label[:, None] * jnp.exp(steps * (-math.log(LONGEST_PERIOD) / last))[None]
        halves = [jnp.sin(angle), jnp.cos(angle)]
        waves = jnp.concatenate(halves[::-1] if self.cosines_first else halves, axis=-1)
        return jnp.pad(waves, ((0, 0), (0, self.features % 2)))


class VectorEmbedding(nn.Module):
    """A residual perceptron of a vector: blocks h + W_2 a(W_1 a(h)), in float32.

    Attributes:
      features: length of the result and of every layer.
      activation: the nonlinearity a.
      blocks: number of residual blocks.
    """

    features: int
    activation: Activation
    blocks: int = 2

    @nn.compact
    def __call__(self, vector: Float[Array, "b k"]) -> Float[Array, "b d"]:
        dense = lambda name: Dense(self.features, kernel_init=default_init(), name=name)
        h = dense("input")(vector)
        for i in range(self.blocks):
            inner = dense(f"block_{i}_0")(self.activation(h))
            h = h + dense(f"block_{i}_1")(self.activation(inner))
        return h


class LevelEmbedding(nn.Module):
    """Two layers of the sines and cosines of 1000 s, a level in [0, 1]; 0 where it is NaN.

    Attributes: as `VectorEmbedding`'s.
    """

    features: int
    activation: Activation

    @nn.compact
    def __call__(self, level: Float[Array, "b"]) -> Float[Array, "b d"]:
        shown = jnp.isfinite(level)
        waves = Positional(LEVEL_WAVES)(1000 * jnp.where(shown, level, 0).astype(jnp.float32))
        dense = lambda name: Dense(self.features, kernel_init=default_init(), name=name)
        return jnp.where(shown[:, None], dense("1")(self.activation(dense("0")(waves))), 0.0)


def embedded(condition: Condition, features: int, activation: Activation) -> Iterator[Array]:
    """The embeddings of a condition's vector and level, those that are there; to be summed."""
    parts = as_parts(condition)
    for name, kind in (("vector", VectorEmbedding), ("level", LevelEmbedding)):
        if name in parts:
            yield kind(features, activation, name=name)(parts[name])


TOKENS = "tokens", "mask"
"""Parts of a condition."""


def pooled(tokens: Float[Array, "b n w"], shown: Bool[Array, "b n"]) -> Float[Array, "b w"]:
    """The mean of standardized tokens that are shown; 0 if none is."""
    weights = shown.astype(jnp.float32)[..., None]
    total = jnp.sum(standardized(tokens.astype(jnp.float32)) * weights, axis=1)
    return total / jnp.maximum(jnp.sum(weights, axis=1), 1.0)


class ConditionEmbedding(nn.Module):
    """The float32 vector given to every residual block: noise label, class, vector and level.

    Attributes:
      style: shared choices; the result has passed its activation.
      features: length of the vector.
      embedding: embedding of the noise label; None leaves the network unaware of it.
      classes: number of classes; 0 for none. They enter by a linear map without bias, so that
        the null class adds nothing.
      label_dropout: fraction of the class labels that are hidden while training.
      beside: other parts of the condition that are embedded, of vector and level.
      tokens: whether the mean of the condition's tokens is added.

    Raises:
      ValueError: a condition was given that the network does not take.
    """

    style: Style
    features: int
    embedding: nn.Module | None
    classes: int = 0
    label_dropout: float = 0.0
    beside: tuple[str, ...] = ()
    tokens: bool = False

    @nn.nowrap
    def takes(self, parts: Mapping[str, Array]) -> dict[str, Array] | None:
        """The parts of a condition without tokens, unless these are embedded; None for none."""
        left = {name: part for name, part in parts.items() if self.tokens or name not in TOKENS}
        return left or None

    @nn.compact
    def __call__(
        self, label: Float[Array, "b"], condition: Condition = None, train: bool = False
    ) -> Float[Array, "b d"] | None:
        taken = (*self.beside, *(TOKENS if self.tokens else ()))
        rows, _ = as_rows(condition, label.shape[0], self.classes, 0, taken)
        style = self.style.exact
        parts = []
        if self.embedding is not None:
            waves = self.embedding(label.astype(jnp.float32))
            hidden = style.activation(style.dense(self.features, name="time_0")(waves))
            parts.append(style.dense(self.features, name="time_1")(hidden))
        if self.classes:
            rows = HideRows(self.label_dropout)(rows, train)
            parts.append(style.dense(self.features, use_bias=False, name="classes")(rows))
        parts += embedded(condition, self.features, style.activation)
        if self.tokens:
            mean = pooled(*(as_parts(condition)[name] for name in TOKENS))
            parts.append(style.dense(self.features, name="tokens")(mean))
        return style.activation(sum(parts[1:], parts[0])) if parts else None
