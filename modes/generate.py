"""Any number of samples in batches: compiled once, resumable, the same for any batch size."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from data_lib.arrays import RANGE
from eval_lib import pictures
from eval_lib.array_pictures import PICTURES, picture_of
from modes.generator import Generator
from runtime_lib.files import Content
from runtime_lib.results import (
    Arrays,
    Part,
    Parts,
    Shapes,
    npz,
    publish,
    read_own_json,
    same,
    set_results_aside,
)

GRID_LIMIT = 256
"""Most images that one grid shows."""
MOST_ROWS = 32
"""Most classes of which each has a row of its own."""
SHOWN = 2000
"""Most samples in a picture of arrays that are no pictures."""
REPORT = "samples.json"
NO_ARRAYS: Mapping[str, np.ndarray] = MappingProxyType({})
STATED = {RANGE: np.asarray([0.0, 1.0], np.float32)}
"""Values of black and white in a file of samples; samples may lie slightly outside."""


def _shapes(generator: Generator, batch: int) -> Shapes:
    labels = {"labels": (batch,)} if generator.classes else {}
    frames = {"frames": (None, batch, *generator.example)} if generator.frames else {}
    return {"samples": (batch, *generator.example), "evaluations": (batch,), **labels, **frames}


def _merge(parts: list[Arrays], total: int) -> dict[str, np.ndarray]:
    """Samples 0 .. total - 1; the last batch, drawn whole for the compiled program, is cut."""

    def join(name: str) -> np.ndarray:
        axis = 1 if name == "frames" else 0
        joined = np.concatenate([part[name] for part in parts], axis)
        return joined.take(np.arange(total), axis)

    return {name: join(name) for name in parts[0]}


def pace(seconds: list[float], batch: int) -> dict[str, Any]:
    """Images per second, without the first batch that was drawn, which includes compilation.

    seconds: the times of the batches that were drawn, and not read back. If there is only one, its
    time is used; None if there is none.
    """
    steady = seconds[1:] or seconds
    return {
        "images_per_second": round(batch * len(steady) / sum(steady), 3) if steady else None,
        "images_per_second_includes_compilation": len(seconds) == 1,
    }


def evaluations(counts: np.ndarray) -> dict[str, Any]:
    """NFE per sample: one number, or mean and maximum if samples differ."""
    if counts.min() == counts.max():
        return {"nfe": int(counts[0])}
    return {"nfe": round(float(counts.mean()), 1), "nfe_max": int(counts.max())}


def generate(
    generator: Generator,
    total: int,
    batch_size: int,
    folder: Path,
    identity: dict[str, Any],
    *,
    groups: int = 0,
    names: Sequence[str] = (),
    beside: Mapping[str, np.ndarray] = NO_ARRAYS,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Draw `total` samples into `folder`; returns the report that is also written there.

    Writes `samples.npz` (samples [n, ...] as the codec decodes them, labels if any; gray levels in
    [0, 1], as its `range` says), `samples.png`, `trajectory.gif` if frames of pictures were
    requested, and `samples.json` (`identity`, NFE, images/s). With `groups`, the number of
    conditions that take turns, the samples of each are together: [groups, total / groups, ...].
    `names` of the features, or channels, are in the file and in the picture; arrays `beside`, whose
    rows samples have in turn, are in the file, a row for each sample.
    Finished batches are kept in `parts/` until all are there, so that the same command continues
    after a kill; runs of equal `identity` are the same. Finished samples of another identity, or
    more of them, are moved aside to FOLDER_1, FOLDER_2, ...
    """
    set_results_aside(folder, _why_kept(folder, identity, total), log)
    kept = Parts(folder, {**identity, "batch_size": batch_size}, log)
    arrays, seconds = collected(generator, total, batch_size, kept, log)
    arrays |= {name: rows[np.arange(total) % len(rows)] for name, rows in beside.items()}
    finite = np.isfinite(arrays["samples"].reshape(total, -1)).all(axis=1)
    if lost := total - int(finite.sum()):
        log(f"{lost} of {total} samples are not finite: an adaptive solver gives up after "
            "sampling.max_steps, raise it, sampling.rtol or sampling.atol; guidance may be "
            "too strong")  # fmt: skip
    report = {
        **identity,
        "num_samples": total,
        **evaluations(arrays.pop("evaluations")),
        **pace(seconds, batch_size),
    }
    publish(folder, _files(generator, arrays, groups, names), REPORT, report, log)
    kept.remove()
    return report


