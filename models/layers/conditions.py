"""Conditions, a network's inputs beside the noise level: class and augmentation labels.

A condition is one of

    None                                nothing: no class, no augmentation
    Int[b] or Float[b, classes]         class indices, or rows (one-hot or mixed)
    {"label": ..., "augment": ...}      either or both; "augment" is Float[b, augments], the
                                        parameters of the augmentation that the image went through

The null class is a row of zeros; None and indices outside of 0..classes-1 stand for it. No
augmentation is a row of zeros, too.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from models.layers.dropout import keep_mask

Label = Int[Array, "b"] | Float[Array, "b k"] | None
Condition = Label | Mapping[str, Array | None]

PARTS = ("label", "augment")


def one_hot(condition: Label, batch: int, classes: int) -> Float[Array, "b k"]:
    """Class labels as rows; None and indices outside of 0..classes-1 are the null class: zeros."""
    if condition is None:
        return jnp.zeros((batch, classes), jnp.float32)
    if condition.ndim == 2:
        return condition.astype(jnp.float32)
    return jax.nn.one_hot(condition, classes, dtype=jnp.float32)


def as_rows(
    condition: Condition, batch: int, classes: int, augments: int
) -> tuple[Float[Array, "b k"], Float[Array, "b a"]]:
    """(class labels [batch, classes], augmentation labels [batch, augments]) of any condition.

    Raises:
      ValueError: it has a part that is unknown or that this network does not take.
    """
    parts = condition if isinstance(condition, Mapping) else {"label": condition}
    if unknown := sorted(set(parts) - set(PARTS)):
        raise ValueError(f"a condition may have the parts {', '.join(PARTS)}, got {unknown[0]!r}")
    label, augment = (parts.get(name) for name in PARTS)
    if label is not None and not classes:
        raise ValueError(
            "model.num_classes is 0, so this network takes no class labels: "
            "set it to the number of classes, or leave the condition out"
        )
    if augment is not None and augment.shape != (batch, augments):
        raise ValueError(
            f"model.augment_dim is {augments}, so augmentation labels must have the shape "
            f"{(batch, augments)}, got {augment.shape}"
        )
    none = jnp.zeros((batch, augments), jnp.float32)
    return one_hot(label, batch, classes), none if augment is None else augment.astype(jnp.float32)


class HideRows(nn.Module):
    """Set whole rows to zero with probability `rate` while training (classifier-free guidance).

    Ho & Salimans 2022, arXiv:2207.12598, algorithm 1. Draws from the rng stream 'dropout'.
    """

    rate: float

    @nn.compact
    def __call__(self, rows: Float[Array, "b k"], train: bool) -> Float[Array, "b k"]:
        if not train or self.rate == 0:
            return rows
        shown = keep_mask(self.make_rng("dropout"), shape=(rows.shape[0], 1), keep=1 - self.rate)
        return rows * shown.astype(rows.dtype)
