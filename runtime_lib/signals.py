"""Stopping on a signal: SIGTERM and Ctrl-C make a request, and the work stops when it can."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopRequest:
    """A request to stop, made by SIGTERM or Ctrl-C; training saves and ends at the next step."""

    signum: int = 0

    def __bool__(self) -> bool:
        return self.signum != 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGTERM or SIGINT into a request; a second one ends the process at once."""
    request = StopRequest()

    def ask(signum: int, frame: FrameType | None) -> None:
        request.signum = signum
        signal.signal(signum, previous[signal.Signals(signum)])

    signals = signal.SIGTERM, signal.SIGINT
    previous = {s: signal.signal(s, ask) for s in signals}
    try:
        yield request
    finally:
        for s in signals:
            signal.signal(s, previous[s])
