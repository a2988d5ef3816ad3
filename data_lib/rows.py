"""Rows of an array that stays in its file, such as those of the training part."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int, Shaped
from numpy.lib.mixins import NDArrayOperatorsMixin


class Rows(NDArrayOperatorsMixin):
    """array[indices], read when used: `rows[k]` reads what it asks for.

    NumPy's functions, operators and all methods of an array read every row into memory.
    """

    def __init__(self, array: Shaped[np.ndarray, "n *d"], indices: Int[np.ndarray, " m"]) -> None:
        self.array, self.indices = array, indices

    @property
    def shape(self) -> tuple[int, ...]:
        """(number of rows, *shape of one)."""
        return len(self.indices), *self.array.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """Number of numbers."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Any) -> Any:
        """Rows by number, slice, list or mask; `[..., None]` adds an axis and reads nothing."""
        if not isinstance(key, tuple):
            return self.array[self.indices[key]]
        if len(key) == 2 and key[0] is Ellipsis and key[1] is None:
            return Rows(self.array[..., None], self.indices)
        return np.asarray(self)[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self.array[self.indices]
        return found if dtype is None else found.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        read = [np.asarray(each) if isinstance(each, Rows) else each for each in inputs]
        return getattr(ufunc, method)(*read, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)
