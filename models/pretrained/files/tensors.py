"""Arrays that stay in their file until they are used.

A foreign checkpoint holds the weights, their average and two moments of the optimizer; an import
needs two of the four, one tensor at a time. So a reader returns `Tensor`s, which refer to checked
positions in the file; `np.asarray(tensor)` reads the numbers.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from untrusted import UntrustedError, limits, map_regular, plain, shown


class PretrainedError(UntrustedError):
    """A foreign checkpoint that cannot be used; the first line of the message says why."""


def map_file(path: Path, *, named: bool = True) -> memoryview:
    """The bytes of a file, mapped: only those that are used are read.

    named: whether the user typed the path (see `untrusted.open_regular`).

    Raises:
      PretrainedError: not a regular file, or empty.
      OSError: it cannot be opened.
    """
    try:
        return map_regular(path, named=named)
    except FileNotFoundError as error:
        raise PretrainedError(f"there is no file {plain(str(path), 200)}") from error
    except UntrustedError as error:
        raise PretrainedError(str(error)) from error


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Add the file's name to refusals raised within this context."""
    try:
        yield
    except UntrustedError as error:
        raise PretrainedError(f"{plain(path.name)}: {error}") from error


@dataclass(eq=False)
class Storage:
    """A sequence of `size` numbers in a file.

    Attributes:
      data: their bytes; empty until their place is known.
      check: raises UntrustedError if their checksum is wrong; None after that, and for formats
        without checksums.
    """

    dtype: np.dtype
    size: int
    data: memoryview | None = None
    check: Callable[[], None] | None = None

    def read(self) -> memoryview:
        """The numbers, checked."""
        if self.data is None:
            raise PretrainedError("the file lacks the numbers of a tensor")
        if self.check:
            try:
                self.check()
            except UntrustedError as error:
                raise PretrainedError(str(error)) from error
            self.check = None
        return self.data

    def place(self, data: memoryview) -> None:
        """Set the numbers' bytes; PretrainedError if these are too few."""
        if self.size < 0 or self.size * self.dtype.itemsize > len(data):
            raise PretrainedError(
                f"a tensor storage is declared with {shown(self.size)} numbers of {self.dtype} and "
                f"has {len(data):,} bytes: the file is truncated or forged"
            )
        self.data = data[: self.size * self.dtype.itemsize]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A strided view of a storage; offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.strides) or len(self.shape) > limits.ARRAY_DIMENSIONS:
            raise PretrainedError(
                f"a tensor in the file has no sensible shape, but {len(self.shape):,} dimensions "
                f"and {len(self.strides):,} strides: refused"
            )
        numbers = (self.offset, *self.shape, *self.strides)
        if not all(type(n) is int for n in numbers):
            raise PretrainedError(f"a tensor in the file has no sensible shape {shown(numbers)}")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        empty = 0 in self.shape
        if min(numbers) < 0 or (not empty and max(last + 1, self.size) > self.storage.size):
            raise PretrainedError(
                f"a tensor of shape {shown(self.shape)} reaches beyond its storage of "
                f"{shown(self.storage.size)} numbers: the file is damaged or forged"
            )

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers."""
        return self.storage.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The numbers, copied into memory."""
        data, item = self.storage.read(), self.dtype.itemsize
        flat = np.frombuffer(data, self.dtype)[self.offset :]
        if not self.size:
            return np.zeros(self.shape, dtype or self.dtype.newbyteorder("="))
        steps = [step * item for step in self.strides]
        view = np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
        array = np.array(view, dtype or self.dtype.newbyteorder("="), order="C")
        del flat, view
        if isinstance(data.obj, mmap.mmap):
            # What was read stays in the system's cache and leaves this process.
            data.obj.madvise(mmap.MADV_DONTNEED)
        return array


def contiguous(storage: Storage, shape: tuple[int, ...]) -> Tensor:
    """All of a storage, the last axis running fastest."""
    strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    return Tensor(storage, 0, shape, strides)


class Arrays(Mapping[str, np.ndarray]):
    """Named tensors as arrays, each read anew at every access."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        self.tensors = tensors

    def __getitem__(self, name: str) -> np.ndarray:
        return np.asarray(self.tensors[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of named arrays or tensors, without reading any."""
    known = weights.tensors if isinstance(weights, Arrays) else weights
    return {name: tuple(known[name].shape) for name in known}


DTYPES = {
    name: np.dtype(kind)
    for name, kind in {
        "float64": np.float64, "float32": np.float32, "float16": np.float16,
        "bfloat16": jnp.bfloat16, "int64": np.int64, "int32": np.int32, "int16": np.int16,
        "int8": np.int8, "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32,
        "uint64": np.uint64, "bool": np.bool_,
    }.items()
}  # fmt: skip
"""The kinds of numbers that are admitted, by NumPy's names."""
