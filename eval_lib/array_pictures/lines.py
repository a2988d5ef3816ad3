"""Signals as lines, and their law at each position as bands."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from eval_lib.array_pictures.base import TRUTH, Shown, limits, panels
from eval_lib.plotting import png, pyplot

MOST = 6
"""Largest number of channels that are shown."""
LINES = 3
"""Signals that are shown one by one."""
BANDS = {0.9: 0.15, 0.5: 0.3}
"""Opacity of the central interval of each share."""


def _bands(panel: Any, x: Float[np.ndarray, "n l"], colour: str) -> None:
    at = np.arange(x.shape[1])
    for share, opacity in BANDS.items():
        low, high = np.quantile(x, ((1 - share) / 2, (1 + share) / 2), axis=0)
        label = f"central {share:.0%}"
        panel.fill_between(at, low, high, color=colour, alpha=opacity, linewidth=0, label=label)
    panel.plot(at, np.median(x, axis=0), color=colour, linewidth=1.5, label="median")


def _outside(x: Float[np.ndarray, "n l"], span: Float[np.ndarray, "2"]) -> str:
    """Words on the values that a panel's scale leaves out, if there are any."""
    share = np.mean((x < span[0]) | (x > span[1]))
    return f"; {share:.2g} of the values outside" if share else ""


def lines_png(what: Shown) -> bytes:
    """A row for each channel: samples on the left, data beside them on the same scale.

    Bands hold central shares of all signals at each position; the first signals are shown as they
    are. It is said how much lies outside of the scale.
    """
    channels = min(what.layout.channels, MOST)
    figure, axes = panels(pyplot(), channels, len(what.sets), 4.8, 2.4)
    for k in range(channels):
        span = limits(*what.scale(k), 0.1)
        for panel, (name, (x, colour)) in zip(axes[k], what.sets.items(), strict=True):
            _bands(panel, x[..., k], colour)
            for one in x[:LINES]:
                panel.plot(one[:, k], color="dimgray", linewidth=0.6, alpha=0.8)
            panel.lines[-1].set_label(f"the first {min(LINES, len(x))}")
            if what.truth is not None:
                panel.plot(what.truth[:, k], color=TRUTH, linewidth=1.5, label="truth")
            panel.set(ylim=span, xlabel="position", ylabel=what.label(k))
            panel.set_title(f"{name} (n = {len(x)}){_outside(x[..., k], span)}", fontsize=9)
            panel.legend(fontsize=6, loc="upper right", ncols=2)
            panel.grid(alpha=0.3)
    what.head(figure, channels)
    return png(figure)
