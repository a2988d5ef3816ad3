"""Fields in two and three dimensions as images, one row or more for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from eval_lib.array_pictures.base import Shown, panels
from eval_lib.plotting import png, pyplot

MOST = 6
"""Largest number of channels that are shown."""
MOST_IN_3D = 3
EACH = 4
"""Fields of each set that are shown."""
EACH_IN_3D = 2
LONGEST = 3.0
"""Largest ratio of sides that is drawn to scale."""
WIDTH = 1.8
"""Width of a panel, in inches."""
BAR = {"shrink": 0.9, "extendfrac": 0.03, "aspect": 25}


def _fields(what: Shown, each: int) -> dict[str, Float[np.ndarray, "*shape"]]:
    """The truth, the first samples and the first data, by their titles."""
    truth = {} if what.truth is None else {"truth": what.truth}
    return truth | {
        f"{name} {i}": field
        for name, (x, _) in (("sample", what.sets["samples"]), *_data(what))
        for i, field in enumerate(x[:each])
    }


def _data(what: Shown) -> list[tuple[str, Any]]:
    return [("data", what.sets["data"])] if "data" in what.sets else []


def _image(panel: Any, field: Float[np.ndarray, "h w"], span: tuple[float, float]) -> Any:
    height, width = field.shape
    aspect = "equal" if 1 / LONGEST <= height / width <= LONGEST else "auto"
    panel.tick_params(labelsize=6)
    return panel.imshow(
        field, vmin=span[0], vmax=span[1], cmap="viridis", aspect=aspect, interpolation="nearest"
    )


def _bar(figure: Any, image: Any, row: Any, label: str) -> None:
    bar = figure.colorbar(image, ax=list(row), extend="both", pad=0.01, **BAR)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=6)


def images_png(what: Shown) -> bytes:
    """A row for each channel with a colour scale of its own: truth, samples, data."""
    fields, channels = _fields(what, EACH), min(what.layout.channels, MOST)
    height, width = what.layout.axes
    tall = WIDTH * float(np.clip(height / width, 1 / LONGEST, LONGEST))
    figure, axes = panels(pyplot(), channels, len(fields), WIDTH, max(tall, 0.9))
    for k in range(channels):
        for panel, (title, field) in zip(axes[k], fields.items(), strict=True):
            image = _image(panel, field[..., k], what.scale(k))
            panel.label_outer()
            if k == 0:
                panel.set_title(title, fontsize=8)
            if k == channels - 1:
                panel.set_xlabel("position, axis 1", fontsize=6)
        axes[k, 0].set_ylabel("position, axis 0", fontsize=6)
        _bar(figure, image, axes[k], what.label(k))
    what.head(figure, channels)
    return png(figure)


def slices_png(what: Shown) -> bytes:
    """The middle slices across each axis: rows are fields, channel by channel."""
    fields, channels = _fields(what, EACH_IN_3D), min(what.layout.channels, MOST_IN_3D)
    middle = [n // 2 for n in what.layout.axes]
    figure, axes = panels(pyplot(), channels * len(fields), 3, 1.9, 1.9)
    for k in range(channels):
        rows = axes[k * len(fields) : (k + 1) * len(fields)]
        for row, (title, field) in zip(rows, fields.items(), strict=True):
            for axis, (panel, at) in enumerate(zip(row, middle, strict=True)):
                image = _image(panel, np.take(field[..., k], at, axis=axis), what.scale(k))
                panel.set_title(f"{title}, axis {axis} at {at}", fontsize=7)
                down, across = (a for a in range(3) if a != axis)
                panel.set_xlabel(f"position, axis {across}", fontsize=6)
                panel.set_ylabel(f"position, axis {down}", fontsize=6)
        _bar(figure, image, rows.ravel(), what.label(k))
    what.head(figure, channels)
    return png(figure)
