"""Reconstructions beside what was measured and what is true."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from eval_lib.array_pictures.base import DATA, SAMPLES, TRUTH, limits, panels
from eval_lib.plotting import png, pyplot

ROWS, DRAWS = 8, 4
"""Most examples, and most samples of each, that are shown."""
SIDE = 1.25
"""Inches of a picture's side."""
OF_SPREAD = "standard deviation"
"""Title of the column whose scale is its own."""


def columns_png(
    columns: Mapping[str, Float[np.ndarray, "n h w c"]], scale: tuple[float, float], title: str = ""
) -> bytes:
    """Pictures in labelled columns, a row for each example; those of deviations from 0 up.

    scale: values of black and white; of several channels that are no colours the first is shown.
    """
    rows = min(ROWS, len(next(iter(columns.values()))))
    figure, axes = panels(pyplot(), rows, len(columns), SIDE, SIDE)
    for k, (name, pictures) in enumerate(columns.items()):
        spread = name == OF_SPREAD
        top = max(float(np.nanmax(pictures[:rows])), 1e-9) if spread else scale[1]
        for row in range(rows):
            colours = pictures.shape[-1] == 3 and not spread
            shown = pictures[row] if colours else pictures[row, ..., 0]
            low, high = (0.0, top) if spread else scale
            shown = np.clip((shown - low) / (high - low), 0, 1)
            panel = axes[row, k]
            panel.imshow(shown, cmap="magma" if spread else "gray", vmin=0, vmax=1)
            panel.set(xticks=[], yticks=[])
        heading = f"{name}\n0 to {top:.2g}" if spread else name
        axes[0, k].set_title(heading, fontsize=7)
    if title:
        figure.suptitle(title, fontsize=9)
    return png(figure, dpi=130)


def bands_png(
    samples: Float[np.ndarray, "n s l c"],
    truth: Float[np.ndarray, "n l c"] | None,
    known: Float[np.ndarray, "n l c"] | None,
    title: str = "",
) -> bytes:
    """The first channel of signals or vectors: mean and band of 90% of the samples at each
    position, the truth, and the values that were measured as they are."""
    rows = min(ROWS, len(samples))
    figure, axes = panels(pyplot(), rows, 1, 7.0, 1.6)
    at = np.arange(samples.shape[2])
    for row in range(rows):
        panel, drawn = axes[row, 0], samples[row, ..., 0]
        low, high = np.quantile(drawn, (0.05, 0.95), axis=0)
        panel.fill_between(at, low, high, color=SAMPLES, alpha=0.3, linewidth=0, label="90%")
        panel.plot(at, drawn.mean(axis=0), color=SAMPLES, linewidth=1.2, label="mean")
        ends = [drawn.min(), drawn.max()]
        if truth is not None:
            panel.plot(at, truth[row, :, 0], color=TRUTH, linewidth=0.8, label="truth")
            ends += [truth[row, :, 0].min(), truth[row, :, 0].max()]
        if known is not None:
            panel.plot(at, known[row, :, 0], ".", color=DATA, markersize=3, label="measured")
        panel.set(ylim=limits(min(ends), max(ends)), ylabel=f"example {row}", xlabel="position")
        panel.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=6, ncols=4, loc="upper right")
    figure.suptitle(title, fontsize=9)
    return png(figure)
