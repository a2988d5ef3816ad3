"""Tables from strangers: CSV and Parquet files, read by pyarrow a piece at a time.

Rows are counted from 1, without the line of names. Of Parquet only columns of plain numbers and
texts are read; Arrow's extension types, which may name classes of Python, stay what they store.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int32

from untrusted import limits
from untrusted.errors import UntrustedError, plain, shown
from untrusted.opening import map_regular

PARQUET = b"PAR1"
MISSING = r"^(|\?|\.|<NA>|N/?A|n/a|#N/?A|NULL|Null|null|None|-?NaN|-?nan)$"
"""Texts that stand for a value that is not there."""
NUMBER = r"(?i)^[+-]?(\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?|inf|infinity)$"
_DESCRIPTION = re.compile(
    rb"\x15[\x80-\xff]*[\0-\x7f]\x19((?P<few>[\x0c\x1c\x2c\x3c\x4c\x5c\x6c\x7c\x8c\x9c\xac\xbc\xcc\xdc\xec])|\xfc(?P<many>[\x80-\xff]*[\0-\x7f]))",
    re.DOTALL,
)
"""The beginning of a Parquet file's description: a version, and the count of its columns and one.

(Thrift's compact protocol: field 1 is an integer, field 2 a list of structures.)
"""
_START = 32
_SEPARATORS = (",", ";", "\t")
_QUOTED = re.compile(rb'"[^"]*"')
_ROW = re.compile(r"Row #(\d+)")


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of a table.

    numbers: float64, NaN where a value is missing. codes: for each row the index, in `words`, of
    its text in the column that was asked for as texts, -1 where it is missing; None if none was.
    """

    numbers: Float64[np.ndarray, "n d"]
    codes: Int32[np.ndarray, " n"] | None = None
    words: tuple[str, ...] = ()


def read_names(path: Path | str, *, named: bool = False) -> tuple[str, ...]:
    """The names of a table's columns, in their order; UntrustedError and OSError as `read_table`.

    named: whether the user typed the path (see `open_regular`).
    """
    data, file = map_regular(path, named=named), plain(os.path.basename(path))
    with _refusing(file):
        return _names(data, file)


def read_table(
    path: Path | str, columns: Sequence[str], texts: str | None = None, *, named: bool = False
) -> Columns:
    """Columns of numbers of a CSV or Parquet file, and one of texts.

    Args:
      path: the file, whose content tells its kind.
      columns: names of columns of numbers, each the name of one column.
      texts: name of a column whose values are taken as texts.
      named: whether the user typed the path (see `open_regular`).

    Raises:
      UntrustedError: it is neither, damaged, larger than `limits` allow, or has a text where a
        number is wanted; the message names column and row.
      OSError: there is no such file, or it cannot be read.
    """
    data, file = map_regular(path, named=named), plain(os.path.basename(path))
    wanted = [*columns, *([] if texts is None else [texts])]
    with _refusing(file):
        counts = Counter(_names(data, file))
        if wrong := [name for name in wanted if counts[name] != 1]:
            raise UntrustedError(
                f"it must have one column {shown(wrong[0])}, it has {counts[wrong[0]]}"
            )
        batches = _parquet_batches if _is_parquet(data) else _csv_batches
        return _collected(batches(data, file, wanted), columns, texts)


def _names(data: memoryview, file: str) -> tuple[str, ...]:
    opened = _parquet(data).schema_arrow if _is_parquet(data) else _open_csv(data, file).schema
    return tuple(opened.names)


class _refusing:
    """A context in which errors of pyarrow become refusals that name the file."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import pyarrow

        if isinstance(error, UntrustedError):
            raise UntrustedError(f"{self.file}: {error}") from error
        if isinstance(error, pyarrow.ArrowException | OSError | ValueError | MemoryError):
            raise UntrustedError(f"{self.file}: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """The message of pyarrow, whose rows count the line of names."""
    text = next(iter(str(error).splitlines()), type(error).__name__)
    text = _ROW.sub(lambda row: f"row {int(row[1]) - 1}", text).replace("CSV parse error: ", "")
    return f"it is no CSV or Parquet file, or damaged: {plain(text, 160)}"


def _collected(batches: Iterator[Any], columns: Sequence[str], texts: str | None) -> Columns:
    parts, words, rows = [np.empty((0, len(columns)))], list[Any](), 0
    for batch in batches:
        if (rows + len(batch)) * max(len(columns), 1) > limits.TABLE_NUMBERS:
            raise UntrustedError(
                f"it must have at most {limits.TABLE_NUMBERS:,} numbers in the columns that are "
                "used: refused"
            )
        read = [_numbers(batch.column(name), name, rows) for name in columns]
        parts.append(np.stack(read, axis=1) if read else np.empty((len(batch), 0)))
        if texts is not None:
            words.append(_texts(batch.column(texts), texts))
        rows += len(batch)
    numbers = np.concatenate(parts)
    return Columns(numbers) if texts is None else Columns(numbers, *_coded(words))


# Values -------------------------------------------------------------------------------------------


def _plain_values(column: Any) -> Any:
    """A column without Arrow's dictionaries and extension types."""
    import pyarrow

    if isinstance(column.type, pyarrow.BaseExtensionType):
        column = column.storage
    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column


def _numbers(column: Any, name: str, rows: int) -> Float64[np.ndarray, " m"]:
    """A column of numbers, or of texts that are numbers; `rows` come before it."""
    from pyarrow import compute, float64, types, uint8

    column = _plain_values(column)
    kind = column.type
    if types.is_string(kind) or types.is_large_string(kind):
        return _parsed(column, name, rows)
    if types.is_boolean(kind):
        column = compute.cast(column, uint8())
    elif not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
              or types.is_null(kind)):  # fmt: skip
        raise UntrustedError(
            f"column {shown(name)} must be of numbers, it is of {plain(str(kind))}"
        )
    return _as_floats(compute.cast(column, float64(), safe=False))


