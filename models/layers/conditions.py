"""Conditions, a network's inputs beside the noise level.

A condition is one of

    None                                nothing is known
    Int[b] or Float[b, classes]         class indices, or rows (one-hot or mixed)
    {"label": ..., ...}                 named parts, each of which may be absent or None

whose parts are

    label       as above
    augment     Float[b, augments], the parameters of the augmentation that the image went through
    vector      Float[b, k]
    image       Float[b, *spatial, c], of the rank of the examples and of any resolution
    tokens      Float[b, n, w], or those of a text, Int[b, n]; with mask Bool[b, n], True where
                there is a token; None: everywhere
    level       Float[b], of the noise in the image, in [0, 1]
    guidance    Float[b], the weight of guidance, less one
    observed    Float[b, *shape], 1 where the example's value is known and 0 where it is missing

An absent part is unknown as a whole, except that absent `observed` means that all values are
known. The null class is a row of zeros; None and indices outside of 0..classes-1 stand for it. No
augmentation is a row of zeros, too. A level that is NaN is unknown, and nothing is added for it. An
entry of a vector or an image that is NaN is unknown: the
network is given zero in its place, and beside it which entries are known (`known`). A mask that is
False everywhere says that there are no tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from models.layers.dropout import keep_mask
from sde_lib.condition import CONDITIONS, NULLS

Label = Int[Array, "b"] | Float[Array, "b k"] | None
Condition = Label | Mapping[str, Array | None]
Shape = tuple[int, ...]


def as_parts(condition: Condition) -> dict[str, Array]:
    """The parts that a condition has; what is no mapping is a label.

    Raises:
      ValueError: there is no such part.
    """
    parts = condition if isinstance(condition, Mapping) else {"label": condition}
    if unknown := sorted(set(parts) - set(NULLS)):
        raise ValueError(f"a condition may have the parts {', '.join(NULLS)}, got {unknown[0]!r}")
    return {name: part for name, part in parts.items() if part is not None}


def check_parts(parts: Mapping[str, Array], taken: tuple[str, ...]) -> None:
    """Raise ValueError if there is a part that the network does not take."""
    for name in parts:
        if name == "observed" and name not in taken:
            raise ValueError(
                "data.missing is 'refuse', so this network is not told which values are observed: "
                "set data.missing='mask', or leave `observed` out"
            )
        if name not in ("label", "augment", *taken):
            kinds = [repr(kind) for kind, row in CONDITIONS.items() if name in row.parts]
            raise ValueError(
                f"model.condition must be {' or '.join(kinds)} for a condition with the part "
                f"{name!r}, which "
                "this network does not take: set it, or leave the part out"
            )


def one_hot(condition: Label, batch: int, classes: int) -> Float[Array, "b k"]:
    """Class labels as rows; None and indices outside of 0..classes-1 are the null class: zeros."""
    if condition is None:
        return jnp.zeros((batch, classes), jnp.float32)
    if condition.ndim == 2:
        return condition.astype(jnp.float32)
    return jax.nn.one_hot(condition, classes, dtype=jnp.float32)


def as_rows(
    condition: Condition, batch: int, classes: int, augments: int, others: tuple[str, ...] = ()
) -> tuple[Float[Array, "b k"], Float[Array, "b a"]]:
    """(class labels [batch, classes], augmentation labels [batch, augments]) of any condition.

    Raises:
      ValueError: it has a part that is unknown or that this network does not take, which is any
        but these two and `others`.
    """
    parts = as_parts(condition)
    check_parts(parts, others)
    label, augment = parts.get("label"), parts.get("augment")
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


def known(
    part: Float[Array, "b *d"] | None, shape: Shape, hidden: Bool[Array, "b"]
) -> tuple[Float[Array, "b *d"], Bool[Array, "b *d"]]:
    """(values with zeros in place of unknown ones, which ones are known) of a part, or of none.

    Those of the examples that are `hidden` are all unknown.
    """
    if part is None:
        return jnp.zeros((len(hidden), *shape)), jnp.zeros((len(hidden), *shape), bool)
    shown = ~jnp.isnan(part) & ~jnp.expand_dims(hidden, tuple(range(1, part.ndim)))
    return jnp.where(shown, part, jnp.zeros((), part.dtype)).astype(jnp.float32), shown


def hide(key: PRNGKeyArray, batch: int, rate: float) -> Bool[Array, "b"]:
    """Independent events of probability `rate`, one for each example."""
    return ~keep_mask(key, shape=(batch,), keep=1 - rate)


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
