"""Arrays that are compared, in units of standard deviations.

An array is [n, *axes, channels]: the last axis holds channels, which in vectors are features, and
those between are spatial. An entry is one of the prod(axes) * channels numbers of one array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from eval_lib.metrics.base import Numbers, chosen_rows

MOST_NUMBERS = 20_000_000
"""Largest number of values of one set that a metric of whole arrays looks at."""
LEAST_ROWS = 100
MOST_ENTRIES = 512
"""Largest number of entries that are looked at one by one; of more, a random part."""
MOST_NAMED = 16
"""Largest number of channels whose own numbers are told."""


@dataclass(frozen=True)
class NamedShape:
    """Shape of one array, and names of its channels ((): numbers)."""

    shape: tuple[int, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.shape or 0 in self.shape:
            raise ValueError(
                f"arrays must be [n, ..., channels] with nothing empty, one has shape {self.shape}:"
                " give numbers as vectors of one feature, [n, 1]"
            )
        if self.names and (len(self.names), len(set(self.names))) != (self.channels,) * 2:
            raise ValueError(
                f"names must be {self.channels} different ones, one for each {self.word}, "
                f"got {', '.join(self.names)}"
            )

    @property
    def axes(self) -> tuple[int, ...]:
        """Lengths of the spatial axes; () for vectors."""
        return self.shape[:-1]

    @property
    def channels(self) -> int:
        """Number of channels, or of features."""
        return self.shape[-1]

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def word(self) -> str:
        """Word for a number of the last axis."""
        return "channel" if self.axes else "feature"

    @property
    def has(self) -> dict[str, bool]:
        """Availability of what metrics need, by the names of `eval_lib.metrics.base.WORDS`."""
        return {"arrays.axes": bool(self.axes), "arrays.channels": self.channels > 1}

    def key(self, k: int) -> str:
        """A short name of channel k."""
        return self.names[k] if self.names else str(k)

    def channel(self, k: int) -> str:
        """The name of channel k in a sentence."""
        return self.names[k] if self.names else f"{self.word} {k}"

    def entry(self, k: int) -> str:
        """The name of entry k of an array that is made flat: its channel, and its position."""
        *position, channel = map(int, np.unravel_index(k, self.shape))
        if not position:
            return self.channel(channel)
        return f"{self.channel(channel)} at ({', '.join(map(str, position))})"

    @cached_property
    def entries(self) -> Int[np.ndarray, " e"]:
        """Entries that are looked at one by one: all, or `MOST_ENTRIES` at random."""
        return chosen_rows(self.size, MOST_ENTRIES)


def finite(x: Shaped[np.ndarray, "..."], name: str) -> Shaped[np.ndarray, "n ..."]:
    """The array; ValueError for one without rows, or with anything that is no finite number."""
    x = np.asarray(x)
    if x.ndim == 0 or x.dtype.kind not in "biuf":
        kind = "a single value" if x.ndim == 0 else f"of type {x.dtype}"
        raise ValueError(
            f"{name} must be an array [n, ...] of real numbers, got one {kind}: "
            "give complex numbers as two channels"
        )
    lost = int((~_complete(x)).sum())
    if lost:
        raise ValueError(
            f"{name}: {lost} of {len(x)} have values that are not finite (NaN or infinite): leave "
            "those out (`complete_rows`), and report how many they were"
        )
    return x


def _complete(x: Shaped[np.ndarray, "n ..."]) -> Bool[np.ndarray, " n"]:
    return np.asarray(np.isfinite(x).all(axis=tuple(range(1, x.ndim))))


def complete_rows(x: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "m ..."]:
    """The rows all of whose values are finite: tables without missing values."""
    return x[_complete(x)]


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each channel, or feature: the units of what is measured."""

    mean: Float[np.ndarray, " c"]
    std: Float[np.ndarray, " c"]

    @classmethod
    def of(cls, x: Shaped[np.ndarray, "n ..."], layout: NamedShape, name: str) -> Scale:
        """The scale of data; ValueError if a channel is constant."""
        values = x.reshape(-1, layout.channels)
        constant = values.min(axis=0) == values.max(axis=0)
        if constant.any():
            k = int(np.argmax(constant))
            raise ValueError(
                f"{layout.channel(k)} of {name} is constant ({values[0, k] + 0.0:g}) and has no "
                "scale: leave it out, or give `scale`"
            )
        mean = values.mean(axis=0, dtype=np.float64)
        return cls(mean, values.std(axis=0, dtype=np.float64))

    def fit(self, layout: NamedShape) -> Scale:
        """The scale as arrays [channels]; ValueError if it is not one of the layout."""
        mean, std = (np.asarray(x, np.float64) for x in (self.mean, self.std))
        if mean.shape != (layout.channels,) or std.shape != (layout.channels,):
            raise ValueError(
                f"scale.mean and scale.std must have shape ({layout.channels},), "
                f"got {mean.shape} and {std.shape}"
            )
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ValueError("scale.mean must be finite, and scale.std finite and positive")
        return Scale(mean, std)

    def standardized(self, *sets: Shaped[np.ndarray, "..."]) -> list[Float[np.ndarray, "..."]]:
        """(x - mean) / std of each set, in float32 if all are, else in float64.

        Values that are equal in different sets remain so.
        """
        small = all(x.dtype == np.float32 for x in sets)
        found = []
        for x in sets:
            out = np.empty(x.shape, np.float32 if small else np.float64)
            np.subtract(x, self.mean, out=out, casting="same_kind")
            found.append(np.divide(out, self.std, out=out, casting="same_kind"))
        return found


