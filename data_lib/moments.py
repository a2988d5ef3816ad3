"""Mean and standard deviation of data too large to be copied to float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

Row = tuple[float, ...]

BLOCK_VALUES = 2**22
"""Numbers that are converted to float64 at a time."""


def moments(values: np.ndarray, what: str, names: tuple[str, ...] = ()) -> tuple[Row, Row]:
    """(mean, standard deviation) of each feature of vectors [n, d], or channel of [n, ..., c].

    Values that are NaN are left out. Raises ValueError, naming the feature, for one that is
    constant or has no value.
    """
    last = values.shape[-1]
    count, total = np.zeros(last), np.zeros(last)
    for rows in in_rows(values):
        count += np.isfinite(rows).sum(axis=0)
        total += np.nansum(rows, axis=0)
    mean = total / np.maximum(count, 1)
    square = sum(np.nansum((rows - mean) ** 2, axis=0) for rows in in_rows(values))
    std = np.sqrt(square / np.maximum(count, 1))
    rounding = 4 * np.finfo(values.dtype if values.dtype.kind == "f" else np.float64).eps
    for k in np.flatnonzero(std <= rounding * np.abs(mean)):
        told = f"{k} ({names[k]})" if names else f"{k}"
        kind = "column" if values.ndim == 2 else "channel"
        why = f"is always {mean[k]:.6g}" if count[k] else "has no values"
        raise ValueError(
            f"{kind} {told} of the {what} {why}, so that it has no scale: leave it out of the "
            "data, or use the codec identity"
        )
    return tuple(mean.tolist()), tuple(std.tolist())


def in_rows(values: np.ndarray) -> Iterator[Float[np.ndarray, "m c"]]:
    """Rows of all but the last axis, in float64, some at a time."""
    block = max(1, BLOCK_VALUES * len(values) // max(values.size, 1))
    for first in range(0, len(values), block):
        yield values[first : first + block].reshape(-1, values.shape[-1]).astype(np.float64)
