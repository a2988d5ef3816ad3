"""Logs of a run: one line per interval, TensorBoard, JSON lines, and the loss curve."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar
from tqdm import tqdm

from runtime_lib.files import atomic_write
from untrusted import open_regular, parse_json, read_bytes

_START = b'{"step": '
"""First bytes of every line of a log."""
LONGEST_ID = 1000
"""Longest file, in bytes, that holds the id of a run in Weights & Biases."""


def duration(seconds: float) -> str:
    """A duration as 1h02m, 2m05s or 7s."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    if hours:
        return f"{hours}h{m:02d}m"
    return f"{m}m{s:02d}s" if m else f"{s}s"


def speed(rate: float) -> str:
    """A rate as 1234 or 0.35, with enough digits for any network."""
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


class Sink(Protocol):
    """A destination of metrics, beside the JSON lines."""

    def write(self, step: int, values: dict[str, float]) -> None:
        """Record the metrics of one step, by name."""

    def close(self) -> None:
        """Finish; nothing is written after this."""


class TensorBoard:
    """Event files in `folder`; entries that are there at later steps than `start` are ignored."""

    def __init__(self, folder: Path, start: int) -> None:
        # Written in this thread: SummaryWriter's own would print a traceback on a full disk.
        self._board = EventsWriter(str(folder / "events"))
        self._event(start + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, values: dict[str, float]) -> None:
        """Record the metrics of one step."""
        for name, value in values.items():
            self._event(step, summary=scalar(name, value))
        self._board.flush()

    def _event(self, step: int, **content: Any) -> None:
        self._board.write_event(Event(wall_time=time.time(), step=step, **content))

    def close(self) -> None:
        """Finish the event file."""
        self._board.close()


class WeightsAndBiases:
    """A run of a project of Weights & Biases, continued when the training is resumed.

    Raises ValueError if the package is not installed.
    """

    def __init__(self, project: str, folder: Path, config: dict[str, Any]) -> None:
        try:
            import wandb  # type: ignore[import-not-found]
        except ImportError as error:
            raise ValueError(
                f"training.wandb={project} needs Weights & Biases: install the extra 'wandb', or "
                "leave training.wandb empty"
            ) from error
        name = folder / "wandb_run"
        known = _run_id(name)
        self._run = wandb.init(
            project=project, dir=str(folder), id=known, resume="allow", config=config
        )
        self._run.define_metric("*", step_metric="step")
        if self._run.id != known:
            atomic_write(name, f"{self._run.id}\n", known=known is not None)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Record the metrics of one step."""
        self._run.log({"step": step, **values})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def _run_id(path: Path) -> str | None:
    """The id in a file; None if there is no such file, or its content is not an id."""
    try:
        text = read_bytes(path, LONGEST_ID).decode().strip()
    except (OSError, ValueError):
        return None
    return text if text.isprintable() and text else None


class RunLog:
    """Metrics of one run by step, appended to those of the runs it resumes.

    JSON lines beyond the step at which a run resumes are dropped first: their updates were lost and
    will be made again.
    """

    def __init__(
        self,
        folder: Path,
        start: int,
        total: int,
        *,
        active: bool = True,
        more: Callable[[], Sequence[Sink]] = tuple,
    ) -> None:
        self._active, self._total = active, total
        self._records: list[dict[str, Any]] = []
        if not active:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "metrics.jsonl"
        found = _read_records(self._path)
        self._records = [r for r in found or () if r["step"] <= start]
        text = "".join(json.dumps(r) + "\n" for r in self._records)
        atomic_write(self._path, text, known=found is not None)
        self._file = self._path.open("a")
        self._sinks: list[Sink] = [TensorBoard(folder, start), *more()]
        # disable=None: a bar on a terminal, none in a file.
        self._bar = tqdm(
            initial=start, total=total, unit="step", desc="training", smoothing=0.1, disable=None
        )

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._active:
            self._bar.close()
            self._file.close()
            for sink in self._sinks:
                sink.close()

    def advance(self, steps: int) -> None:
        """Move the progress bar."""
        if self._active:
            self._bar.update(steps)

    def say(self, text: str) -> None:
        """Print one line without disturbing the progress bar."""
        if self._active:
            self._bar.write(text)

    def write(self, step: int, **metrics: float | dict[str, float]) -> None:
        """Record metrics at a step, leaving out NaN; several under one name as a dictionary."""
        if not self._active:
            return
        metrics = _numbers(metrics)
        record = {"step": step, "time": round(time.time(), 3), **metrics}
        self._records.append(record)
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        values = _flat(metrics)
        for sink in self._sinks:
            sink.write(step, values)

    def curves(self) -> dict[str, tuple[list[float], list[float]]]:
        """The losses so far, by name, as (steps, values)."""
        found: dict[str, tuple[list[float], list[float]]] = {}
        for record in self._records:
            for name in ("train_loss", "eval_loss"):
                if name in record:
                    steps, values = found.setdefault(name, ([], []))
                    steps.append(record["step"])
                    values.append(record[name])
        return found


def _numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics without numbers that are not finite, which JSON cannot represent."""
    inner = {k: _numbers(v) if isinstance(v, dict) else v for k, v in metrics.items()}
    return {k: v for k, v in inner.items() if not isinstance(v, float) or math.isfinite(v)}


def _flat(metrics: dict[str, float | dict[str, float]]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        several = value if isinstance(value, dict) else {"": value}
        flat |= {f"{name}/{key}" if key else name: number for key, number in several.items()}
    return flat


def _read_records(path: Path) -> list[dict[str, Any]] | None:
    """The lines of a log of ours, without an incomplete last one; None for another file."""
    try:
        with open_regular(path) as file:
            *lines, rest = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        return None
    records = [record for line in lines if (record := _record(line))]
    torn = rest.startswith(_START) or _START.startswith(rest)
    return records if torn and len(records) == len(lines) else None


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        found = parse_json(line)
    except ValueError:
        return None
    return found if type(found.get("step")) is int else None
