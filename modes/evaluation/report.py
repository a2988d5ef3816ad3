"""The report of an evaluation: numbers for programs, a page and pictures for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_lib.base import Log
from data_lib.transforms import to_unit
from eval_lib import figures, pictures
from eval_lib.metrics import METRICS
from eval_lib.metrics.base import Numbers, chosen_rows
from eval_lib.metrics.manifold import nearest_neighbours
from eval_lib.metrics.memorisation import MOST, flat
from modes.evaluation.cells import Cell
from modes.evaluation.model_metrics import OF_THE_MODEL
from runtime_lib.files import Content
from runtime_lib.results import marked, publish

PAIRS = 16
"""Samples shown beside their nearest training images."""


def over_repeats(repeats: Sequence[Numbers]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation (None for one value) and least of every number, and all values.

    For a number that could not be computed, `none` gives the reason.
    """
    return {name: _spread([numbers[name] for numbers in repeats]) for name in repeats[0]}


def _spread(values: list[float | str]) -> dict[str, Any]:
    known = [value for value in values if not isinstance(value, str)]
    if len(known) < len(values):
        why = next(value for value in values if isinstance(value, str))
        kept = [None if isinstance(value, str) else value for value in values]
        return {"mean": None, "std": None, "min": None, "values": kept, "none": why}
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else None
    mean, least = float(np.mean(known)), float(np.min(known))
    return {"mean": mean, "std": deviation, "min": least, "values": values}


def _row(cell: Cell) -> dict[str, Any]:
    return {
        "name": cell.name,
        "identity": cell.identity,
        "nfe": cell.nfe,
        "not_finite": cell.not_finite,
        "count": len(cell.samples),
        "sets": len(cell.repeats),
        "metrics": over_repeats(cell.repeats),
        "model": cell.model,
        "curves": cell.curves,
    }


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def _entry(found: dict[str, Any] | None) -> str:
    """Mean ± deviation over repeats; and the least, which much of the literature reports."""
    if found is None:
        return ""
    if found["mean"] is None:
        return f"none: {found['none']}"
    if found["std"] is None:
        return _number(found["mean"])
    return f"{_number(found['mean'])} ± {_number(found['std'])} (least {_number(found['min'])})"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    own = list(dict.fromkeys(name for row in rows for name in row["model"]))
    head = ["", *(row["name"] for row in rows)]
    nfe = ["NFE", *("" if row["nfe"] is None else f"{row['nfe']:g}" for row in rows)]
    count = ["images", *map(_images, rows)]
    lost = ["not finite (black)", *(str(row["not_finite"]) for row in rows)]
    lines = [head, ["---"] * len(head), count, lost, nfe]
    lines += [[name, *(_entry(row["metrics"].get(name)) for row in rows)] for name in names]
    lines += [
        [
            name,
            *(
                _entry(_spread([row["model"][name]])) if name in row["model"] else ""
                for row in rows
            ),
        ]
        for name in own
    ]
    return [f"| {' | '.join(line)} |" for line in lines]


def _images(row: dict[str, Any]) -> str:
    return f"{row['count']} in each of {row['sets']} sets" if row["sets"] > 1 else str(row["count"])


