"""EDM's embeddings of noise level, class and augmentation, an input of all of its blocks.

A vector and the level of an image's noise, which EDM has not, are added beside the class.

Karras et al., 2022, arXiv:2206.00364, appendix F.2: class and augmentation labels are added before
the hidden layers in the networks after Song et al.; in ADM the class is added after them. All are
float32, whatever the type of the network's activations.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from models.layers.conditions import Condition, HideRows, as_parts, as_rows
from models.layers.dense import Dense
from models.layers.embeddings import embedded
from models.layers.style import Style, linear


class SongMapping(nn.Module):
    """Noise embedding + class + augmentation, then two hidden layers.

    Attributes:
      style: shared choices.
      features: length of the result.
      embedding: embedding of the noise label in a vector of any even length.
      classes: number of classes; 0 for none. Their rows are scaled by sqrt(classes).
      augments: number of augmentation labels; 0 for none.
      label_dropout: fraction of the class labels that are hidden while training.
      beside: other parts of the condition that are embedded, of vector and level.
    """

    style: Style
    features: int
    embedding: nn.Module
    classes: int = 0
    augments: int = 0
    label_dropout: float = 0.0
    beside: tuple[str, ...] = ()

    @nn.compact
    def __call__(
        self, label: Float[Array, "b"], condition: Condition = None, train: bool = False
    ) -> Float[Array, "b d"]:
        rows, augment = as_rows(condition, label.shape[0], self.classes, self.augments, self.beside)
        h = self.embedding(label.astype(jnp.float32))
        dense, activation = self.style.exact.dense, self.style.activation
        if self.classes:
            shown = HideRows(self.label_dropout)(rows, train) * math.sqrt(self.classes)
            h = h + dense(h.shape[-1], name="classes")(shown)
        if self.augments:
            h = h + dense(h.shape[-1], use_bias=False, name="augment")(augment)
        h = sum(embedded(condition, h.shape[-1], activation), h)
        h = activation(dense(self.features, name="time_0")(h))
        return activation(dense(self.features, name="time_1")(h))


class ADMMapping(nn.Module):
    """Noise embedding + augmentation, two hidden layers, + class, + text; SiLU throughout.

    Attributes: as `SongMapping`'s, and
      tokens: whether features of a text's places are given, of which the last is added.
    """

    features: int
    embedding: nn.Module
    classes: int = 0
    augments: int = 0
    label_dropout: float = 0.0
    beside: tuple[str, ...] = ()
    tokens: bool = False

    @nn.compact
    def __call__(
        self, label: Float[Array, "b"], condition: Condition = None, train: bool = False
    ) -> Float[Array, "b d"]:
        words = ("tokens", "mask") if self.tokens else ()
        taken = (*self.beside, *words)
        rows, augment = as_rows(condition, label.shape[0], self.classes, self.augments, taken)
        h = self.embedding(label.astype(jnp.float32))
        if self.augments:
            h = h + self._rows(augment, h.shape[-1], nn.initializers.zeros, "augment")
        h = jax.nn.silu(linear(h, self.features, jnp.float32, "time_0"))
        h = linear(h, self.features, jnp.float32, "time_1")
        if self.classes:
            shown = HideRows(self.label_dropout)(rows, train)
            h = h + self._rows(shown, self.features, nn.initializers.normal(1.0), "classes")
        h = sum(embedded(condition, self.features, jax.nn.silu), h)
        if self.tokens:
            last = as_parts(condition)["tokens"][:, -1]
            h = h + linear(last, self.features, jnp.float32, "text")
        return jax.nn.silu(h)

    def _rows(self, rows: Array, features: int, init: Any, name: str) -> Float[Array, "b d"]:
        return Dense(features, use_bias=False, kernel_init=init, name=name)(rows)
