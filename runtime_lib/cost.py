"""Cost of a program in operations and memory, computed from its jaxpr before compilation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

# Floating-point operations: 2 per product of a matrix product or convolution; the rest is not
# counted, as is usual.


def _dot(eqn: Any) -> float:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    return 2 * _size(eqn.outvars[0]) * math.prod(eqn.invars[0].aval.shape[i] for i in contracted)


def _conv(eqn: Any) -> float:
    kernel, features = eqn.invars[1].aval, eqn.params["dimension_numbers"].rhs_spec[0]
    each = kernel.size / kernel.shape[features] / math.prod(eqn.params["lhs_dilation"])
    return 2 * _size(eqn.outvars[0]) * each


OPERATIONS: dict[str, Callable[[Any], float]] = {
    "dot_general": _dot,
    "conv_general_dilated": _conv,
    "correlate_3x3": lambda eqn: 2 * _size(eqn.outvars[0]) * 9 * eqn.invars[0].aval.shape[-1],
    "kernel_gradient_3x3": lambda eqn: 2 * _size(eqn.outvars[0]) * _size(eqn.invars[1])
    / eqn.invars[1].aval.shape[-1],
}  # fmt: skip
"""Primitive -> operations; a convolution counts as a direct sum, however it is computed."""


def operations(jaxpr: Jaxpr) -> float:
    """Floating-point operations of matrix products and convolutions.

    A loop of known length (`scan`) counts once per iteration, any other loop once.
    """
    total = 0.0
    for eqn in jaxpr.eqns:
        count = OPERATIONS.get(eqn.primitive.name)
        if count:
            total += count(eqn)
            continue
        inner = [operations(sub) for sub in _inside(eqn)]
        combine = max if eqn.primitive.name == "cond" else sum
        total += eqn.params.get("length", 1) * combine(inner) if inner else 0
    return total


def _inside(eqn: Any) -> Iterator[Jaxpr]:
    """The jaxprs that an equation calls."""
    for leaf in jax.tree.leaves(eqn.params, is_leaf=lambda x: isinstance(x, Jaxpr | ClosedJaxpr)):
        if isinstance(leaf, ClosedJaxpr):
            yield leaf.jaxpr
        elif isinstance(leaf, Jaxpr):
            yield leaf


def _size(var: Any) -> int:
    return math.prod(var.aval.shape)


# Memory -----------------------------------------------------------------------------------------


def peak(jaxpr: Jaxpr, size: Callable[[Any], float]) -> float:
    """The most memory that results inside a program need at one time, without its arguments.

    Equations are assumed to run in their order, each result to be written, and to stay until its
    last use. Compilers deviate from all three, which needs less memory or more. size: bytes of a
    shape and type.
    """
    last = {var: i for i, eqn in enumerate(jaxpr.eqns) for var in _variables(eqn.invars)}
    last |= dict.fromkeys(_variables(jaxpr.outvars), len(jaxpr.eqns))
    alive = most = 0.0
    ends: dict[int, float] = {}
    for i, eqn in enumerate(jaxpr.eqns):
        # Results of what is called are among the results inside it.
        most = max([most, *(alive + peak(sub, size) for sub in _inside(eqn))])
        for var in eqn.outvars:
            alive += size(var.aval)
            end = last.get(var, i)
            ends[end] = ends.get(end, 0.0) + size(var.aval)
        most = max(most, alive)
        alive -= ends.pop(i, 0.0)
    return most


def _variables(these: Iterable[Any]) -> list[Any]:
    return [var for var in these if not isinstance(var, Literal)]
