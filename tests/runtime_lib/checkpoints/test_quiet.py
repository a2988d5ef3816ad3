"""Messages of orbax's threads after the error that the user was told in one line."""

from __future__ import annotations

import logging
import sys
import types
import warnings

import pytest

from runtime_lib.checkpoints.quiet import silence_background_noise


def raised(file: str) -> ValueError:
    """An error that code of `file` raised."""
    with pytest.raises(ValueError, match="no such bytes") as found:
        exec(compile("raise ValueError('no such bytes')", file, "exec"))
    return found.value


OURS, THEIRS = "/x/samplers/base.py", "/x/orbax/checkpoint/serialization.py"


@pytest.mark.parametrize(("file", "shown"), [(OURS, True), (THEIRS, False)])
def test_errors_of_reads_that_nobody_waits_for_are_dropped(monkeypatch, caplog, file, shown):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    silence_background_noise.__wrapped__()
    error = raised(file)
    sys.unraisablehook(types.SimpleNamespace(exc_value=error))
    assert bool(seen) == shown
    said = "_GatheringFuture exception was never retrieved"
    logging.getLogger("asyncio").error(said, exc_info=error)
    assert (said in caplog.text) == shown


@pytest.mark.parametrize(("said", "shown"), [
    ("Task was destroyed: coro at /x/orbax/checkpoint/serialization.py", False),
    ("Task was destroyed: TensorStore read", False),
    ("Task was destroyed: coro at /x/ours.py", True),
])  # fmt: skip
def test_messages_that_name_the_libraries_are_dropped(monkeypatch, caplog, said, shown):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    silence_background_noise.__wrapped__()
    logging.getLogger("asyncio").error(said)
    assert (said in caplog.text) == shown


@pytest.mark.parametrize(("name", "shown"), [("_refresh", 1), ("_read_shard", 0)])
def test_reads_that_were_never_begun_are_not_warned_of(monkeypatch, name, shown):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # put back afterwards
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        silence_background_noise.__wrapped__()
        warnings.warn(f"coroutine '{name}' was never awaited", RuntimeWarning, stacklevel=1)
    assert len(seen) == shown