def _as_floats(column: Any) -> Float64[np.ndarray, " m"]:
    """Numbers, of which equal ones have the same bits: there are two zeros, and many NaN."""
    found = _raw(column, np.float64) + 0.0
    found[np.isnan(found) | ~_there(column)] = np.nan
    return found


def _raw(column: Any, kind: type) -> np.ndarray:
    """The numbers of a column, whatever they are where it is null.

    pyarrow's own ways to NumPy import pandas where that is installed, which takes a second.
    """
    values = column.buffers()[1]
    if not len(column) or values is None:
        return np.zeros(len(column), kind)
    return np.frombuffer(values, kind, len(column), column.offset * np.dtype(kind).itemsize)


def _there(column: Any) -> Bool[np.ndarray, " m"]:
    from pyarrow import compute

    return _true(compute.is_valid(column))


def _true(column: Any) -> Bool[np.ndarray, " m"]:
    from pyarrow import compute, uint8

    return _raw(compute.cast(column, uint8()), np.uint8) == 1


def _parsed(column: Any, name: str, rows: int) -> Float64[np.ndarray, " m"]:
    from pyarrow import ArrowInvalid, bool_, compute, float64, uint8

    column = _known(column)
    try:
        return _as_floats(compute.cast(column, float64()))
    except ArrowInvalid:
        pass
    try:
        truth = compute.cast(compute.cast(column, bool_()), uint8())
        return _as_floats(compute.cast(truth, float64()))
    except ArrowInvalid as error:
        wrong = ~_true(compute.match_substring_regex(column, NUMBER)) & _there(column)
        at = int(np.argmax(wrong))
        raise UntrustedError(
            f"column {shown(name)} must be of numbers, it has {shown(column[at].as_py())} in row "
            f"{rows + at + 1:,}"
        ) from error


