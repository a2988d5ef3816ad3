"""The picture that fits an array, by its number of spatial axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Shaped

from eval_lib.array_pictures.base import Shown, shown
from eval_lib.array_pictures.corner import corner_png
from eval_lib.array_pictures.fields import images_png, slices_png
from eval_lib.array_pictures.lines import lines_png

PICTURES: dict[int, Callable[[Shown], bytes]] = {
    0: corner_png,
    1: lines_png,
    2: images_png,
    3: slices_png,
}
"""Pictures of arrays by their number of spatial axes."""


def picture_of(
    samples: Shaped[np.ndarray, "..."],
    data: Shaped[np.ndarray, "..."] | None = None,
    names: Sequence[str] = (),
    *,
    units: Sequence[str] = (),
    truth: Shaped[np.ndarray, "..."] | None = None,
    title: str = "",
) -> bytes:
    """A PNG file of samples [n, *axes, channels], beside data [m, *axes, channels] if there are.

    names, units: of each channel. truth: one array [*axes, channels], marked. Raises ValueError for
    arrays that do not fit one another, that are not finite, or that have more than three axes.
    """
    what = shown(samples, data, names, units, truth, title)
    axes = len(what.layout.axes)
    if axes not in PICTURES:
        raise ValueError(
            f"there is no picture of arrays with {axes} spatial axes (at most {max(PICTURES)}): "
            "give a slice"
        )
    return PICTURES[axes](what)
