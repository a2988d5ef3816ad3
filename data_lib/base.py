"""Examples and splits, which every source returns, and the choice of held-out examples."""

import dataclasses
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, Shaped, UInt64

from data_lib import digests
from data_lib.rows import Rows

if TYPE_CHECKING:
    from numpy import ndarray as Stored
else:
    Stored = np.ndarray | Rows  # which stand for an array wherever one is indexed

Log = Callable[[str], None]
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Images:
    """A whole split in memory.

    pixels: integers in 0..levels-1 (uint8, or uint16 above 256 levels), or, if `levels` is None,
      float32 in [0, 1], or numbers as the user gave them, which a codec encodes; NaN: missing.
      `Rows` of an array that is mapped from a large file.
    labels: int32 classes, or None.
    levels: number of grey levels per channel: 256, 17 for the digits, or None.
    digests: a hash of each image's stored content; None: its pixels and condition are hashed.
    unlabelled: the reason why there are no labels, for the user; '' for nothing to say.
    condition: a vector, field or tokens for each example, as the user gave them, or None.
    condition_shapes: shapes of the parts that `condition` joins (`configs.kinds`); () for one part.
    names: names of the features of vectors, or of the channels; () for none.
    drawn: whether `pixels` are means and log-variances side by side, the first and second half of
      the channels, of normal laws from which an example is drawn each time it is used.
    captions: what is said of each example, or None.
    """

    pixels: Shaped[Stored, "n *d"]
    labels: Int[np.ndarray, " n"] | None
    levels: int | None
    digests: UInt64[np.ndarray, " n"] | None = None
    unlabelled: str = ""
    condition: Shaped[np.ndarray, "n *c"] | None = None
    names: tuple[str, ...] = ()
    drawn: bool = False
    condition_shapes: tuple[tuple[int, ...], ...] = ()
    captions: Shaped[np.ndarray, " n"] | None = None

    @property
    def example(self) -> tuple[int, ...]:
        """Shape of one example."""
        shape = self.pixels.shape[1:]
        return (*shape[:-1], shape[-1] // 2) if self.drawn else shape

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: Int[np.ndarray, " m"] | slice) -> "Images":
        """The images at `indices`, in that order."""
        return self._with(self.pixels[indices], indices)

    def _with(self, pixels: np.ndarray, indices: Int[np.ndarray, " m"] | slice) -> "Images":
        pick = lambda rows: None if rows is None else rows[indices]
        labels, hashes, condition, captions = map(
            pick, (self.labels, self.digests, self.condition, self.captions)
        )
        return dataclasses.replace(
            self,
            pixels=pixels,
            labels=labels,
            digests=hashes,
            condition=condition,
            captions=captions,
        )

    def content(self) -> UInt64[np.ndarray, " n"]:
        """A hash of each image: `digests`, or hashes of the pixels and what is said of them.

        That is the captions if there are any, from which the condition is made, or the condition.
        """
        if self.digests is not None:
            return self.digests
        pixels = self.pixels
        if isinstance(pixels, Rows):  # of which one may be there several times
            hashes = digests.of_rows(pixels.array)[pixels.indices]
        else:
            hashes = digests.of_rows(pixels)
        beside = self.condition if self.captions is None else digests.of_texts(self.captions)
        if beside is None:
            return hashes
        return digests.of_rows(np.stack([hashes, digests.of_rows(beside)], axis=1))


@dataclass(frozen=True, eq=False)
class Splits:
    """Training images, held-out images and the name of the dataset."""

    train: Images
    test: Images
    name: str


def fingerprint(images: Images) -> str:
    """SHA-256 of the pixels, their shape and type, the levels, the labels and the conditions."""
    pixels, labels = images.pixels, images.labels
    kind = pixels.shape, pixels.dtype.str, images.levels, labels is not None
    digest = hashlib.sha256(repr(kind).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels, np.int32).data)
    if images.condition is not None:
        digest.update(repr((images.condition.shape, images.condition.dtype.str)).encode())
        digest.update(np.ascontiguousarray(images.condition).data)
    return digest.hexdigest()


def patient(log: Log, seconds: float = 10.0) -> Log:
    """`log` for progress: silent until `seconds` have passed since its last line."""
    last = time.monotonic()

    def tell(message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            log(message)

    return tell


def hold_out(images: Images, fraction: float, name: str) -> Splits:
    """The splits of a dataset that has a single set of images, divided by `held_out`.

    The pixels are reordered in place, as there may not be enough memory for a copy. Numbers that
    are read-only, since they stay in a large file, stay there; held-out ones are read.
    """
    hashes = images.content()
    images = dataclasses.replace(images, digests=hashes)
    train, test = held_out(hashes, fraction)
    pixels = images.pixels
    if not pixels.flags.writeable:
        kept = Rows(pixels, train) if images.levels is None else pixels[train]
        return Splits(images._with(kept, train), images.take(test), name)  # type: ignore[arg-type]
    _put_last(pixels, train, test)
    parts = pixels[: len(train)], pixels[len(train) :]
    return Splits(images._with(parts[0], train), images._with(parts[1], test), name)


def _put_last(
    rows: Shaped[np.ndarray, "n *shape"], first: Int[np.ndarray, " k"], last: Int[np.ndarray, " m"]
) -> None:
    """Reorder in place: rows `first`, then rows `last`; together they are all, and both ascend."""
    moved = rows[last]
    for start in range(0, len(first), _BLOCK):  # never over one that is still to be moved
        block = first[start : start + _BLOCK]
        rows[start : start + len(block)] = rows[block]
    rows[len(first) :] = moved


def held_out(
    of: int | UInt64[np.ndarray, " n"], fraction: float
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " m"]]:
    """Indices of the images to train on and to hold out, both ascending.

    An image is held out if its hash, as a fraction of 2^64, is below `fraction`. So other images
    have no influence, a copy is on the side of its original, and the number held out is binomial.
    If all would fall on one side, the smallest hash is held out, or the largest is trained on.

    of: the hashes of the images; or their number, to use hashes of 0, 1, ... instead.
    Raises ValueError if nothing would be left to train on.
    """
    hashes = digests.of_rows(np.arange(of)) if isinstance(of, int) else of
    if len(hashes) < 2:
        raise ValueError(
            f"data.test_fraction must leave examples to train on, got {fraction} of {len(hashes)} "
            "examples"
        )
    below = int((hashes < np.uint64(int(fraction * 2.0**64))).sum())
    size = min(max(below, 1), len(hashes) - 1)
    order = np.argsort(hashes, kind="stable")
    return np.sort(order[size:]), np.sort(order[:size])
