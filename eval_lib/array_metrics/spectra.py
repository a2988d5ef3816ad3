"""Power spectra of fields, and the distance between those of samples and of data.

A frequency is a vector f of cycles per grid step along each axis; a ring holds the frequencies
whose length |f| rounds to the same multiple of one cycle per longest axis, whatever the other
axes' lengths. In one dimension the spectrum is the periodogram.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Float

from eval_lib.array_metrics.base import Pair, named, worst
from eval_lib.metrics.base import Numbers

BLOCK = 4_000_000
"""Values that are transformed at a time."""
FLOOR = 1e-12
"""Least power that is told from none, as a share of the largest: round-off of float32."""


@dataclass(frozen=True)
class Spectrum:
    """Mean power of each channel in each ring, without the mean of a field (f = 0).

    frequency: mean |f| of a ring, in cycles per grid step. modes: number of frequencies in it.
    """

    frequency: Float[np.ndarray, " r"]
    power: Float[np.ndarray, "r c"]
    modes: Float[np.ndarray, " r"]


def _window(axes: tuple[int, ...], periodic: tuple[bool, ...]) -> Float[np.ndarray, "..."]:
    """Product of Hann windows along the axes that are not periodic, of mean square 1."""
    hann = lambda n: np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
    along = [np.ones(n) if p else hann(n) for n, p in zip(axes, periodic, strict=True)]
    window = reduce(np.multiply.outer, along)
    return window / np.sqrt(np.mean(window**2))


def power_spectrum(
    x: Float[np.ndarray, "n *axes c"], periodic: tuple[bool, ...] | bool = False
) -> Spectrum:
    """The spectrum of fields, averaged over fields and rings.

    The power at f is |sum_z w(z) (x(z) - m) exp(-2 pi i f.z)|^2 / N with N positions and m the
    field's mean: white noise of variance v has v everywhere, and with w = 1 the mean over all N
    frequencies is the variance. Along axes that are not periodic, w is a Hann window, so that the
    jump between the ends adds nothing, and m is the mean with weights w.
    """
    axes = x.shape[1:-1]
    window = _window(axes, (periodic,) * len(axes) if isinstance(periodic, bool) else periodic)
    over = tuple(range(1, len(axes) + 1))
    weights = window[..., None]
    total = np.zeros((*axes, x.shape[-1]))
    rows = max(1, BLOCK // math.prod(x.shape[1:]))
    for first in range(0, len(x), rows):
        block = x[first : first + rows].astype(np.float64)
        block -= (block * weights).mean(axis=over, keepdims=True) / window.mean()
        total += np.sum(np.abs(np.fft.fftn(block * weights, axes=over)) ** 2, axis=0)
    return _in_rings(total / (len(x) * window.size))


def _in_rings(power: Float[np.ndarray, "*axes c"]) -> Spectrum:
    axes = power.shape[:-1]
    grids = np.meshgrid(*map(np.fft.fftfreq, axes), indexing="ij")
    length = np.sqrt(sum(grid**2 for grid in grids)).ravel()
    ring = np.rint(length * max(axes)).astype(int)
    modes = np.bincount(ring)
    kept = np.flatnonzero(modes)[1:]
    mean = lambda values: np.bincount(ring, values)[kept] / modes[kept]
    channels = power.reshape(-1, power.shape[-1]).T
    found = np.stack([mean(channel) for channel in channels], axis=1)
    return Spectrum(mean(length), found, modes[kept].astype(float))


def log_spectral_distance(a: Spectrum, b: Spectrum) -> Float[np.ndarray, " c"]:
    """Root mean square over rings of 10 log10 of the ratio of powers, in decibels, by channel.

    (Gray & Markel 1976, for rings of equal width.) Powers below `FLOOR` times b's largest count as
    that.
    """
    least = FLOOR * b.power.max(axis=0)
    ratio = np.log10(np.maximum(a.power, least)) - np.log10(np.maximum(b.power, least))
    return np.sqrt(np.mean((10 * ratio) ** 2, axis=0))


def spectra(c: Pair) -> Numbers:
    """Mean over channels and worst log-spectral distance, in decibels, and the channels' own.

    Of n samples and n held-out fields of one law, a ring of q frequencies has about
    8.7 (n q)^-1/2 dB of noise.
    """
    a, b = (power_spectrum(x, c.periodic) for x in (c.samples, c.held_out))
    name = "log_spectral_distance"
    if not len(a.frequency):
        return {name: "the fields have a single position"}
    strongest = b.power.max(axis=0)
    if strongest.min() < FLOOR**2:  # round-off, where variances are 1
        k = int(np.argmin(strongest))
        return {name: f"each held-out field is constant in {c.layout.channel(k)}"}
    found = log_spectral_distance(a, b)
    at = worst(f"{name}_worst", "channel", found.tolist(), range(c.layout.channels))
    return {name: float(found.mean()), **at, **named(name, found, c.layout)}
