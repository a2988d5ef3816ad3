"""What every source returns, and the held-out split of a dataset that has none."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

Log = Callable[[str], None]

# A constant of the split, on purpose not the training seed: another seed must not
# move held-out images into the training set.
_SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class Images:
    """A whole split in memory.

    pixels: uint8 in 0..levels-1, or float32 in [0, 1] where `levels` is None (continuous).
    labels: int32 classes, or None.
    levels: number of grey levels per channel: 256, 17 for the digits, or None.
    """

    pixels: Shaped[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, " n"] | None
    levels: int | None

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: Int[np.ndarray, " m"] | slice) -> "Images":
        """The images at `indices`, in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return Images(self.pixels[indices], labels, self.levels)


@dataclass(frozen=True, eq=False)
class Splits:
    """Training images, held-out images and what to call the dataset."""

    train: Images
    test: Images
    name: str


def patient(log: Log, seconds: float = 10.0) -> Log:
    """`log` for progress: silent until `seconds` have gone by since it last spoke."""
    last = time.monotonic()

    def tell(message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            log(message)

    return tell


def hold_out(images: Images, fraction: float, name: str) -> Splits:
    """The splits of a dataset that has one set of images, as `held_out` draws them."""
    train, test = held_out(len(images), fraction)
    return Splits(images.take(train), images.take(test), name)


def held_out(count: int, fraction: float) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " m"]]:
    """Indices to train on and to hold out: m = round(fraction * count), at least one.

    Both are in order and depend on the arguments only: a fixed permutation is cut, so classes
    that lie in a row are mixed and the split is the same in every run.
    Raises ValueError where nothing would be left to train on.
    """
    size = max(1, round(fraction * count))
    if size >= count:
        raise ValueError(
            f"data.test_fraction must leave images to train on, got {fraction} of {count} images"
        )
    order = np.random.default_rng(_SPLIT_SEED).permutation(count)
    return np.sort(order[size:]), np.sort(order[:size])
