"""NumPy's files from strangers: .npy and .npz, of plain numbers and texts.

They are not read by `np.load`, which unpacks whatever size a header claims, and returns entries
of a .npz that are not arrays as bytes.
"""

from __future__ import annotations

import ast
import math
import os
import re
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from untrusted import limits
from untrusted.errors import UntrustedError, plain, shown
from untrusted.opening import map_regular
from untrusted.zips import STORED, ZipEntry, entries

MAGIC = b"\x93NUMPY"
ONLY = "arr_0"
"""The name of the one array of a .npy file."""
_TYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[US][1-9]\d{0,8})")
_LENGTHS = {1: "<H", 2: "<I", 3: "<I"}


@dataclass(frozen=True)
class Header:
    """The header of an array; `offset`: bytes before its numbers."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def size(self) -> int:
        """Number of bytes of the array's numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_arrays(
    path: Path | str, names: Collection[str] | None = None, *, named: bool = False
) -> dict[str, np.ndarray]:
    """Arrays of a .npz file by name, or the array of a .npy file under 'arr_0'.

    Only what is asked for is unpacked, and only after its declared size is known to be within the
    budget. The numbers of a large .npy stay in the file and cannot be written to.

    Args:
      path: the file, whose content tells its kind.
      names: names of the wanted arrays, which need not all be there; None for all.
      named: whether the user typed the path (see `open_regular`).

    Raises:
      UntrustedError: the file is neither, damaged or encrypted, holds objects, or entries among
        those wanted that are not arrays, or unpacks to more than max(128 MiB, 50 times its size).
      OSError: there is no such file, or it cannot be read.
    """
    data, file = map_regular(path, named=named), plain(os.path.basename(path))
    try:
        if data[: len(MAGIC)] == MAGIC:
            return {ONLY: _whole(data)} if names is None or ONLY in names else {}
        return _unpack(_wanted(data, names), len(data))
    except UntrustedError as error:
        raise UntrustedError(f"{file}: {error}") from error


def read_headers(path: Path | str, *, named: bool = False) -> dict[str, Header]:
    """Types and shapes of the arrays in such a file; nothing is unpacked.

    Entries of a .npz that are not arrays are left out. Errors are those of `read_arrays`.
    """
    data, file = map_regular(path, named=named), plain(os.path.basename(path))
    try:
        if data[: len(MAGIC)] == MAGIC:
            return {ONLY: _header(iter([data]))}
        return {name: _header(entry.unpacked()) for name, entry in _arrays(data).items()}
    except UntrustedError as error:
        raise UntrustedError(f"{file}: {error}") from error


def _arrays(data: memoryview) -> dict[str, ZipEntry]:
    if data[:2] != b"PK":
        raise UntrustedError("it is neither a .npy nor a .npz file")
    found = {name.removesuffix(".npy"): entry for name, entry in entries(data).items()
             if name.endswith(".npy")}  # fmt: skip
    if len(found) > limits.ARRAYS:
        raise UntrustedError(
            f"it has {len(found):,} arrays, must have at most {limits.ARRAYS:,}: refused"
        )
    return found


def _wanted(data: memoryview, names: Collection[str] | None) -> dict[str, ZipEntry]:
    arrays = _arrays(data)
    if names is not None:
        return {name: entry for name, entry in arrays.items() if name in names}
    if others := [name for name in entries(data) if not name.endswith(".npy")]:
        raise UntrustedError(f"its entry {plain(others[0])} is no array: refused")
    return arrays


def _unpack(wanted: dict[str, ZipEntry], size: int) -> dict[str, np.ndarray]:
    most = max(limits.UNPACKED_BYTES, limits.UNPACKED_TIMES * size)
    total = sum(entry.size for entry in wanted.values())
    if total > most:
        raise UntrustedError(
            f"its arrays unpack to {total:,} bytes, must be at most {most:,} for a file of "
            f"{size:,}: if you trust it, save them uncompressed with np.save"
        )
    return {name: _array(entry) for name, entry in wanted.items()}


