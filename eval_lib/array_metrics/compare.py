"""Comparison of arrays by all metrics that fit them, and its rows for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Num, Shaped

from eval_lib.array_metrics.base import Ensembles, NamedShape, Pair, Scale, finite
from eval_lib.array_metrics.table import CALIBRATION, DISTANCES
from eval_lib.metrics.base import C, Metric, Numbers

Names = Sequence[str]
Periodic = bool | Sequence[bool]


def fitting(
    table: Mapping[str, Metric[C]], layout: NamedShape, metrics: Names | None
) -> dict[str, Metric[C]]:
    """Rows of the table by their names, or (None) all that the layout allows.

    ValueError for a name that is unknown, or whose metric does not fit the arrays.
    """
    if metrics is None:
        return {name: row for name, row in table.items() if not row.lacking(layout.has)}
    for name in metrics:
        if name not in table:
            raise ValueError(f"metrics: {name!r} is none of {', '.join(table)}")
        if lacking := table[name].lacking(layout.has):
            raise ValueError(f"metrics: {name} cannot be computed, {lacking}")
    return {name: table[name] for name in metrics}


def paired(
    samples: Shaped[np.ndarray, "..."],
    held_out: Shaped[np.ndarray, "..."],
    names: Names = (),
    scale: Scale | None = None,
    periodic: Periodic = False,
) -> Pair:
    """Samples and held-out data in units of standard deviations; ValueError if they do not fit.

    scale: mean and standard deviation of each channel, by default those of the held-out data.
    periodic: of the spatial axes, together or one by one.
    """
    samples, held_out = finite(samples, "samples"), finite(held_out, "held-out data")
    _same("samples", samples.shape[1:], "held-out data", held_out.shape[1:])
    _at_least_two("samples", samples)
    _at_least_two("held-out data", held_out)
    layout = NamedShape(held_out.shape[1:], tuple(names))
    scale = scale.fit(layout) if scale else Scale.of(held_out, layout, "held-out data")
    axes = len(layout.axes)
    along = (periodic,) * axes if isinstance(periodic, bool) else tuple(map(bool, periodic))
    if len(along) != axes:
        raise ValueError(f"periodic must be one value or {axes}, one for each axis, got {periodic}")
    x, y = scale.standardized(samples, held_out)
    return Pair(x, y, layout, along)


def compare(
    samples: Shaped[np.ndarray, "..."],
    held_out: Shaped[np.ndarray, "..."],
    *,
    names: Names = (),
    metrics: Names | None = None,
    scale: Scale | None = None,
    periodic: Periodic = False,
) -> dict[str, float | str]:
    """Numbers by name that compare samples [n, *shape] with held-out data [m, *shape].

    In place of a number that cannot be computed is the reason. metrics: names of `DISTANCES`, by
    default all that fit. For the rest see `paired`. Held-out data of the same law as the samples',
    measured in the samples' place, tell how far from 0 a perfect model is.
    """
    pair = paired(samples, held_out, names, scale, periodic)
    return _computed(fitting(DISTANCES, pair.layout, metrics), pair)


def ensembles(
    samples: Shaped[np.ndarray, "..."],
    truths: Shaped[np.ndarray, "..."],
    names: Names = (),
    scale: Scale | None = None,
    references: Num[np.ndarray, "..."] | None = None,
) -> Ensembles:
    """Samples [k, s, *shape] and truths [k, *shape] in units of standard deviations.

    scale: by default that of the truths. references: points of TARP [k, *shape], which may depend
    on the condition, in the units of the data. ValueError for what does not fit.
    """
    samples, truths = finite(samples, "samples"), finite(truths, "truths")
    if samples.ndim < 2 or 0 in samples.shape[:2]:
        raise ValueError(
            f"samples must be [conditions, samples of each, ...], got shape {samples.shape}"
        )
    _same("samples", (len(samples), *samples.shape[2:]), "truths", truths.shape)
    layout = NamedShape(truths.shape[1:], tuple(names))
    scale = scale.fit(layout) if scale else Scale.of(truths, layout, "truths")
    if references is not None:
        references = finite(references, "references")
        _same("references", references.shape, "truths", truths.shape)
        (references,) = scale.standardized(references)
    x, y = scale.standardized(samples, truths)
    return Ensembles(x, y, layout, scale.std, references)


def calibration(
    samples: Shaped[np.ndarray, "..."],
    truths: Shaped[np.ndarray, "..."],
    *,
    names: Names = (),
    metrics: Names | None = None,
    scale: Scale | None = None,
    references: Num[np.ndarray, "..."] | None = None,
) -> dict[str, float | str]:
    """Numbers by name that compare samples given k conditions with the k truths.

    metrics: names of `CALIBRATION`, by default all. For the rest see `ensembles`.
    """
    c = ensembles(samples, truths, names, scale, references)
    return _computed(fitting(CALIBRATION, c.layout, metrics), c)


def _computed(rows: Mapping[str, Metric[C]], c: C) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for row in rows.values():
        found |= row.compute(c)
    return found


def _same(a: str, shape: tuple[int, ...], b: str, other: tuple[int, ...]) -> None:
    if shape != other:
        raise ValueError(
            f"{a} and {b} must be arrays of one shape, got {shape} and {other} "
            "(for samples of each condition, without their number)"
        )


def _at_least_two(name: str, x: Shaped[np.ndarray, "..."]) -> None:
    if len(x) < 2:
        raise ValueError(f"{name} must be at least 2 to have a law, got {len(x)}")


def markdown(columns: Mapping[str, Numbers], shape: tuple[int, ...], names: Names = ()) -> str:
    """A table in Markdown: one row for each number, one column for each set of them, by its name.

    Entries and channels are told by their names.
    """
    layout = NamedShape(shape, tuple(names))
    rows = dict.fromkeys(number for numbers in columns.values() for number in numbers)
    lines = [["", *columns], ["---"] * (1 + len(columns))]
    lines += [
        [row, *(_told(row, c.get(row, ""), layout) for c in columns.values())] for row in rows
    ]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines) + "\n"


def _told(name: str, value: float | str, layout: NamedShape) -> str:
    if isinstance(value, str):
        return f"none: {value}" if value else ""
    if name.endswith("_entry"):
        return layout.entry(int(value))
    return layout.channel(int(value)) if name.endswith("_channel") else f"{value:.4g}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
