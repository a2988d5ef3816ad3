"""Names in tables: the row of a name, and suggestions for one that the user mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

V = TypeVar("V")

PUBLISHED_PREDICTORS = {"ancestral_sampling": "ancestral"}
"""score_sde's names for predictors of ours, in samplers and in guidance that changes a step."""
LONGEST = 100
"""Most characters of a name that are compared, since a stranger's may be of any length."""


def did_you_mean(name: object, known: Iterable[str], most: int = 1) -> str:
    """A suggestion in words, " (did you mean 'x'?)", or "" if no known name is close.

    Case does not matter.
    most: largest number of names suggested.
    """
    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(str(name)[:LONGEST].lower(), by_lower, n=most)
    told = " or ".join(repr(by_lower[match]) for match in near)
    return f" (did you mean {told}?)" if near else ""


def choose(key: str, name: str, table: Mapping[str, V]) -> V:
    """table[name]; ValueError that lists the known names, the nearest first, if there is none."""
    if name in table:
        return table[name]
    known = ", ".join(repr(k) for k in sorted(table))
    raise ValueError(f"{key} must be one of {known}, got {name!r}{did_you_mean(name, table)}")