def _whole(data: memoryview) -> np.ndarray:
    """The array of a .npy file."""
    header = _header(iter([data[: limits.ARRAY_HEADER_BYTES + 12]]))
    numbers = data[header.offset :]
    if len(numbers) != header.size:
        raise UntrustedError(
            f"its array {_outline(header)} takes {header.size:,} bytes, it has {len(numbers):,}: "
            "damaged or cut off"
        )
    array = _shaped(np.frombuffer(numbers, np.uint8), header)
    return array if header.size > limits.MAPPED_BYTES else array.copy(order="K")


def _array(entry: ZipEntry) -> np.ndarray:
    """The array of an entry; memory holds only the array and one piece more."""
    if entry.method == STORED and len(entry.packed) != entry.size:
        raise UntrustedError(f"entry {plain(entry.name)} of the zip has two lengths: forged")
    header = _header(entry.unpacked())
    if header.offset + header.size != entry.size:
        raise UntrustedError(
            f"its array {plain(entry.name)} {_outline(header)} takes {header.size:,} bytes, it has "
            f"{entry.size - header.offset:,}: damaged or forged"
        )
    numbers, at = np.empty(header.size, np.uint8), -header.offset
    for piece in entry.unpacked():
        part = piece[max(0, -at) :]
        numbers[max(0, at) : max(0, at) + len(part)] = np.frombuffer(part, np.uint8)
        at += len(piece)
    return _shaped(numbers, header)


def _shaped(numbers: np.ndarray, header: Header) -> np.ndarray:
    return numbers.view(header.dtype).reshape(header.shape, order="F" if header.fortran else "C")


def _outline(header: Header) -> str:
    return f"[{', '.join(map(str, header.shape))}] of {header.dtype}"


def _header(pieces: Iterable[bytes | memoryview]) -> Header:
    """The header at the start of an array's bytes."""
    start = b""
    for piece in pieces:
        start += piece[: limits.ARRAY_HEADER_BYTES + 12]
        if len(start) >= limits.ARRAY_HEADER_BYTES + 12:
            break
    if start[: len(MAGIC)] != MAGIC or len(start) < 12 or start[6] not in _LENGTHS:
        raise UntrustedError("one of its arrays is none: damaged, or of another kind")
    layout = _LENGTHS[start[6]]
    (length,) = struct.unpack_from(layout, start, 8)
    offset = 8 + struct.calcsize(layout)
    text = start[offset : offset + length]
    if length > limits.ARRAY_HEADER_BYTES or len(text) < length:
        raise UntrustedError(f"an array's header has {length:,} bytes: damaged or forged")
    dtype, shape, fortran = _parsed(text)
    return Header(dtype, shape, fortran, offset + length)


def _parsed(text: bytes) -> tuple[np.dtype, tuple[int, ...], bool]:
    try:
        said = ast.literal_eval(text.decode("latin1").strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise UntrustedError("an array's header is damaged") from error
    if not isinstance(said, dict) or set(said) != {"descr", "fortran_order", "shape"}:
        raise UntrustedError("an array's header is damaged")
    kind, shape, fortran = said["descr"], said["shape"], said["fortran_order"]
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise UntrustedError(
            f"an array is of type {shown(kind)}, must be of numbers or texts, and never of Python "
            "objects (which could run code): refused"
        )
    if (
        not isinstance(shape, tuple)
        or len(shape) > limits.ARRAY_DIMENSIONS
        or not all(type(n) is int and n >= 0 for n in shape)
        or math.prod(max(n, 1) for n in shape) > limits.ARRAY_NUMBERS
        or type(fortran) is not bool
    ):
        raise UntrustedError(f"an array has the shape {shown(shape)}: damaged or forged")
    try:
        return np.dtype(kind), shape, fortran
    except (TypeError, ValueError) as error:
        raise UntrustedError(f"an array is of type {shown(kind)}: refused") from error
