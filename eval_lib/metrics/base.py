"""Metrics, and the sets of features that they compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import numpy as np
from jaxtyping import Float, Int, Shaped

T = TypeVar("T")
Vectors = Float[np.ndarray, "n d"]
Others = Float[np.ndarray, "m d"]
"""Another number of vectors of the same length."""
Numbers = Mapping[str, float | str]
"""Numbers by name; in place of one that cannot be computed, a text that says why."""


@dataclass(frozen=True)
class Moments:
    """Mean and covariance (divided by count - 1) in float64; count is None if unknown."""

    count: int | None
    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]

    @classmethod
    def of(cls, x: Vectors) -> Moments:
        """Moments of n >= 1 vectors in memory."""
        x = np.asarray(x, np.float64)
        mean = x.mean(axis=0)
        gap = x - mean
        return cls(len(x), mean, gap.T @ gap / max(len(x) - 1, 1))

    def __add__(self, other: Moments) -> Moments:
        """Moments of both sets together (Chan et al. 1979, eq. 2.1), to stream through a dataset.

        Raises ValueError if a count is unknown.
        """
        if self.count is None or other.count is None:
            raise ValueError("moments of sets of unknown size cannot be joined")
        n = self.count + other.count
        gap = other.mean - self.mean
        scatter = (
            (self.count - 1) * self.covariance
            + (other.count - 1) * other.covariance
            + self.count * other.count / n * np.outer(gap, gap)
        )
        return Moments(n, self.mean + other.count / n * gap, scatter / (n - 1))

    @cached_property
    def factor(self) -> Float[np.ndarray, "d r"]:
        """F of full rank with F F^T = covariance, without eigenvalues that are rounded zeros."""
        values, vectors = np.linalg.eigh(self.covariance)
        kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
        return vectors[:, kept] * np.sqrt(values[kept])


@dataclass(frozen=True)
class FeatureSet:
    """Features of a set of images by one extractor; None for what a file or an extractor lacks.

    Sets of samples always have `pool` and `images`.

    moments: of the features. pool [n, d]: the features. logits [n, k]: a classifier's.
    spatial: moments of the spatial features. images: in integer levels. labels: classes.
    """

    moments: Moments
    pool: Vectors | None = None
    logits: Vectors | None = None
    spatial: Moments | None = None
    images: Shaped[np.ndarray, "n h w c"] | None = None
    labels: Int[np.ndarray, " n"] | None = None

    @property
    def count(self) -> int | None:
        """Number of images, or of those whose features are here; None if unknown."""
        return self.moments.count if self.pool is None else len(self.pool)


@dataclass(frozen=True)
class Compared:
    """Samples, the reference, and the training and held-out images in the samples' levels."""

    samples: FeatureSet
    reference: FeatureSet
    train: Shaped[np.ndarray, "m h w c"]
    test: Shaped[np.ndarray, "k h w c"]

    @property
    def counts(self) -> dict[str, int | None]:
        """Numbers of images by kind, with the names of `Metric.fewest`."""
        return {
            "samples": self.samples.count,
            "reference images": self.reference.count,
            "training images": len(self.train),
            "held-out images": len(self.test),
        }


def both(least: int) -> dict[str, int]:
    """`Metric.fewest` for a metric that needs `least` samples and reference images."""
    return {"samples": least, "reference images": least}


class Counted(Protocol):
    """Sets that are compared, `Compared` or arrays, and how many there are of each kind."""

    @property
    def counts(self) -> Mapping[str, int | None]:
        """Numbers by kind, with the names of `Metric.fewest`; None if unknown."""


C = TypeVar("C", bound=Counted)


@dataclass(frozen=True)
class Metric(Generic[C]):
    """A function that compares samples with a reference.

    Attributes:
      formula: compared -> numbers by name, the most important one first.
      names: names of the numbers that are always there; (): those of the headline.
      needs: parts of what is compared that `formula` uses and that may be lacking, as keys of
        `WORDS`.
      fewest: smallest numbers of each kind for which it is defined, by the names of `counts`.
      headline: names of numbers that are printed, beside the report.
    """

    formula: Callable[[C], Numbers]
    names: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    fewest: Mapping[str, int] = field(default_factory=dict)
    headline: tuple[str, ...] = ()

    def compute(self, c: C) -> Numbers:
        """The numbers, or the reason why there are none."""
        lacking = too_few(c, self.fewest)
        if lacking:
            return dict.fromkeys(self.names or self.headline, lacking)
        return {name: _told(value) for name, value in self.formula(c).items()}

    def lacking(self, has: Mapping[str, bool]) -> str:
        """The reason why it cannot be computed, given what there is; "" if it can."""
        return next((WORDS[name] for name in self.needs if not has[name]), "")


def too_few(c: Counted, fewest: Mapping[str, int]) -> str:
    """The kind of which there are too few, in words; "" if none."""
    for kind, least in fewest.items():
        count = c.counts[kind]
        if count is not None and count < least:
            return f"it needs {least} {kind}, and there are {count}"
    return ""


def _told(value: float | str) -> float | str:
    return value if isinstance(value, str) or np.isfinite(value) else "it is not finite"


WORDS = {
    "samples.logits": "the extractor has no classes",
    "samples.spatial": "the extractor has no spatial features",
    "samples.labels": "the samples have no classes",
    "reference.pool": "the reference statistics have no features, only their moments",
    "reference.spatial": "the reference statistics have no spatial features",
    "reference.labels": "the reference statistics have no classes",
    "arrays.axes": "vectors have no spatial axes",
    "arrays.channels": "the arrays have one channel",
}
"""Words for each part of what is compared that may be lacking."""
ALWAYS = {
    "samples.pool": "the samples have no features",
    "samples.images": "the samples have no images",
}
"""The same for parts that every set of samples has, which `Metric.needs` does not list."""


def present(part: T | None, name: str) -> T:
    """A part of `Compared` by its name in `WORDS` or `ALWAYS`; ValueError if it is lacking."""
    if part is None:
        raise ValueError((WORDS | ALWAYS)[name])
    return part


def chosen_rows(n: int, most: int) -> Int[np.ndarray, " k"]:
    """min(n, most) random numbers of 0 .. n - 1, in order; the same at every call."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).permutation(n)[:most])
