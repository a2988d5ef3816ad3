"""Suppression of messages by the libraries that write checkpoints.

If a read or a write fails they raise an error, and besides it print pages of tracebacks from
their threads, some of them later. The user gets one line, from that error.
"""

import functools
import logging
import os
import sys
import traceback
import warnings
from typing import Any

NOT_AWAITED = r"coroutine '(async_deserialize|_read_\w+)' was never awaited"


@functools.cache
def silence_background_noise() -> None:
    """Drop log records, warnings and unraisable exceptions of orbax and tensorstore, for good."""
    logging.getLogger("absl").addFilter(_not_from_orbax)
    logging.getLogger("asyncio").addFilter(_not_about_tensorstore)
    # Reads that had not begun; the warning comes from wherever they are collected.
    warnings.filterwarnings("ignore", NOT_AWAITED, RuntimeWarning)
    sys.unraisablehook = functools.partial(_unless_of_orbax, sys.unraisablehook)


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return not _of_orbax(record.pathname)


def _not_about_tensorstore(record: logging.LogRecord) -> bool:
    # "Future exception was never retrieved", of all reads under way when the first one failed.
    said = record.getMessage().lower()
    error = record.exc_info[1] if record.exc_info else None
    named = any(word in said for word in ("tensorstore", "ocdbt", "orbax"))
    return not (named or _raised_by_orbax(error))


def _unless_of_orbax(otherwise: Any, unraisable: Any) -> None:
    # The same reads, ending after orbax closed the event loop that was waiting for them.
    error = unraisable.exc_value
    if str(error) != "Event loop is closed" and not _raised_by_orbax(error):
        otherwise(unraisable)


def _raised_by_orbax(error: BaseException | None) -> bool:
    frames = traceback.walk_tb(error.__traceback__ if error else None)
    return any(_of_orbax(frame.f_code.co_filename) for frame, _ in frames)


def _of_orbax(file: str) -> bool:
    return f"{os.sep}orbax{os.sep}" in file
