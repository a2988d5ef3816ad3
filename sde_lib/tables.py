"""Tables of names: choosing a row, with an error that helps, and calling it with its settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from configs.names import did_you_mean

V = TypeVar("V")


def choose(key: str, name: str, table: Mapping[str, V]) -> V:
    """table[name]; ValueError that lists the known names, the nearest first, if there is none."""
    if name in table:
        return table[name]
    known = ", ".join(repr(k) for k in sorted(table))
    raise ValueError(f"{key} must be one of {known}, got {name!r}{did_you_mean(name, table)}")


def parameters(row: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the parameters of a row of a table, a class or a function."""
    return tuple(inspect.signature(row).parameters)


def made(row: Callable[..., V], section: Any, **told: Any) -> V:
    """Call a row of a table with those settings of `section` that are parameters of it.

    No other setting of the section is read. A parameter that is not a setting gets its value from
    `told`, or the whole section if it is named `section`, or keeps its default.
    """
    told = {"section": section, **told}
    known = [name for name in parameters(row) if name in told or name in section]
    return row(**{name: told[name] if name in told else section[name] for name in known})
