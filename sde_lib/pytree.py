"""Frozen dataclasses that are pytrees: the form of every SDE, score, sampler and objective.

A field is data (numbers, arrays, other pytrees), which may change without recompiling, unless it is
declared with `static`, which makes it part of the structure that a program is compiled for.

`jax.tree_util.register_dataclass` is not used because of its equality of structures: jaxlib
(0.10.2) compares the static fields of two dataclasses and not their types, so `Uniform()` and
`Karras()` have equal structures, and a jitted function may run the program compiled for one on the
other, whenever their hashes happen to meet in its cache. Here the type is part of the static data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar, cast, dataclass_transform

import jax

C = TypeVar("C", bound=type)

Names = tuple[str, ...]


def static(*, default: Any = dataclasses.MISSING) -> Any:
    """A field that is part of the structure: changing it compiles anew. It must be hashable."""
    return dataclasses.field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static))
def pytree(cls: C) -> C:
    """Make `cls` a frozen dataclass and register it as a pytree."""
    frozen: Any = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(frozen)
    data: Names = tuple(f.name for f in fields if not f.metadata.get("static", False))
    fixed: Names = tuple(f.name for f in fields if f.metadata.get("static", False))
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in data)

    def flatten(node: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        children = tuple(getattr(node, name) for name in data)
        return children, (frozen, *(getattr(node, name) for name in fixed))

    def flatten_with_keys(node: Any) -> tuple[Iterable[tuple[Any, Any]], tuple[Any, ...]]:
        children, structure = flatten(node)
        return tuple(zip(keys, children, strict=True)), structure

    def unflatten(structure: tuple[Any, ...], children: Iterable[Any]) -> Any:
        values = dict(zip(data, children, strict=True))
        values.update(zip(fixed, structure[1:], strict=True))
        return frozen(**values)

    jax.tree_util.register_pytree_with_keys(frozen, flatten_with_keys, unflatten, flatten)
    return cast(C, frozen)
