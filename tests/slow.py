"""Cases that repeat what others prove, at length: `python -m pytest -m slow` runs them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

slow = pytest.mark.slow


def but_slow(cases: Iterable[Any], *repeating: Any) -> list[Any]:
    """The cases, those of `repeating` marked as slow."""
    known = list(cases)
    assert set(repeating) <= set(known), set(repeating) - set(known)
    return [pytest.param(case, marks=slow) if case in repeating else case for case in known]
