"""Checks of a network's configuration, in the user's terms. All raise ValueError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from types import UnionType
from typing import Any, TypeVar

from ml_collections import ConfigDict

from configs.names import did_you_mean

T = TypeVar("T")


def value(section: ConfigDict, key: str) -> Any:
    """The value of "section.key" in `section`, which is `model` or `data`."""
    name = key.split(".")[-1]
    if name not in section:
        raise ValueError(f"{key} is missing: this network needs it")
    return section[name]


def choice(section: ConfigDict, key: str, table: Mapping[str, T]) -> T:
    """The entry of `table` that the config names, regardless of case."""
    name = value(section, key)
    entries = {known.lower(): entry for known, entry in table.items()}
    if not isinstance(name, str) or name.lower() not in entries:
        known = ", ".join(table)
        raise ValueError(f"{key} must be one of {known}, got {name!r}{did_you_mean(name, table)}")
    return entries[name.lower()]


def number(section: ConfigDict, key: str, rule: str, accept: Callable[[float], bool]) -> float:
    """A real number that `accept` takes; `rule` describes these in words."""
    found = value(section, key)
    if isinstance(found, bool) or not isinstance(found, Real) or not accept(float(found)):
        raise ValueError(f"{key} must be {rule}, got {found!r}")
    return float(found)


def integer(section: ConfigDict, key: str, *, least: int) -> int:
    """An integer of at least `least`."""
    found = value(section, key)
    if isinstance(found, bool) or not isinstance(found, Integral) or found < least:
        raise ValueError(f"{key} must be an integer of at least {least}, got {found!r}")
    return int(found)


def flag(section: ConfigDict, key: str) -> bool:
    """True or False."""
    found = value(section, key)
    if not isinstance(found, bool):
        raise ValueError(f"{key} must be True or False, got {found!r}")
    return found


def centered(config: ConfigDict) -> bool:
    """True if the arrays that are diffused lie around 0: data.centered for gray levels, else so."""
    data = config.data
    return data.get("codec", "levels") != "levels" or flag(data, "data.centered")


def numbers(
    section: ConfigDict, key: str, rule: str, kind: type | UnionType, accept: Callable[[Any], bool]
) -> tuple[Any, ...]:
    """A sequence whose entries are all a `kind` that `accept` takes."""
    found = value(section, key)
    entries = tuple(found) if isinstance(found, list | tuple) else (None,)
    if not all(isinstance(n, kind) and not isinstance(n, bool) and accept(n) for n in entries):
        raise ValueError(f"{key} must be {rule}, got {found!r}")
    return entries
