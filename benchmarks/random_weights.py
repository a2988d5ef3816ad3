"""Reproducible random weights and images, from NumPy's RandomState, whose streams are frozen.

Every tensor has a stream of its own, of its name, so that order and selection do not matter. Sizes
are such that signals neither vanish nor explode, for features of 1e-8 would agree with anything.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np

Shape = tuple[int, ...]


def weights(shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """A tensor for each name and shape of PyTorch's layout, of a kind recognized by its name."""
    return {name: weight(name, shape) for name, shape in shapes.items()}


def weight(name: str, shape: Shape) -> np.ndarray:
    """Kernels and matrices: uniform with variance 2 / fan_in; others see `RANGES`."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    reach = math.sqrt(6 / max(math.prod(shape[1:]), 1))
    low, high = next((r for end, r in RANGES.items() if name.endswith(end)), (-reach, reach))
    return (low + (high - low) * random.random_sample(shape)).astype(np.float32)


RANGES = {
    "running_var": (0.5, 1.5),
    "running_mean": (-0.2, 0.2),
    "bn.weight": (0.5, 1.5),
    "norm1.weight": (0.5, 1.5),
    "norm2.weight": (0.5, 1.5),
    "norm.weight": (0.5, 1.5),
    "gamma": (-0.5, 0.5),
    "cls_token": (-1.0, 1.0),
    "pos_embed": (-1.0, 1.0),
    "bias": (-0.2, 0.2),
}
"""Ranges of numbers, by the end of their tensor's name."""


def torch_shapes(places: Mapping[tuple[str, ...], Shape]) -> dict[str, Shape]:
    """Names and shapes of a state dict from parts of names and shapes [..., in, out]."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}
    return {
        ".".join(path): tuple(shape[axis] for axis in order.get(len(shape), range(len(shape))))
        for path, shape in places.items()
    }


def images(count: int, height: int, width: int) -> np.ndarray:
    """uint8 [count, height, width, 3]: noise over a slope, so that neighbours are alike."""
    noise = np.random.RandomState(height * width).randint(0, 128, (count, height, width, 3))
    slope = 127 * np.arange(width) // width
    return (noise + slope[:, None]).astype(np.uint8)