def collected(
    generator: Generator, total: int, batch: int, kept: Parts, log: Callable[[str], None]
) -> tuple[dict[str, np.ndarray], list[float]]:
    """(samples 0 .. total - 1 with all that comes with them, seconds of each batch drawn now)."""
    shapes, seconds = _shapes(generator, batch), []

    def draw(first: int) -> Arrays:
        start = time.perf_counter()
        drawn = generator.draw(first, batch)
        seconds.append(time.perf_counter() - start)
        return drawn

    wanted = [Part(f"{k:08d}", shapes, partial(draw, k)) for k in range(0, total, batch)]
    return _merge(list(kept.each(wanted, "sampling", log)), total), seconds


def _files(
    generator: Generator, arrays: dict[str, np.ndarray], groups: int, names: Sequence[str]
) -> dict[str, Content | None]:
    """Files beside the report."""
    levels = generator.codec.of_levels
    frames = arrays.pop("frames", None)
    film = None
    if frames is not None and levels:
        film = pictures.animation_gif(frames[:, : GRID_LIMIT // 4])
    elif frames is not None:
        arrays["frames"] = frames
    title = f"given condition 0 of {groups}" if groups > 1 else ""
    first = {name: rows[:: groups or 1] for name, rows in arrays.items() if name != "frames"}
    png = picture(generator, first["samples"], title, names, first.get("labels"))
    told = {"names": np.asarray(names)} if names else {}
    if groups:
        arrays = {name: _grouped(rows, groups, name == "frames") for name, rows in arrays.items()}
    return {
        "trajectory.gif": film,
        "samples.npz": npz({**arrays, **told, **(STATED if levels else {})}),
        "samples.png": png,
    }


def picture(
    generator: Generator,
    samples: np.ndarray,
    title: str = "",
    names: Sequence[str] = (),
    labels: np.ndarray | None = None,
) -> Content | None:
    """Samples as a picture that suits their shape; None if there is none for it, or for fewer than
    two that are finite."""
    if generator.codec.of_levels and samples.shape[-1] in (1, 3):
        if labels is not None and len(np.unique(labels)) <= MOST_ROWS:
            return pictures.classes_png(samples, labels)
        return pictures.grid_png(samples[:GRID_LIMIT])
    finite = np.isfinite(samples.reshape(len(samples), -1)).all(axis=1)
    if finite.sum() < 2 or samples.ndim - 2 not in PICTURES:
        return None
    return picture_of(samples[finite][:SHOWN], names=names, title=title)


def _grouped(rows: np.ndarray, groups: int, frames: bool) -> np.ndarray:
    """[n k, ...] with the k groups in turn as [k, n, ...]; frames come first."""
    rows = rows.swapaxes(0, 1) if frames else rows
    together = rows.reshape(-1, groups, *rows.shape[1:]).swapaxes(0, 1)
    return together.swapaxes(1, 2).swapaxes(0, 1) if frames else together


def _why_kept(folder: Path, identity: dict[str, Any], total: int) -> str | None:
    """The reason why finished samples would not be replaced by equal ones; None if they would."""
    report = read_own_json(folder / REPORT)
    if report is None:
        return None
    if not same(report, identity):
        return "samples drawn with other settings"
    held = report.get("num_samples")
    return "more samples" if not isinstance(held, int) or held > total else None
