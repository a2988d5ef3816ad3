"""Tables: CSV and Parquet files whose rows are examples and whose columns are features."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32

from configs.names import did_you_mean
from data_lib.base import Images, Log, Splits, hold_out
from data_lib.config import DataConfig
from data_lib.tree import shown_path
from untrusted import Columns, plain, read_names, read_table, shown

FEW = 8
"""Most names that a message lists."""


@dataclass(frozen=True)
class Roles:
    """Names of a table's columns by what they are used for; label: '' for none."""

    data: tuple[str, ...]
    condition: tuple[str, ...]
    label: str
    left: tuple[str, ...]


def load(config: DataConfig, log: Log) -> Splits:
    """The rows of the table data.data_dir, some of which are held out (see `base.hold_out`).

    Raises ValueError naming file, column and, where there is one, the row.
    """
    path = config.require_path()
    what = f"data.data_dir={shown_path(path)}"
    try:
        roles = _roles(read_names(path, named=True), config, what)
        table = read_table(path, (*roles.data, *roles.condition), roles.label or None, named=True)
    except OSError as error:
        raise ValueError(f"{what} cannot be read: {error.strerror or error}") from error
    if roles.left:
        log(f"{what}: {_listed(roles.left)} not used")
    _check(table, roles, config, what)
    return hold_out(_images(table, roles, what, log), config.test_fraction, plain(path.name, 200))


def _images(table: Columns, roles: Roles, what: str, log: Log) -> Images:
    cut = len(roles.data)
    # Of its own memory, which `hold_out` reorders.
    values = np.ascontiguousarray(table.numbers[:, :cut])
    condition = np.ascontiguousarray(table.numbers[:, cut:]) if roles.condition else None
    codes = table.codes
    labels = None if codes is None else _classes(codes, table.words, roles.label, what, log)
    why = "" if roles.label else f"{what} has no labels: data.label_column names no column"
    return Images(values, labels, None, None, why, condition, roles.data)


# Columns ------------------------------------------------------------------------------------------


def _roles(names: Sequence[str], config: DataConfig, what: str) -> Roles:
    """The use of each column; ValueError for names that are none or stand for two things."""
    _check_names(names, what)
    label = config.label_column.strip()
    condition = listed("data.condition_columns", config.condition_columns)
    given = listed("data.columns", config.columns)
    for key, chosen in (("label_column", (label,) if label else ()),
                        ("condition_columns", condition), ("columns", given)):  # fmt: skip
        _check_known(f"data.{key}", chosen, names, what)
    taken = (*given, *condition, *((label,) if label else ()))
    if twice := [name for name in taken if taken.count(name) > 1]:
        raise ValueError(
            f"column {shown(twice[0])} of {what} must have one use among data.columns, data."
            "condition_columns and data.label_column"
        )
    data = given or tuple(name for name in names if name not in taken)
    if not data:
        raise ValueError(f"{what} must have a column for the data beside {_listed(taken)}")
    used = {*data, *taken}
    return Roles(data, condition, label, tuple(name for name in names if name not in used))


def listed(key: str, text: str) -> tuple[str, ...]:
    """Names separated by commas; one with a comma stands in quotes, as in CSV."""
    lines = list(csv.reader([text], skipinitialspace=True)) if text.strip() else []
    names = tuple(name.strip() for name in (lines[0] if lines else ()))
    if not all(names):
        raise ValueError(f"{key} must be names of columns separated by commas, got {shown(text)}")
    return names


def _check_names(names: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for k, name in enumerate(names):
        if not name:
            raise ValueError(f"{what} must name every column in its first line, column {k + 1} has "
                             "no name")  # fmt: skip
        if name in seen:
            raise ValueError(f"{what} must name each column once, it has two called {shown(name)}")
        seen.add(name)
    if all(map(_is_number, names)):
        raise ValueError(
            f"{what} must name its columns in its first line, which has the numbers "
            f"{_listed(names)}: add a line of names"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_known(key: str, chosen: Sequence[str], names: Sequence[str], what: str) -> None:
    for name in chosen:
        if name not in names:
            raise ValueError(
                f"{key} must name columns of {what}, which are {_listed(names)}, got "
                f"{shown(name)}{did_you_mean(name, names)}"
            )


def _listed(names: Sequence[str]) -> str:
    few = ", ".join(plain(name) for name in names[:FEW])
    return few + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


# Values -------------------------------------------------------------------------------------------


def _check(table: Columns, roles: Roles, config: DataConfig, what: str) -> None:
    """Raise ValueError for columns that cannot be data or conditions."""
    if not len(table.numbers):
        raise ValueError(f"{what} must have rows below the names of its columns, it has none")
    missing = config.missing == "mask"
    for k, name in enumerate((*roles.data, *roles.condition)):
        of_data = k < len(roles.data)
        _check_column(table.numbers[:, k], name, missing or not of_data, what)


def _check_column(column: Float64[np.ndarray, " n"], name: str, missing: bool, what: str) -> None:
    """Raise ValueError for values that are infinite, missing but not allowed to be, or all one."""
    told = f"column {shown(name)} of {what}"
    if (row := _first(np.isinf(column))) is not None:
        raise ValueError(f"{told} must be finite, row {row:,} has {column[row - 1]}")
    if not missing and (row := _first(np.isnan(column))) is not None:
        raise ValueError(
            f"{told} has no value in row {row:,}: set data.missing=mask to model the values that "
            "are there, or leave the column or the row out"
        )
    known = column[~np.isnan(column)]
    if not known.size:
        raise ValueError(f"{told} has no values: leave it out by data.columns")
    if (known == known[0]).all():
        row = _first(~np.isnan(column))
        raise ValueError(f"{told} must vary, from row {row:,} on it is always {known[0]:g}: leave "
                         "it out by data.columns")  # fmt: skip


def _first(wrong: np.ndarray) -> int | None:
    """The first row, counted from 1, at which something is wrong; None if nowhere."""
    found = np.flatnonzero(wrong)
    return int(found[0]) + 1 if found.size else None


def _classes(
    codes: np.ndarray, words: Sequence[str], label: str, what: str, log: Log
) -> Int32[np.ndarray, " n"]:
    """Classes: integers as they are, texts numbered in the order of the alphabet."""
    if (row := _first(codes < 0)) is not None:
        raise ValueError(f"column {shown(label)} of {what} must have a label in row {row:,}")
    whole = [_whole(word) for word in words]
    if all(number is not None for number in whole):
        return np.asarray(whole, np.int32)[codes]
    order = sorted(words)
    log(f"classes of column {plain(label)}: {_numbered(order)}")
    return np.asarray([order.index(word) for word in words], np.int32)[codes]


def _whole(word: str) -> int | None:
    """The integer that a text stands for; None for others and those beyond 32 bits."""
    if not _is_number(word) or not (value := float(word)).is_integer() or abs(value) >= 2**31:
        return None
    return int(value)


def _numbered(order: Sequence[str]) -> str:
    few = ", ".join(f"{k} {plain(word)}" for k, word in enumerate(order[:FEW]))
    return few + (f" and {len(order) - FEW} more" if len(order) > FEW else "")
