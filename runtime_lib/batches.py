"""A set of images in batches of one size, so that one compiled program serves them all."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def even(total: int, most: int) -> int:
    """A batch size of at most `most` that leaves the last batch no smaller than it must be."""
    return -(-total // -(-total // most))


def numbers(first: int, size: int, total: int, devices: int) -> Int[np.ndarray, " n"]:
    """first, first + 1, ...: `size` of them, rounded up to a multiple of the devices.

    The last of `total` images stands for those beyond it, to be computed and cut off.
    """
    padded = -(-size // devices) * devices
    return np.minimum(np.arange(first, first + padded), total - 1)
