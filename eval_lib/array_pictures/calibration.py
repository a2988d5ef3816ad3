"""Pictures of calibration: histograms of ranks, and the coverage at every level."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from eval_lib.array_metrics.base import Ensembles
from eval_lib.array_metrics.ranks import binned, covered, places, ranks
from eval_lib.array_metrics.tarp import coverage_places, drawn_references
from eval_lib.array_pictures.base import SAMPLES, panels
from eval_lib.plotting import png, pyplot

MOST = 12
"""Largest number of entries that are shown one by one."""
COLUMNS = 4
BAND = 0.99
"""Share of calibrated models within the grey bands, at each bin or level."""
LEVELS = np.linspace(0, 1, 101)


def _band(k: int, share: Float[np.ndarray, "..."]) -> list[Float[np.ndarray, "..."]]:
    """Fewest and most of k truths in a part that holds a share of them, in `BAND` of cases."""
    from scipy import stats

    return [stats.binom.ppf(tail, k, share) for tail in ((1 - BAND) / 2, (1 + BAND) / 2)]


def _left_out(c: Ensembles, count: int) -> str:
    total = c.layout.size
    return f"the first {count} of {total} entries looked at" if count < total else ""


def ranks_png(c: Ensembles, title: str = "") -> bytes:
    """Histograms of the truths' ranks among the samples, which are level if they are calibrated.

    A hill says that samples are too wide, a valley too narrow, a slope that they are biased.
    """
    samples, truths = c.entries()
    s, rank = samples.shape[1], ranks(samples, truths)
    count = min(MOST, rank.shape[1])
    columns = min(COLUMNS, count)
    figure, axes = panels(pyplot(), math.ceil(count / columns), columns, 2.6, 2.1)
    for i, panel in enumerate(axes.ravel()):
        if i >= count:
            panel.axis("off")
            continue
        _histogram(panel, rank[:, i], s)
        panel.set_title(c.layout.entry(int(c.layout.entries[i])), fontsize=8)
        panel.set_xlabel(f"rank of {len(rank)} truths among {s} samples", fontsize=7)
        panel.set_ylabel("share, relative to uniform", fontsize=7)
    axes[0, 0].legend(fontsize=6, loc="lower center")
    figure.suptitle("; ".join(filter(None, (title, _left_out(c, count)))), fontsize=10)
    return png(figure)


def _histogram(panel: Any, rank: np.ndarray, s: int) -> None:
    found, expected = binned(rank, s)
    edges = np.concatenate([[0], np.cumsum(expected)]) * (s + 1) / len(rank) - 0.5
    low, high = (
        np.append(b, b[-1]) for b in np.divide(_band(len(rank), expected / len(rank)), expected)
    )
    panel.stairs(found / expected, edges, fill=True, color=SAMPLES, alpha=0.6, label="found")
    panel.axhline(1.0, color="black", linestyle=":", linewidth=1)
    panel.fill_between(edges, low, high, step="post", color="gray", alpha=0.3, linewidth=0,
                       label=f"{BAND:.0%} of calibrated models")  # fmt: skip
    panel.set_ylim(0, None)
    panel.tick_params(labelsize=6)


def coverage_png(c: Ensembles, title: str = "") -> bytes:
    """Shares of truths covered against the level, which are equal if samples are calibrated.

    Left: central intervals of each entry. Right: expected coverage by random points (TARP).
    """
    samples, truths = c.entries()
    place = places(ranks(samples, truths), samples.shape[1])
    references = drawn_references(c.truths) if c.references is None else c.references
    whole = coverage_places(c.samples, c.truths, references)
    count = min(MOST, place.shape[1])
    figure, axes = panels(pyplot(), 1, 2, 4.6, 4.0)
    for i in range(count):
        shares = [float(covered(place[:, i], level)) for level in LEVELS]
        label = c.layout.entry(int(c.layout.entries[i]))
        axes[0, 0].plot(LEVELS, shares, linewidth=1, label=label, color=f"C{i % 10}")
    axes[0, 1].plot(LEVELS, [float(np.mean(whole < level)) for level in LEVELS], label="TARP")
    low, high = (b / len(truths) for b in _band(len(truths), LEVELS))
    for panel, head in zip(axes[0], ("central intervals", "random points (TARP)"), strict=True):
        panel.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1, label="calibrated")
        panel.fill_between(LEVELS, low, high, color="gray", alpha=0.3, linewidth=0,
                           label=f"{BAND:.0%} of calibrated models")  # fmt: skip
        panel.set(xlabel="level", xlim=(0, 1), ylim=(0, 1))
        panel.set_ylabel(f"share of {len(truths)} truths covered")
        panel.set_title(head, fontsize=9)
        panel.legend(fontsize=7, loc="upper left")
        panel.grid(alpha=0.3)
    figure.suptitle("; ".join(filter(None, (title, _left_out(c, count)))), fontsize=10)
    return png(figure)
