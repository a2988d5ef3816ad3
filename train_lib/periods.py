"""Steps at which periodic actions are due."""

from __future__ import annotations


def next_stop(step: int, total: int, *periods: int) -> int:
    """The first step after `step` at which an action is due: a multiple of a period, or the end."""
    due = [step + p - step % p for p in periods if p]
    return min([total, *due])


def is_due(step: int, period: int, total: int) -> bool:
    """True if an action with this period (0: never) is due at `step`; the end counts."""
    return period > 0 and (step % period == 0 or step == total)
