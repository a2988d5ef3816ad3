"""Coding and decoding of large pictures tile by tile, in bounded memory.

Tiles of a given size begin at every three quarters of it, so that neighbours share a quarter, over
which they are blended linearly: with the tile above, then with the one to the left, both of which
are blended already. Of each tile the first three quarters are kept. The result is not that of the
whole picture: normalizations and attention see one tile (docs/latents.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Picture = Float[np.ndarray, "b h w c"]
SHARED = 0.25
"""Share of a tile that its neighbour covers, too."""


def needed(x: Picture, side: int) -> bool:
    """True for pictures that are larger than a tile; `side` 0 is one of any size."""
    return bool(side) and max(x.shape[1:3]) > side


def tiled(function: Callable[[Picture], Picture], x: Picture, before: int, after: int) -> Picture:
    """`function` of tiles of x, whose side is `before` and in the result `after`, blended."""
    stride, extent = int(before * (1 - SHARED)), int(after * SHARED)
    rows: list[list[np.ndarray]] = []
    for top in range(0, x.shape[1], stride):
        row: list[np.ndarray] = []
        for left in range(0, x.shape[2], stride):
            tile = np.array(function(x[:, top : top + before, left : left + before]))
            if rows:
                _blend(rows[-1][len(row)], tile, extent, axis=1)
            if row:
                _blend(row[-1], tile, extent, axis=2)
            row.append(tile)
        rows.append(row)
    kept = after - extent
    return np.concatenate(
        [np.concatenate([tile[:, :kept, :kept] for tile in row], axis=2) for row in rows], axis=1
    )


def _blend(before: Picture, tile: Picture, extent: int, axis: int) -> None:
    """Fade from the end of `before` into the beginning of `tile`, in place."""
    n = min(before.shape[axis], tile.shape[axis], extent)
    end, begin = (np.moveaxis(a, axis, 0) for a in (before, tile))
    weight = (np.arange(n, dtype=tile.dtype) / n).reshape(-1, 1, 1, 1) if n else 0.0
    begin[:n] = end[len(end) - n :] * (1 - weight) + begin[:n] * weight