@dataclass(frozen=True)
class Pair:
    """Samples and held-out data, standardized, and which spatial axes are periodic."""

    samples: Float[np.ndarray, "n *shape"]
    held_out: Float[np.ndarray, "m *shape"]
    layout: NamedShape
    periodic: tuple[bool, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of arrays by kind, with the names of `Metric.fewest`."""
        return {"samples": len(self.samples), "held-out arrays": len(self.held_out)}

    def vectors(self, most: int) -> tuple[Float[np.ndarray, "n_ d"], Float[np.ndarray, "m_ d"]]:
        """Up to `most` of the samples and of the held-out data, made flat, in float64."""
        most = min(most, max(LEAST_ROWS, MOST_NUMBERS // self.layout.size))
        flat = lambda x: x[chosen_rows(len(x), most)].reshape(-1, self.layout.size)
        return flat(self.samples).astype(np.float64), flat(self.held_out).astype(np.float64)

    def entries(self) -> tuple[Float[np.ndarray, "n e"], Float[np.ndarray, "m e"]]:
        """The layout's `entries` of all samples and of all held-out data, in float64."""
        of = lambda x: x.reshape(len(x), -1)[:, self.layout.entries].astype(np.float64)
        return of(self.samples), of(self.held_out)

    def pooled(self, most: int) -> tuple[Float[np.ndarray, "p c"], Float[np.ndarray, "q c"]]:
        """Channels at each position of each array, at most `most` of them, in float64."""
        flat = lambda x: x.reshape(-1, self.layout.channels)
        of = lambda x: x[chosen_rows(len(x), most)].astype(np.float64)
        return of(flat(self.samples)), of(flat(self.held_out))


@dataclass(frozen=True)
class Ensembles:
    """Samples given each of k conditions, and the truth that came with it, standardized.

    unit: standard deviation of each channel, in the units of the data. references: points of TARP,
    or None.
    """

    samples: Float[np.ndarray, "k s *shape"]
    truths: Float[np.ndarray, "k *shape"]
    layout: NamedShape
    unit: Float[np.ndarray, " c"]
    references: Float[np.ndarray, "k *shape"] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of conditions, and of samples of each, with the names of `Metric.fewest`."""
        return {"conditions": len(self.truths), "samples of each": self.samples.shape[1]}

    def entries(self) -> tuple[Float[np.ndarray, "k s e"], Float[np.ndarray, "k e"]]:
        """The layout's `entries` of all samples and truths."""
        chosen = self.layout.entries
        flat = self.samples.reshape(*self.samples.shape[:2], -1)
        return flat[..., chosen], self.truths.reshape(len(self.truths), -1)[:, chosen]

    def by_channel(
        self, score: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> Float[np.ndarray, " c"]:
        """Means over conditions and positions of score(samples [s, *shape], truth) [*shape]."""
        total = np.zeros(self.layout.channels)
        for samples, truth in zip(self.samples, self.truths, strict=True):
            scores = score(samples.astype(np.float64), truth.astype(np.float64))
            total += scores.reshape(-1, self.layout.channels).mean(axis=0)
        return total / len(self.truths)


def worst(name: str, at: str, values: Sequence[float], places: Sequence[int]) -> Numbers:
    """`name` and its place: the largest of the values, and which of the places it is at.

    at: "entry" or "channel", the kind of the place.
    """
    k = int(np.argmax(values))
    return {name: float(values[k]), f"{name}_{at}": float(places[k])}


def named(name: str, values: Float[np.ndarray, " c"], layout: NamedShape) -> dict[str, float | str]:
    """`name[channel]` for each channel, if there are few."""
    if layout.channels > MOST_NAMED:
        return {}
    return {f"{name}[{layout.key(k)}]": float(value) for k, value in enumerate(values)}
