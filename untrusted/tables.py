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
from jaxtyping import Float64, Int32

from untrusted import arrow, limits, parquet
from untrusted.errors import UntrustedError, plain, shown
from untrusted.opening import map_regular

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
        of_parquet = parquet.is_parquet(data)
        batches = parquet.batches(data, wanted) if of_parquet else _open_csv(data, file, wanted)
        return _collected(batches, columns, texts)


def _names(data: memoryview, file: str) -> tuple[str, ...]:
    opened = (
        parquet.opened(data).schema_arrow
        if parquet.is_parquet(data)
        else _open_csv(data, file).schema
    )
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
        read = [arrow.numbers(batch.column(name), name, rows) for name in columns]
        parts.append(np.stack(read, axis=1) if read else np.empty((len(batch), 0)))
        if texts is not None:
            words.append(arrow.texts(batch.column(texts), texts))
        rows += len(batch)
    numbers = np.concatenate(parts)
    return Columns(numbers) if texts is None else Columns(numbers, *arrow.coded(words))


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
    parquet.check_columns(line.count(found.encode()) + 1)
    return found
