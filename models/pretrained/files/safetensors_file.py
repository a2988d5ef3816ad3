"""safetensors files: named arrays behind a JSON header, read lazily and written whole.

A file is the length of its header (8 bytes), the header (JSON: type, shape and place of each array,
and texts), and the numbers, which are covered without a gap.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from models.pretrained.files.tensors import (
    DTYPES,
    Arrays,
    PretrainedError,
    Storage,
    Tensor,
    contiguous,
    in_file,
    map_file,
)
from untrusted import UntrustedError, limits, ours, parse_json, plain, shown

NUMBERS = {
    "F64": DTYPES["float64"], "F32": DTYPES["float32"], "F16": DTYPES["float16"],
    "BF16": DTYPES["bfloat16"], "I64": DTYPES["int64"], "I32": DTYPES["int32"],
    "I16": DTYPES["int16"], "I8": DTYPES["int8"], "U8": DTYPES["uint8"], "BOOL": DTYPES["bool"],
}  # fmt: skip
"""The types that are read; no weights are published in the others that `safetensors` has."""
_UNSOUND = "it is no sound safetensors file, but truncated, damaged or of another kind ("


def read_tensors(path: Path | str, *, named: bool = True) -> tuple[Arrays, dict[str, str]]:
    """(arrays by name, texts of the header) of a safetensors file.

    The header is checked against the file before any array is made. It is parsed here, because
    the library would parse one of any length. The arrays stay in the file until they are used.

    named: whether the user typed the path (see `untrusted.open_regular`).

    Raises:
      PretrainedError: not such a file, truncated, damaged, or with numbers of a type that weights
        do not have.
      OSError: it cannot be read.
    """
    data = map_file(Path(path), named=named)
    with in_file(Path(path)):
        header, numbers = _header(data)
        texts = header.pop("__metadata__", {})
        if not isinstance(texts, dict) or not all(isinstance(v, str) for v in texts.values()):
            raise PretrainedError("its header has more than texts beside its arrays: damaged")
        if len(header) > limits.TENSORS:
            raise PretrainedError(
                f"it has {len(header):,} tensors, must have at most {limits.TENSORS:,}: refused"
            )
        found = {name: _tensor(name, said, numbers) for name, said in header.items()}
        _check_places(list(found.values()), len(numbers))
        return Arrays({name: tensor for name, (tensor, _) in found.items()}), texts


def _header(data: memoryview) -> tuple[dict[str, Any], memoryview]:
    """(content of the header, the numbers after it)."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise PretrainedError(_UNSOUND + "its header is longer than the file)")
    if length > limits.SAFETENSORS_HEADER_BYTES:
        raise PretrainedError(
            f"its header has {length:,} bytes, must have at most "
            f"{limits.SAFETENSORS_HEADER_BYTES:,}: refused"
        )
    try:
        text = bytes(data[8 : 8 + length])
        return parse_json(text, limits.SAFETENSORS_ITEMS), data[8 + length :]
    except UntrustedError as error:
        raise PretrainedError(f"{_UNSOUND}in its header {error})") from error


def _tensor(name: str, said: Any, numbers: memoryview) -> tuple[Tensor, int]:
    """(a tensor of the header, offset of its numbers)."""
    what = plain(name)
    if len(name) > limits.NAME_CHARACTERS:
        raise PretrainedError(f"it has a name of {len(name):,} characters: refused")
    if not isinstance(said, dict) or set(said) != {"dtype", "shape", "data_offsets"}:
        raise PretrainedError(f"{_UNSOUND}its header says {shown(said)} of {what})")
    kind, shape, places = said["dtype"], said["shape"], said["data_offsets"]
    if not isinstance(kind, str) or kind not in NUMBERS:
        raise PretrainedError(
            f"{what} is of type {plain(kind)}, must be one of {', '.join(NUMBERS)}"
        )
    if not (_counts(shape, limits.ARRAY_DIMENSIONS) and _counts(places, 2) and len(places) == 2):
        raise PretrainedError(
            f"{_UNSOUND}{what} has the shape {shown(shape)} at {shown(places)}, which is none)"
        )
    start, end = places
    storage = Storage(NUMBERS[kind], math.prod(shape))
    if end - start != storage.size * storage.dtype.itemsize or end > len(numbers):
        raise PretrainedError(f"{_UNSOUND}{what} takes more or less than its place in the file)")
    storage.place(numbers[start:end])
    return contiguous(storage, tuple(shape)), start


def _counts(value: Any, most: int) -> bool:
    """True if a value is a list of at most `most` non-negative integers."""
    return (
        isinstance(value, list)
        and len(value) <= most
        and all(type(n) is int and n >= 0 for n in value)
    )


def _check_places(found: list[tuple[Tensor, int]], size: int) -> None:
    """Raise PretrainedError unless the arrays cover all numbers, and none twice."""
    at = 0
    places = sorted((start, start + len(tensor.storage.read())) for tensor, start in found)
    for start, end in places:
        if start != at:
            raise PretrainedError(_UNSOUND + "its arrays overlap or leave gaps)")
        at = end
    if at != size:
        raise PretrainedError(_UNSOUND + "it goes on after its arrays)")


def write_tensors(
    path: Path | str, tensors: Mapping[str, np.ndarray], texts: Mapping[str, str]
) -> None:
    """Write named arrays and a header of texts into a new file, which appears when complete.

    Raises:
      FileExistsError: there is something already.
      OSError: it cannot be written; nothing is then left behind.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    create_file(Path(path), lambda temporary: save_file(arrays, temporary, dict(texts)))


def create_file(path: Path, write: Callable[[Path], object]) -> None:
    """Rename the file that `write` makes at a temporary path to `path`, atomically.

    FileExistsError if anything has that name, even if it appeared in the meantime.
    """
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    temporary = ours.temporary(path)
    os.close(ours.create(temporary))  # with the rights of any new file, which `write` may tighten
    try:
        mode = temporary.stat().st_mode
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        ours.put_new(temporary, path)
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
