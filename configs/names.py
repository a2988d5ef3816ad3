"""Names that users type, and the known ones that they may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 100
"""Characters of a name that are compared: of a stranger's there may be any number."""


def did_you_mean(name: object, known: Iterable[str], most: int = 1) -> str:
    """Suggest in words, " (did you mean 'x'?)", or nothing where no known name is near.

    The case of letters does not count.
    most: how many names are suggested.
    """
    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(str(name)[:LONGEST].lower(), by_lower, n=most)
    told = " or ".join(repr(by_lower[match]) for match in near)
    return f" (did you mean {told}?)" if near else ""
