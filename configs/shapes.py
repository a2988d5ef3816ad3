"""The shape of one example, however a config states it."""

from __future__ import annotations

from typing import Any


def shape_of(config: Any) -> tuple[int, ...]:
    """data.shape, channels last; if that is (), a square picture's (size, size, channels).

    A shape of rank 1 is a vector of features; of rank r >= 2, r - 1 spatial axes and channels.
    """
    data = config.data
    return tuple(data.get("shape", ())) or (data.image_size, data.image_size, data.num_channels)
