"""flax's msgpack files of a state: maps, lists, numbers, texts and arrays.

An array is an extension of type 1 (a number with NumPy's type, of type 3) around a list of its
shape, the name of its dtype and its bytes, which stay in the file (`tensors.Tensor`). The msgpack
library is not used, as it would copy a gigabyte to give a fifth of it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.pretrained.files.tensors import (
    DTYPES,
    PretrainedError,
    Storage,
    Tensor,
    contiguous,
    in_file,
    map_file,
)
from untrusted import limits, shown

ARRAY, SCALAR = 1, 3


@dataclass
class _Count:
    """Number of entries that a file may still have, in all its maps, lists and arrays."""

    left: int = limits.MSGPACK_ENTRIES

    def spend(self, depth: int) -> None:
        """Count one entry; PretrainedError if none is left, or it is too deep."""
        self.left -= 1
        if self.left < 0 or depth > limits.MSGPACK_DEPTH:
            raise PretrainedError(
                f"it has more than {limits.MSGPACK_ENTRIES:,} entries or is nested more than "
                f"{limits.MSGPACK_DEPTH} deep, which no published checkpoint is: refused"
            )


class _Reader:
    def __init__(self, data: memoryview, count: _Count):
        self.data, self.at, self.count = data, 0, count

    def take(self, size: int) -> memoryview:
        piece = self.data[self.at : self.at + size]
        if len(piece) < size:
            raise PretrainedError(
                f"it declares {size:,} bytes where {len(piece):,} are left: truncated or forged"
            )
        self.at += size
        return piece

    def number(self, layout: str) -> Any:
        return struct.unpack(">" + layout, self.take(struct.calcsize(layout)))[0]

    def text(self, size: int) -> str:
        if size > limits.NAME_CHARACTERS:
            raise PretrainedError(f"it has a name of {size:,} characters: refused")
        return str(self.take(size), "utf-8", "replace")

    def sequence(self, size: int, depth: int) -> list[Any]:
        return [self.value(depth) for _ in range(size)]

    def mapping(self, size: int, depth: int) -> dict[Any, Any]:
        found = {}
        for _ in range(size):
            key = self.value(depth)
            if not isinstance(key, str | int):
                raise PretrainedError("a key of its maps is neither text nor number: refused")
            if key in found:
                raise PretrainedError(f"it has the key {shown(key)} twice: damaged or forged")
            found[key] = self.value(depth)
        return found

    def extension(self, size: int, depth: int) -> Any:
        kind, body = self.number("b"), _Reader(self.take(size), self.count)
        if kind not in (ARRAY, SCALAR):
            raise PretrainedError(f"it has an extension of type {kind}: refused")
        tensor = _tensor(body.value(depth))
        return np.asarray(tensor).item() if kind == SCALAR and tensor.size == 1 else tensor

    def value(self, depth: int = 0) -> Any:
        self.count.spend(depth)
        code, inner = self.number("B"), depth + 1
        if code < 0x80 or code >= 0xE0:
            return code if code < 0x80 else code - 0x100
        if code < 0x90:
            return self.mapping(code - 0x80, inner)
        if code < 0xA0:
            return self.sequence(code - 0x90, inner)
        if code < 0xC0:
            return self.text(code - 0xA0)
        if code not in _CODES:
            raise PretrainedError(f"it has a byte {code:#x} that stands for nothing: damaged")
        return _CODES[code](self, inner)


def _sized(layout: str, read: Callable[..., Any], *, deep: bool) -> Callable[[_Reader, int], Any]:
    if deep:
        return lambda reader, depth: read(reader, reader.number(layout), depth)
    return lambda reader, depth: read(reader, reader.number(layout))


def _plain(layout: str) -> Callable[[_Reader, int], Any]:
    return lambda reader, depth: reader.number(layout)


def _fixed(size: int) -> Callable[[_Reader, int], Any]:
    return lambda reader, depth: reader.extension(size, depth)


_CODES: dict[int, Callable[[_Reader, int], Any]] = {
    0xC0: lambda reader, depth: None,
    0xC2: lambda reader, depth: False,
    0xC3: lambda reader, depth: True,
    **{0xC4 + i: _sized(n, _Reader.take, deep=False) for i, n in enumerate("BHI")},
    **{0xC7 + i: _sized(n, _Reader.extension, deep=True) for i, n in enumerate("BHI")},
    **{0xCA + i: _plain(n) for i, n in enumerate("fdBHIQbhiq")},
    **{0xD4 + i: _fixed(1 << i) for i in range(5)},
    **{0xD9 + i: _sized(n, _Reader.text, deep=False) for i, n in enumerate("BHI")},
    **{0xDC + i: _sized(n, _Reader.sequence, deep=True) for i, n in enumerate("HI")},
    **{0xDE + i: _sized(n, _Reader.mapping, deep=True) for i, n in enumerate("HI")},
}


def _tensor(parts: Any) -> Tensor:
    if not isinstance(parts, list) or len(parts) != 3 or not isinstance(parts[0], list):
        raise PretrainedError("an array in the file is not one of flax: damaged or forged")
    shape, name, data = parts
    name = str(name[:20], "ascii", "replace") if isinstance(name, memoryview) else name
    if not isinstance(name, str) or name not in DTYPES or not isinstance(data, memoryview):
        raise PretrainedError(f"an array in the file is of type {shown(name)}: refused")
    sensible = len(shape) <= limits.ARRAY_DIMENSIONS and all(type(n) is int for n in shape)
    if not sensible or min(shape, default=0) < 0:
        raise PretrainedError(f"an array in the file has no sensible shape {shown(shape)}: refused")
    storage = Storage(DTYPES[name], math.prod(shape))
    storage.place(data)
    if len(data) != storage.size * storage.dtype.itemsize:
        raise PretrainedError(f"an array of shape {shown(shape)} has {len(data):,} bytes: damaged")
    return contiguous(storage, tuple(shape))


def read(path: Path | str, *, named: bool = True) -> Any:
    """Content of a msgpack file of flax, with tensors in place of arrays.

    named: whether the user typed the path (see `untrusted.open_regular`).

    Raises:
      PretrainedError: not such a file, or truncated, damaged or too large when unpacked.
      OSError: it cannot be read.
    """
    path = Path(path)
    reader = _Reader(map_file(path, named=named), _Count())
    with in_file(path):
        value = reader.value()
        if reader.at != len(reader.data):
            raise PretrainedError("it goes on after its end: not a checkpoint of flax")
        return value
