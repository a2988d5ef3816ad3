"""The identity of a run's training and held-out images, to compare two starts of the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import UInt64

from data_lib import digests
from data_lib.base import Images, Splits


@dataclass(frozen=True, eq=False)
class Identity:
    """The hashes of both parts, each in ascending order, and one hash of all labels and the levels.

    Order and names of the images have no influence.
    """

    train: UInt64[np.ndarray, " n"]
    test: UInt64[np.ndarray, " m"]
    labels: UInt64[np.ndarray, "1"]

    @classmethod
    def of(cls, splits: Splits, *, labelled: bool) -> Self:
        """The identity of a dataset, with its labels if they matter.

        Takes a second for each gigabyte, unless the source already has the hashes.
        """
        train, test = (_sorted(part, labelled) for part in (splits.train, splits.test))
        labels = np.concatenate([train[1], test[1], [splits.train.levels or 0]])
        return cls(train[0], test[0], digests.of_rows(labels[None]))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The inverse of `arrays`; ValueError for arrays that it did not give."""
        found = [arrays[name] for name in ("train", "test", "labels") if name in arrays]
        if len(found) < 3 or any(array.dtype != np.uint64 or array.ndim != 1 for array in found):
            raise ValueError("it does not say which examples there were")
        return cls(*found)

    def arrays(self) -> dict[str, np.ndarray]:
        """The identity as arrays, to be stored in a file."""
        return {"train": self.train, "test": self.test, "labels": self.labels}

    def changes(self, now: "Identity") -> str:
        """The differences between this identity and `now`, in words for the user; '' if equal."""
        before, after = (np.concatenate([part.train, part.test]) for part in (self, now))
        counts = {
            "added": _more(after, before),
            "removed": _more(before, after),
            "held out before and trained on now": _came(now.train, self.test, self.train),
            "trained on before and held out now": _came(now.test, self.train, self.test),
        }
        told = [f"{count:,} {what}" for what, count in counts.items() if count]
        if not told and not np.array_equal(self.labels, now.labels):
            return "the same examples have other labels, or another number of levels"
        return f"examples: {', '.join(told)}" if told else ""


def _sorted(images: Images, labelled: bool) -> tuple[np.ndarray, np.ndarray]:
    """(hashes, labels or -1) in the order of the hashes."""
    hashes, labels = images.content(), images.labels
    if labels is None or not labelled:
        labels = np.full(len(hashes), -1, np.int32)
    order = np.lexsort((labels, hashes))
    return hashes[order], labels[order]


def _came(now: np.ndarray, here: np.ndarray, there: np.ndarray) -> int:
    """Number of images in `now` that were `here` before and not `there`, counting copies."""
    return int((np.isin(now, here) & ~np.isin(now, there)).sum())


def _more(these: UInt64[np.ndarray, " n"], those: UInt64[np.ndarray, " m"]) -> int:
    """Number of `these` that are left when each of `those` cancels one equal to it."""
    values, counts = np.unique(these, return_counts=True)
    others, taken = np.unique(those, return_counts=True)
    _, mine, theirs = np.intersect1d(values, others, assume_unique=True, return_indices=True)
    counts[mine] -= np.minimum(counts[mine], taken[theirs])
    return int(counts.sum())
