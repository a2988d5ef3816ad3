"""Values of Arrow's columns as NumPy's: numbers, and texts that name classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int32

from untrusted.errors import UntrustedError, plain, shown

MISSING = r"^(|\?|\.|<NA>|N/?A|n/a|#N/?A|NULL|Null|null|None|-?NaN|-?nan)$"
"""Texts that stand for a value that is not there."""
NUMBER = r"(?i)^[+-]?(\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?|inf|infinity)$"


def _plain_values(column: Any) -> Any:
    """A column without Arrow's dictionaries and extension types."""
    import pyarrow

    if isinstance(column.type, pyarrow.BaseExtensionType):
        column = column.storage
    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column


def numbers(column: Any, name: str, rows: int) -> Float64[np.ndarray, " m"]:
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
    with np.errstate(invalid="ignore"):  # of a signalling NaN
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


def texts(column: Any, name: str) -> Any:
    """A column of texts or numbers as texts, null where they say that there is no value."""
    from pyarrow import compute, string, types

    column = _plain_values(column)
    if types.is_nested(column.type) or types.is_binary(column.type):
        raise UntrustedError(
            f"column {shown(name)} must be of texts or numbers, it is of {plain(str(column.type))}"
        )
    return _known(compute.cast(column, string()))


def coded(chunks: list[Any]) -> tuple[Int32[np.ndarray, " n"], tuple[str, ...]]:
    """(index of each row's text, the texts)."""
    if not chunks:
        return np.empty(0, np.int32), ()
    import pyarrow

    found = pyarrow.chunked_array(chunks, pyarrow.string()).dictionary_encode().combine_chunks()
    codes = np.where(_there(found.indices), _raw(found.indices, np.int32), -1)
    return codes.astype(np.int32), tuple(found.dictionary.to_pylist())
