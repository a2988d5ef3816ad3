"""Parquet files from strangers: their description is within the budget before it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from untrusted import limits
from untrusted.errors import UntrustedError

PARQUET = b"PAR1"
_DESCRIPTION = re.compile(
    rb"\x15[\x80-\xff]*[\0-\x7f]\x19((?P<few>[\x0c\x1c\x2c\x3c\x4c\x5c\x6c\x7c\x8c\x9c\xac\xbc\xcc\xdc\xec])|\xfc(?P<many>[\x80-\xff]*[\0-\x7f]))",
    re.DOTALL,
)
"""The beginning of a Parquet file's description: a version, and the count of its columns and one.

(Thrift's compact protocol: field 1 is an integer, field 2 a list of structures.)
"""
_START = 32


def is_parquet(data: memoryview) -> bool:
    """True for a file that begins as Parquet's do."""
    return data[: len(PARQUET)] == PARQUET


def opened(data: memoryview) -> Any:
    """An opened Parquet file, whose description is within the budget."""
    import pyarrow
    from pyarrow import parquet

    footer = int.from_bytes(data[-8:-4], "little")
    if len(data) < 12 or data[-4:] != PARQUET or footer > len(data) - 12:
        raise UntrustedError("it is a Parquet file that is damaged or cut off")
    if footer > limits.TABLE_FOOTER_BYTES:
        raise UntrustedError(
            f"its description must have at most {limits.TABLE_FOOTER_BYTES:,} bytes, it has "
            f"{footer:,}: refused"
        )
    # Counted before pyarrow does, to which many columns of one name are hours of work.
    start = bytes(data[len(data) - 8 - footer : len(data) - 8][:_START])
    if not (found := _DESCRIPTION.match(start)):
        raise UntrustedError("the description of its columns is damaged")
    check_columns((found["few"][0] >> 4 if found["few"] else _varint(found["many"])) - 1)
    return parquet.ParquetFile(
        pyarrow.BufferReader(pyarrow.py_buffer(data)), page_checksum_verification=True
    )


def _varint(data: bytes) -> int:
    """An integer in Thrift's compact protocol: seven bits a byte, the lowest first."""
    return sum((byte & 127) << 7 * k for k, byte in enumerate(data))


def batches(data: memoryview, columns: list[str]) -> Iterator[Any]:
    """Batches of rows of some columns; UntrustedError for a file that unpacks to too much."""
    file = opened(data)
    _check_unpacked(file.metadata, len(columns), len(data))
    size = max(1, limits.CHUNK_BYTES // max(len(columns), 1))
    yield from file.iter_batches(size, columns=columns, use_threads=False)


def _check_unpacked(told: Any, columns: int, size: int) -> None:
    """Raise UntrustedError for a file of `size` bytes that unpacks to too many."""
    if told.num_row_groups > limits.TABLE_GROUPS:
        raise UntrustedError(
            f"it has {told.num_row_groups:,} groups of rows, must have at most "
            f"{limits.TABLE_GROUPS:,}: refused"
        )
    most = max(limits.UNPACKED_BYTES, limits.UNPACKED_TIMES * size)
    groups = (told.row_group(k).total_byte_size for k in range(told.num_row_groups))
    total = max(sum(max(each, 0) for each in groups), told.num_rows * max(columns, 1) * 8)
    if total > most:
        raise UntrustedError(
            f"it unpacks to {total:,} bytes, must be at most {most:,} for a file of {size:,}: if "
            "you trust it, save it as .npy"
        )


def check_columns(count: int) -> None:
    """Raise UntrustedError for more columns than a table may have."""
    if count > limits.TABLE_COLUMNS:
        raise UntrustedError(
            f"it has {count:,} columns, must have at most {limits.TABLE_COLUMNS:,}: refused"
        )
