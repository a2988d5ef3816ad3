"""Corner plots: the law of each feature, and of each two of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from eval_lib.array_pictures.base import DATA, SAMPLES, TRUTH, Shown, limits, panels
from eval_lib.plotting import png, pyplot

MOST = 10
"""Largest number of features that are shown."""
BINS, FEWEST_BINS, PAIR_BINS = 40, 8, 30
PANEL = 1.35
"""Side of the smallest panels, in inches."""
MASSES = 0.9, 0.5
"""Shares of the data within the contours, from the outermost."""
FEWEST = 200
"""Fewest samples and data that have shades and contours; fewer are dots."""


def contour_levels(density: Float[np.ndarray, "b b"]) -> Float[np.ndarray, " l"]:
    """Densities above which `MASSES` of the whole lies; fewer where two are the same."""
    ordered = np.sort(density, axis=None)[::-1]
    mass = np.cumsum(ordered) / ordered.sum()
    found = ordered[np.searchsorted(mass, MASSES)]
    return np.unique(found[(found > 0) & (found < density.max())])


def _contours(panel: Any, x: np.ndarray, y: np.ndarray, spans: list[np.ndarray]) -> None:
    from scipy.ndimage import gaussian_filter

    counts, x_edges, y_edges = np.histogram2d(x, y, PAIR_BINS, spans)
    middles = [(edges[1:] + edges[:-1]) / 2 for edges in (x_edges, y_edges)]
    density = gaussian_filter(counts, 1.0)
    levels = contour_levels(density) if counts.any() else np.empty(0)
    if len(levels):
        panel.contour(*middles, density.T, levels=levels, colors=DATA, linewidths=1)


def _pair(panel: Any, what: Shown, i: int, j: int, spans: list[np.ndarray]) -> None:
    """Density of samples as shades, that of the data as contours, the truth as a cross."""
    within = [spans[i], spans[j]]
    for name, (x, colour) in what.sets.items():
        if len(x) < FEWEST:
            panel.plot(x[:, i], x[:, j], ".", color=colour, markersize=3)
        elif name == "samples":
            panel.hist2d(x[:, i], x[:, j], bins=PAIR_BINS, range=within, cmap="Blues")
        else:
            _contours(panel, x[:, i], x[:, j], within)
    if what.truth is not None:
        panel.plot(what.truth[i], what.truth[j], "+", color=TRUTH, markersize=9, markeredgewidth=2)
    panel.set(xlim=spans[i], ylim=spans[j])


def _single(panel: Any, what: Shown, k: int, edges: np.ndarray) -> None:
    for name, (x, colour) in what.sets.items():
        step = {"histtype": "stepfilled", "alpha": 0.4} if name == "samples" else {
            "histtype": "step", "linewidth": 1.2}  # fmt: skip
        counts = np.histogram(x[:, k], edges)[0] / (len(x) * (edges[1] - edges[0]))
        panel.hist(edges[:-1], edges, weights=counts, color=colour, **step)
    if what.truth is not None:
        panel.axvline(what.truth[k], color=TRUTH, linewidth=1)
    panel.set(xlim=edges[[0, -1]], yticks=[])


def _legend(figure: Any, what: Shown) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(color=SAMPLES, alpha=0.4, label=f"samples (n = {len(what.samples)})")
    ]
    if what.data is not None:
        dots = len(what.data) < FEWEST
        plain = dots or what.layout.channels == 1
        inside = "" if plain else f"; contours hold {MASSES[1]:.0%} and {MASSES[0]:.0%}"
        label = f"data (n = {len(what.data)}){inside}"
        handles.append(Line2D([], [], color=DATA, label=label, marker="." if dots else None))
    if what.truth is not None:
        handles.append(Line2D([], [], color=TRUTH, marker="+", label="truth"))
    figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=len(handles))


def corner_png(what: Shown) -> bytes:
    """Histograms of the first `MOST` features, and below them the density of each two.

    The scales are those of the data; it is said how many samples lie outside.
    """
    d = min(what.layout.channels, MOST)
    spans = [limits(*what.scale(k), 0.15) for k in range(d)]
    figure, axes = panels(pyplot(), d, d, max(PANEL, 4.5 / d), max(PANEL, 3.5 / d))
    bins = int(np.clip(2 * np.sqrt(min(len(x) for x, _ in what.sets.values())), FEWEST_BINS, BINS))
    for row in range(d):
        for column in range(d):
            panel = axes[row, column]
            if column > row:
                panel.axis("off")
            elif column == row:
                _single(panel, what, row, np.linspace(spans[row][0], spans[row][1], bins + 1))
            else:
                _pair(panel, what, column, row, spans)
            if row == d - 1:
                panel.set_xlabel(what.label(column), fontsize=8)
            if column == 0:
                panel.set_ylabel(what.label(row) if row else "density", fontsize=8)
            first, last = column == 0 and row > 0, row == d - 1
            panel.tick_params(labelsize=6, labelbottom=last, labelleft=first)
    lost = np.any([(what.samples[:, k] < low) | (what.samples[:, k] > high)
                   for k, (low, high) in enumerate(spans)], axis=0).sum()  # fmt: skip
    what.head(figure, d, f"samples outside: {lost}" if lost else "")
    _legend(figure, what)
    return png(figure)
