"""The page says what `limits` says, and names tests that are there."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import pytest

from untrusted import limits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "strangers.md").read_text()
ROWS = dict(re.findall(r"^\| `([A-Z_]+)`[^|]*\| ([^|]+?) \|", PAGE, re.M))
UNITS = {"KIB", "MIB", "GIB"}
NAMES = [name for name in vars(limits) if name.isupper() and name not in UNITS]


def number(text: str):
    """Value of a cell of the table: 1 s, 64 KiB, 2^44, 200,000, or names."""
    if match := re.fullmatch(r"([\d,.]+)( s| KiB| MiB| GiB)?", text):
        factor = {None: 1, " s": 1, " KiB": limits.KIB, " MiB": limits.MIB,
                  " GiB": limits.GIB}[match[2]]  # fmt: skip
        return float(match[1].replace(",", "")) * factor
    if match := re.fullmatch(r"2\^(\d+)", text):
        return 2 ** int(match[1])
    return tuple(text.split(", "))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_states_every_budget_as_it_is(name):
    assert number(ROWS[name]) == getattr(limits, name)


def test_the_page_states_no_budget_that_there_is_not():
    assert set(ROWS) == set(NAMES)


def test_every_budget_has_its_reason_and_is_used():
    tree = ast.parse((ROOT / "untrusted" / "limits.py").read_text()).body
    for node, after in itertools.pairwise(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) != "(KIB, MIB, GIB)":
            assert isinstance(after, ast.Expr), ast.unparse(node)
    rooms = [
        ROOT / room
        for room in ("untrusted", "models", "data_lib", "eval_lib", "benchmarks", "tests")
    ]
    text = "".join(path.read_text() for room in rooms for path in room.rglob("*.py"))
    assert not [name for name in NAMES if f"limits.{name}" not in text]


def test_every_promise_names_tests_that_are_there():
    promises = PAGE.split("## What is promised")[1].split("##")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 9
    for row in rows:
        named = re.findall(r"`(tests/[^`]+)`", row.split("|")[2])
        assert named, row
        assert all((ROOT / name).is_file() for name in named), row
