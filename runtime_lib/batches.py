"""Sets of images in batches of one size, so that one compiled program serves them all."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def even(total: int, most: int) -> int:
    """A batch size of at most `most` that makes the last batch as full as possible."""
    return -(-total // -(-total // most))


def numbers(first: int, size: int, total: int, devices: int) -> Int[np.ndarray, " n"]:
    """first, first + 1, ...: `size` of them, rounded up to a multiple of the devices.

    Numbers beyond the last of `total` images are replaced by it; their results are dropped.
    """
    padded = -(-size // devices) * devices
    return np.minimum(np.arange(first, first + padded), total - 1)
