"""Suppression of messages by the libraries that write checkpoints.

If a read or a write fails they raise an error, and besides it print pages of tracebacks from
their threads, some of them later. The user gets one line, from that error.
"""

import functools
import logging
import os
import sys
from typing import Any


@functools.cache
def silence_background_noise() -> None:
    """Drop the log records and the unraisable exceptions of orbax and tensorstore, for good."""
    logging.getLogger("absl").addFilter(_not_from_orbax)
    logging.getLogger("asyncio").addFilter(_not_about_tensorstore)
    sys.unraisablehook = functools.partial(_unless_loop_closed, sys.unraisablehook)


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return f"{os.sep}orbax{os.sep}" not in record.pathname


def _not_about_tensorstore(record: logging.LogRecord) -> bool:
    # "Future exception was never retrieved", of all reads under way when the first one failed.
    return not any(word in record.getMessage() for word in ("tensorstore", "OCDBT", "orbax"))


def _unless_loop_closed(otherwise: Any, unraisable: Any) -> None:
    # The same reads, ending after orbax closed the event loop that was waiting for them.
    if str(unraisable.exc_value) != "Event loop is closed":
        otherwise(unraisable)
