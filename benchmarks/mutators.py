"""Small changes of a Python file, each of which some test ought to notice.

A mutant is one file with one number, sign, operator, comparison or min/max changed. Annotations and
messages of errors are left alone: no test is meant to hold them.
"""

from __future__ import annotations

import ast
import copy
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

Changed = list[ast.expr]
"""Replacements of a node."""


class Mutant(NamedTuple):
    """One change of a file: its number, its line, and what it is known by however lines move."""

    number: int
    line: int
    name: str


_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,),
}  # fmt: skip
_OPPOSITES = {
    "min": "max", "minimum": "maximum", "argmin": "argmax", "amin": "amax", "fmin": "fmax",
}  # fmt: skip
_OPPOSITES |= {most: least for least, most in _OPPOSITES.items()}


def _number(node: ast.AST) -> Changed:
    """Twice a float, an integer's neighbours, 1 for 0."""
    if not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
        return []
    value = node.value
    assert isinstance(value, int | float)
    others = [type(value)(1)] if value == 0 else [value + 1, value - 1]
    others = [2 * value] if isinstance(value, float) and value != 0 else others
    return [ast.Constant(other) for other in others]


def _sign(node: ast.AST) -> Changed:
    if not isinstance(node, ast.UnaryOp) or not isinstance(node.op, ast.USub):
        return []
    return [node.operand]


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _operator(node: ast.AST) -> Changed:
    if not isinstance(node, ast.BinOp) or _is_text(node.left) or _is_text(node.right):
        return []
    other = _OPERATORS.get(type(node.op))
    return [ast.BinOp(node.left, other(), node.right)] if other else []


def _comparison(node: ast.AST) -> Changed:
    if not isinstance(node, ast.Compare) or len(node.ops) > 1:
        return []
    others = _COMPARISONS.get(type(node.ops[0]), ())
    return [ast.Compare(node.left, [other()], node.comparators) for other in others]


def _extreme(node: ast.AST) -> Changed:
    if not isinstance(node, ast.Call):
        return []
    f, changed = node.func, copy.copy(node)
    if isinstance(f, ast.Name) and f.id in _OPPOSITES:
        changed.func = ast.Name(_OPPOSITES[f.id], f.ctx)
        return [changed]
    if isinstance(f, ast.Attribute) and f.attr in _OPPOSITES:
        changed.func = ast.Attribute(f.value, _OPPOSITES[f.attr], f.ctx)
        return [changed]
    return []


MUTATORS: tuple[Callable[[ast.AST], Changed], ...] = (
    _number, _sign, _operator, _comparison, _extreme,
)  # fmt: skip
_LEFT_ALONE = {
    ast.AnnAssign: ("annotation",), ast.arg: ("annotation",), ast.FunctionDef: ("returns",),
    ast.Raise: ("exc", "cause"), ast.JoinedStr: ("values",),
}  # fmt: skip
"""Parts of nodes whose changes say nothing."""

Place = tuple[ast.AST, str, int | None]
"""A node's parent, and where in it the node is."""


def _places(node: ast.AST) -> Iterator[tuple[Place, ast.AST]]:
    """Every node below, with its place, in the source's order."""
    for name, value in ast.iter_fields(node):
        if name in _LEFT_ALONE.get(type(node), ()):
            continue
        for i, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST):
                yield (node, name, i), child
                yield from _places(child)


def _put(place: Place, node: ast.AST) -> None:
    parent, name, i = place
    if i is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[i] = node


def _is_shape_alias(node: ast.AST) -> bool:
    """`Time = Float[Array, "*b"]` and its like: an annotation by another name."""
    return isinstance(node, ast.Subscript) and any(map(_is_text, ast.walk(node)))  # type: ignore[arg-type]


def _changes(tree: ast.Module) -> Iterator[tuple[Place, ast.expr, ast.expr]]:
    """(where, what is there, what is put there), one after another."""
    for place, node in _places(tree):
        if isinstance(node, ast.expr) and not _is_shape_alias(place[0]):
            yield from ((place, node, other) for mutate in MUTATORS for other in mutate(node))


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a file."""
    lines, seen, found = source.splitlines(), Counter[str](), []
    for number, (_, node, other) in enumerate(_changes(ast.parse(source))):
        text = lines[node.lineno - 1].strip()
        name = f"{text} | {ast.unparse(node)} -> {ast.unparse(other)}"
        seen[name] += 1
        told = name if seen[name] == 1 else f"{name} #{seen[name]}"
        found.append(Mutant(number, node.lineno, told))
    return found


def mutated(source: str, number: int) -> str:
    """The source of a mutant."""
    tree = ast.parse(source)
    place, _, other = next(itertools.islice(_changes(tree), number, None))
    _put(place, other)
    return ast.unparse(ast.fix_missing_locations(tree))