def _known(column: Any) -> Any:
    """Texts without blanks around them, null where they say that there is no value."""
    from pyarrow import compute, nulls

    trimmed = compute.utf8_trim_whitespace(column)
    missing = compute.match_substring_regex(trimmed, MISSING)
    return compute.if_else(missing, nulls(len(trimmed), trimmed.type), trimmed)


def _texts(column: Any, name: str) -> Any:
    from pyarrow import compute, string, types

    column = _plain_values(column)
    if types.is_nested(column.type) or types.is_binary(column.type):
        raise UntrustedError(
            f"column {shown(name)} must be of texts or numbers, it is of {plain(str(column.type))}"
        )
    return _known(compute.cast(column, string()))


def _coded(chunks: list[Any]) -> tuple[Int32[np.ndarray, " n"], tuple[str, ...]]:
    """(index of each row's text, the texts)."""
    if not chunks:
        return np.empty(0, np.int32), ()
    import pyarrow

    coded = pyarrow.chunked_array(chunks, pyarrow.string()).dictionary_encode().combine_chunks()
    codes = np.where(_there(coded.indices), _raw(coded.indices, np.int32), -1)
    return codes.astype(np.int32), tuple(coded.dictionary.to_pylist())


# CSV ----------------------------------------------------------------------------------------------


def _csv_batches(data: memoryview, file: str, columns: list[str]) -> Iterator[Any]:
    yield from _open_csv(data, file, columns)


def _open_csv(data: memoryview, file: str, columns: Sequence[str] = ()) -> Any:
    import pyarrow
    from pyarrow import csv

    return csv.open_csv(
        pyarrow.BufferReader(pyarrow.py_buffer(data)),
        csv.ReadOptions(use_threads=False, block_size=limits.CHUNK_BYTES),
        csv.ParseOptions(delimiter=_separator(data, file)),
        csv.ConvertOptions(
            default_column_type=pyarrow.string(),
            column_types={name: pyarrow.string() for name in columns},
            include_columns=list(columns),
        ),
    )


def _separator(data: memoryview, file: str) -> str:
    """The character between the names in the first line; UntrustedError for too many names."""
    start = bytes(data[: limits.CHUNK_BYTES]).removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    line = re.split(rb"[\r\n]", start, maxsplit=1)[0]
    if b"\0" in start[: limits.KIB] or not line:
        raise UntrustedError("it is neither a CSV nor a Parquet file")
    line = _QUOTED.sub(b"", line)
    order = _SEPARATORS[::-1] if file.lower().endswith(".tsv") else _SEPARATORS
    found = next((each for each in order if each.encode() in line), ",")
    _check_columns(line.count(found.encode()) + 1)
    return found


def _check_columns(count: int) -> None:
    if count > limits.TABLE_COLUMNS:
        raise UntrustedError(
            f"it has {count:,} columns, must have at most {limits.TABLE_COLUMNS:,}: refused"
        )


# Parquet ------------------------------------------------------------------------------------------


def _is_parquet(data: memoryview) -> bool:
    return data[: len(PARQUET)] == PARQUET


def _parquet(data: memoryview) -> Any:
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
    _check_columns((found["few"][0] >> 4 if found["few"] else _varint(found["many"])) - 1)
    return parquet.ParquetFile(
        pyarrow.BufferReader(pyarrow.py_buffer(data)), page_checksum_verification=True
    )


def _varint(data: bytes) -> int:
    """An integer in Thrift's compact protocol: seven bits a byte, the lowest first."""
    return sum((byte & 127) << 7 * k for k, byte in enumerate(data))


def _parquet_batches(data: memoryview, file: str, columns: list[str]) -> Iterator[Any]:
    opened = _parquet(data)
    _check_unpacked(opened.metadata, len(columns), len(data))
    size = max(1, limits.CHUNK_BYTES // max(len(columns), 1))
    yield from opened.iter_batches(size, columns=columns, use_threads=False)


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