def _settings(value: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, entry in sorted(value.items()):
        if isinstance(entry, dict):
            yield from _settings(entry, f"{prefix}{name}.")
        else:
            yield f"    {prefix}{name} = {entry!r}"


def markdown(told: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The report as a page in Markdown."""
    ref = told["reference"]
    size = f"{ref['count']} images" if ref["count"] else "an unknown number of images"
    lines = [
        "# Evaluation",
        "",
        *_table(rows),
        "",
        f"Features: {told['extractor']}. Reference: {ref['dataset']}"
        + (f" ({ref['split']})" if "split" in ref else "")
        + f", {size}. Samples are quantized to {told['levels']} levels ({told['quantize']}); with "
        "several sets of n samples, set k = 0, 1, ... begins at sample k n. NFE: network "
        "evaluations per sample.",
        "",
        "Frechet distances of different numbers of images cannot be compared: their bias falls as "
        "1/n. Choose settings with another seed than the one you report.",
    ]
    lines += [
        f"{row['not_finite']} of the {row['count'] * row['sets']} images of {row['name']} were not "
        "finite, and were measured as black images."
        for row in rows
        if row["not_finite"]
    ]
    if told["not_computed"]:
        lines += ["", "Not computed:", ""]
        lines += [f"- {name}: {why}" for name, why in told["not_computed"].items()]
    lines += [
        "",
        "Protocol:",
        "",
        *_settings({k: v for k, v in told.items() if k not in ("of", "config")}),
    ]
    for row in rows:
        lines += ["", f"{row['name']}:", "", *_settings(row["identity"])]
    return "\n".join(lines) + "\n"


def _nearest(samples: np.ndarray, train: np.ndarray, levels: int) -> bytes:
    """The samples that are nearest to a training image, each above it, nearest first."""
    some = samples[chosen_rows(len(samples), MOST)]
    distance, number = nearest_neighbours(flat(some), flat(train))
    first = np.argsort(distance)[:PAIRS]
    return pictures.rows_png(to_unit(np.stack([some[first], train[number[first]]]), levels))


def _curve(rows: list[dict[str, Any]]) -> bytes | None:
    """The first metric against the step, one line per average; None if there is a single step."""
    lines: dict[str, tuple[list[float], list[float]]] = {}
    trained = [row for row in rows if "step" in row["identity"]]
    for row in trained:
        rate = row["identity"]["ema_rate"]
        label = f"EMA {rate:g}" if rate else "raw weights"
        steps, values = lines.setdefault(label, ([], []))
        steps.append(row["identity"]["step"])
        mean = next(iter(row["metrics"].values()))["mean"]
        values.append(float("nan") if mean is None else mean)
    if len(trained) < 2:
        return None
    return figures.curves_png(lines, "updates", next(iter(trained[0]["metrics"])))


def _noise(cells: list[Cell]) -> bytes | None:
    lines = {}
    for cell in cells:
        for split in ("held_out", "train"):
            if cell.curves:
                label = f"{cell.name}, {split.replace('_', '-')} images"
                lines[label] = (cell.curves["log_snr"], cell.curves[split])
    if not lines:
        return None
    return figures.curves_png(lines, "log-SNR", "squared error of the predicted noise, per pixel")


def write(
    folder: Path, report: str, told: dict[str, Any], cells: list[Cell], train: np.ndarray, log: Log
) -> list[str]:
    """Write all files of a report, the JSON last, so that the files beside it belong to it.

    Returns lines for the user: the headlines of each cell's metrics.
    """
    rows = [_row(cell) for cell in cells]
    drawn = cells[0]
    files: dict[str, Content | None] = {
        "samples.png": pictures.grid_png(drawn.shown),
        "nearest.png": _nearest(drawn.samples, train, drawn.identity["levels"]),
        "curve.png": _curve(rows),
        "noise_error.png": _noise(cells),
    }
    for cell in cells[1:]:
        slug = "".join(c if c.isalnum() else "_" for c in cell.name)
        files[f"samples_{slug}.png"] = pictures.grid_png(cell.shown)
    files["report.md"] = marked(markdown(told, rows))
    publish(folder, files, report, {"protocol": told, "cells": rows}, log)
    return [_headline(row) for row in rows]


def _headline(row: dict[str, Any]) -> str:
    numbers = {**row["metrics"], **{k: _spread([v]) for k, v in row["model"].items()}}
    shown = [name for metric in METRICS.values() for name in metric.headline]
    shown += [name for metric in OF_THE_MODEL.values() for name in metric.headline]
    shown += ["psnr"]  # of an autoencoder
    told = [f"{name} {_entry(numbers[name])}" for name in shown if name in numbers]
    return f"{row['name']}: {', '.join(told) or 'see the report'}"
