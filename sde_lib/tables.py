"""Looking a name up in a table, with an error that helps."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

V = TypeVar("V")


def choose(key: str, name: str, table: Mapping[str, V]) -> V:
    """table[name]; ValueError that lists the known names, the nearest first, if there is none."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name), table, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    known = ", ".join(repr(k) for k in sorted(table))
    raise ValueError(f"{key} must be one of {known}, got {name!r}{hint}")
