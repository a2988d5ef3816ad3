"""Conditions: what a model is told of an example beside its noise level, as named parts.

A condition is None, an array of class labels, or a mapping of parts, each with the batch first:

    label      Int[b] classes, or Float[b, classes] rows (one-hot or mixed)
    augment    Float[b, k], the parameters of the augmentation of the example
    vector     Float[b, k]; NaN: an entry that is not known
    image      Float[b, *spatial, c]; NaN: a value that is not known
    tokens     Float[b, n, w], or those of a text, Int[b, n] below the size of its vocabulary; with
               mask, Bool[b, n], True for those that are there
    observed   Float[b, *d]: 1 where the example's values are known, 0 where they are missing
    level      Float[b], the level of the noise in the image; NaN: not known
    guidance   Float[b], the weight of guidance, less one, that a distilled network is told; NaN:
               none

A part that is absent, or None, is not known: the null that guidance compares with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from configs.kinds import NONE, Kinds
from sde_lib.pytree import pytree

Condition = Any
"""None, class labels, or a mapping of named parts; see above."""

NO_CLASS = -1
"""The label of no class."""
NULLS: dict[str, float] = {
    "label": NO_CLASS, "augment": 0.0, "vector": jnp.nan, "image": jnp.nan, "tokens": 0.0,
    "mask": False, "observed": 1.0, "level": jnp.nan, "guidance": jnp.nan,
}  # fmt: skip
"""Part -> the value that says that nothing is known."""


@pytree
class Contrasted:
    """A condition, and the one of the same structure that guidance compares with in place of none.

    untold: of no text, as the model's readers of texts have it, or of what is not wanted.
    """

    told: Condition
    untold: Condition


def told_of(condition: Condition) -> Condition:
    """The condition itself, without what guidance compares with."""
    return condition.told if isinstance(condition, Contrasted) else condition


def label_of(condition: Condition) -> Array | None:
    """The classes in a condition; None without any."""
    return condition.get("label") if isinstance(condition, Mapping) else condition


def null_of(condition: Condition, kept: Collection[str] = ()) -> Condition:
    """The condition, of the same structure, that says nothing but the parts that are `kept`, or
    the one that guidance compares with."""
    if isinstance(condition, Contrasted):
        return condition.untold
    if not isinstance(condition, Mapping):
        return jax.tree.map(lambda labels: jnp.full_like(labels, NO_CLASS), condition)
    return {name: part if part is None or name in kept else jnp.full_like(part, NULLS[name])
            for name, part in condition.items()}  # fmt: skip


def _tokens(values: Float[Array, "b n w"]) -> dict[str, Array]:
    """Tokens and their mask, from rows of which those with a NaN are not there."""
    shown = jnp.isfinite(values).all(axis=-1)
    return {"tokens": jnp.where(shown[..., None], values, 0.0), "mask": shown}


def _text(values: Float[Array, "b n"]) -> dict[str, Array]:
    """The tokens of a text and their mask; negative numbers and NaN are not there."""
    shown = values >= 0
    return {"tokens": jnp.where(shown, values, 0).astype(jnp.int32), "mask": shown}


class Kind(NamedTuple):
    """A kind of condition: names of its parts, and the parts of the data's conditions [b, ...]."""

    parts: tuple[str, ...]
    of: Callable[[Array], dict[str, Array]]


CONDITIONS: dict[str, Kind] = {
    NONE: Kind((), lambda values: {}),
    "text": Kind(("tokens", "mask"), _text),
    "tokens": Kind(("tokens", "mask"), _tokens),
    "vector": Kind(("vector",), lambda values: {"vector": values}),
    "image": Kind(("image",), lambda values: {"image": values}),
    "level": Kind(("level",), lambda values: {"level": values}),
}
"""Kind of condition that the network is given beside labels -> its parts; see `configs.kinds`."""


def with_part(condition: Condition, name: str, value: Array) -> dict[str, Any]:
    """A condition with one more part."""
    parts = condition if isinstance(condition, Mapping) else {"label": condition}
    return {**parts, name: value}


def assembled(
    kinds: Kinds, labels: Array | None, values: Array | None, observed: Array | None = None
) -> Condition:
    """The condition of a batch; labels alone, or None, where there is nothing else.

    values: conditions [b, ...] as `data_lib` encodes them, of these kinds.
    """
    parts: dict[str, Array] = {}
    for name, part in ({} if values is None else kinds.parted(values)).items():
        parts |= CONDITIONS[name].of(part)
    if observed is not None:
        parts["observed"] = observed
    if not parts:
        return labels
    return parts if labels is None else {"label": labels, **parts}
