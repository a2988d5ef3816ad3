"""Rows of tables: calling one with the settings that are its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

V = TypeVar("V")


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
