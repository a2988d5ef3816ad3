"""Pictures of power spectra."""

from __future__ import annotations

import math

import numpy as np

from eval_lib.array_metrics.base import Pair
from eval_lib.array_metrics.spectra import FLOOR, power_spectrum
from eval_lib.array_pictures.base import DATA, SAMPLES, panels
from eval_lib.plotting import png, pyplot

MOST = 6
"""Largest number of channels that are shown."""
COLUMNS = 3
MANY = 100
"""Ratio of the frequencies' ends up to which three a decade are labelled."""


def _labelled(low: float, high: float) -> tuple[int, ...]:
    """Multiples of the powers of ten that can be labelled without overlap along a panel."""
    return (1, 2, 5) if high < MANY * low else (1,)


def spectra_png(c: Pair, title: str = "") -> bytes:
    """Radially averaged power of samples and of held-out data in each channel.

    Channels are in standard deviations; the dotted line is the Nyquist frequency of one axis.
    """
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    if not c.layout.axes:
        raise ValueError("vectors have no spatial axes, and no spectrum")
    found = {
        f"{len(c.samples)} samples": (power_spectrum(c.samples, c.periodic), SAMPLES),
        f"{len(c.held_out)} held-out fields": (power_spectrum(c.held_out, c.periodic), DATA),
    }
    count = min(MOST, c.layout.channels)
    columns = min(COLUMNS, count)
    figure, axes = panels(pyplot(), math.ceil(count / columns), columns, 3.8, 3.0)
    for k, panel in enumerate(axes.ravel()):
        if k >= count:
            panel.axis("off")
            continue
        for label, (spectrum, colour) in found.items():
            least = FLOOR * max(float(spectrum.power[:, k].max(initial=0)), FLOOR)
            power = np.maximum(spectrum.power[:, k], least)
            panel.plot(spectrum.frequency, power, label=label, color=colour, linewidth=1.2)
        panel.axvline(0.5, color="gray", linestyle=":", linewidth=1)
        panel.set(xscale="log", yscale="log", xlabel="frequency, cycles per grid step")
        panel.xaxis.set_major_locator(LogLocator(subs=_labelled(*panel.get_xlim())))
        panel.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_ylabel("power, variance of white noise", fontsize=8)
        panel.set_title(c.layout.channel(k), fontsize=9)
        # Where falling spectra are not; to look for the best place is slow, and warns, with many.
        panel.legend(fontsize=7, loc="lower left")
        panel.grid(alpha=0.3, which="both")
    left = f"the first {count} of {c.layout.channels} channels" if count < c.layout.channels else ""
    figure.suptitle("; ".join(filter(None, (title, left))), fontsize=10)
    return png(figure)
