"""The embedding of all that a text-to-picture U-Net is told beside its tokens.

    e = W_1 a(W_0 (waves(noise level) + W_g waves(w))) + level + class + vector + pooled tokens

with w the weight of guidance that a distilled network is told (Meng et al. 2023, arXiv:2210.03142).
Each term is there if the network has it, and adds nothing where it is unknown. All are float32,
whatever the type of the network's activations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.conditions import HideRows, one_hot
from models.layers.embeddings import Positional
from models.layers.style import Activation, Style
from models.layers.transformers import TokenPooling, Tokens

Vector = Float[Array, "b d"]
WEIGHTS = 1000.0
"""Factor on a weight of guidance before its waves are taken."""


def same(x: Array) -> Array:
    """x itself."""
    return x


@dataclass(frozen=True)
class ToldTerms:
    """The terms of the embedding and their sizes.

    Attributes:
      features: length of the embedding.
      waves: sines and cosines of a noise level.
      endpoint, cosines_first: as in `models.layers.embeddings.Positional`, of all waves.
      level: a name in `LEVELS`, the form of the term of the level of noise in an image.
      rows: number of levels of a table.
      classes: number of classes; 0 for none.
      label_dropout: fraction of the class labels that are hidden while training.
      vector: a name in `VECTORS`, the form of the vector's term.
      entries: of the vector; with "sizes", of one that is not given.
      vector_features: with "sizes", numbers that its perceptron is given.
      number_waves: with "sizes", sines and cosines of each of its last entries.
      pool_heads: of the pooling of tokens; 0 for no such term.
      guidance: sines and cosines of the weight of guidance; 0 for no such term.
      after_time: activation of the noise level's term.
      after_all: activation of the sum, beside that of the blocks.
      activated: whether the blocks' activation follows.
    """

    features: int
    waves: int
    endpoint: bool = False
    cosines_first: bool = True
    level: str = "none"
    rows: int = 0
    classes: int = 0
    label_dropout: float = 0.0
    vector: str = "none"
    entries: int = 0
    vector_features: int = 0
    number_waves: int = 0
    pool_heads: int = 0
    guidance: int = 0
    after_time: Activation = same
    after_all: Activation = same
    activated: bool = True


def numbers_in(features: int, entries: int, waves: int) -> int:
    """Entries at the end of a vector that are `waves` numbers each, for `features` in all.

    Raises:
      ValueError: there is no such number of entries.
    """
    count, left = divmod(features - entries, waves - 1)
    if left or not 0 <= count <= entries:
        raise ValueError(
            f"model.vector_features must be the entries of the condition's vector, {entries}, of "
            f"which some at its end are {waves} waves each (model.number_waves), got {features}"
        )
    return count


class ToldEmbedding(nn.Module):
    """The embedding, an input of all residual blocks."""

    style: Style
    told: ToldTerms

    @nn.compact
    def __call__(
        self,
        label: Float[Array, "b"],
        parts: Mapping[str, Array],
        tokens: Tokens,
        train: bool = False,
    ) -> Vector:
        told, activation = self.told, self.style.activation
        waves = self._waves(label.astype(jnp.float32), told.waves)
        if told.guidance:
            unknown = jnp.full(label.shape, jnp.nan)
            waves = waves + self._guidance(parts.get("guidance", unknown))
        h = told.after_time(self._perceptron(waves, "time", activation))
        if told.level != "none":
            level = parts.get("level")
            unknown = jnp.full(label.shape, jnp.nan)
            h = h + LEVELS[told.level](self, unknown if level is None else level)
        if told.classes:
            rows = one_hot(parts.get("label"), label.shape[0], told.classes)
            h = h + self._table(HideRows(told.label_dropout)(rows, train), "classes")
        if told.vector != "none":
            vector = parts.get("vector", jnp.zeros((label.shape[0], told.entries)))
            known = jnp.where(jnp.isnan(vector), 0.0, vector).astype(jnp.float32)
            h = h + VECTORS[told.vector](self, known)
        if told.pool_heads and tokens is not None:
            pooling = TokenPooling(self.style, told.features, told.pool_heads, name="pooling")
            h = h + pooling(tokens.astype(jnp.float32), train)
        h = told.after_all(h)
        return activation(h) if told.activated else h

    def _guidance(self, weight: Float[Array, "b"]) -> Vector:
        """The term of a weight of guidance beside the waves of the time; 0 where it is NaN."""
        scaled = WEIGHTS * jnp.nan_to_num(weight).astype(jnp.float32)
        dense = self.style.exact.dense(self.told.waves, use_bias=False, name="guidance")
        term = dense(Positional(self.told.guidance)(scaled))
        return jnp.where(jnp.isnan(weight)[:, None], 0.0, term)

    def _perceptron(self, x: Array, name: str, activation: Activation) -> Vector:
        dense, features = self.style.exact.dense, self.told.features
        return dense(features, name=f"{name}_1")(activation(dense(features, name=f"{name}_0")(x)))

    def _waves(self, numbers: Float[Array, "b"], features: int) -> Float[Array, "b w"]:
        return Positional(features, self.told.endpoint, self.told.cosines_first)(numbers)

    def _table(self, rows: Float[Array, "b k"], name: str) -> Vector:
        return self.style.exact.dense(self.told.features, use_bias=False, name=name)(rows)

    def level_waves(self, level: Float[Array, "b"]) -> Vector:
        """The level embedded as the noise level is."""
        waves = self._waves(jnp.nan_to_num(level).astype(jnp.float32), self.told.waves)
        embedded = self._perceptron(waves, "level", self.style.activation)
        return jnp.where(jnp.isnan(level)[:, None], 0.0, embedded)

    def level_table(self, level: Float[Array, "b"]) -> Vector:
        """A row for each whole level."""
        index = jnp.where(jnp.isnan(level), -1, jnp.round(level)).astype(jnp.int32)
        return self._table(one_hot(index, len(index), self.told.rows), "levels")

    def sizes(self, vector: Vector) -> Vector:
        """A perceptron of the vector, whose last numbers are waves."""
        told, length = self.told, vector.shape[1]
        count = numbers_in(told.vector_features, length, told.number_waves)
        entries, numbers = jnp.split(vector, [length - count], axis=1)
        waves = self._waves(numbers.reshape(-1), told.number_waves)
        joined = jnp.concatenate([entries, waves.reshape(len(vector), -1)], axis=1)
        return self._perceptron(joined, "vector", jax.nn.silu)

    def projection(self, vector: Vector) -> Vector:
        """A perceptron of the vector."""
        return self._perceptron(vector, "vector", jax.nn.silu)

    def linear(self, vector: Vector) -> Vector:
        """A linear map of the vector."""
        return self.style.exact.dense(self.told.features, name="vector")(vector)

    def identity(self, vector: Vector) -> Vector:
        """The vector itself."""
        return vector


def nothing(embedding: ToldEmbedding, part: Array) -> float:
    """No term."""
    return 0.0


Term = Callable[[ToldEmbedding, Array], Vector | float]
LEVELS: dict[str, Term] = {
    "none": nothing, "waves": ToldEmbedding.level_waves, "table": ToldEmbedding.level_table,
}  # fmt: skip
"""model.level_embedding -> the term of the level of noise in the condition's image."""
VECTORS: dict[str, Term] = {
    "none": nothing, "sizes": ToldEmbedding.sizes, "projection": ToldEmbedding.projection,
    "linear": ToldEmbedding.linear, "identity": ToldEmbedding.identity,
}  # fmt: skip
"""model.vector_embedding -> the term of the condition's vector."""
