"""Masks by their names in configs: arrays of truth over the spatial axes of an example.

A mask of frequencies has the frequency 0 in its middle, at n // 2. A new one is one function and
one row in `MASKS`, whose parameters are `shape`, that of an example, and settings of the section
`inverse`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

Shape = tuple[int, ...]
Truth = Bool[np.ndarray, "*d"]


def spatial(shape: Shape) -> Shape:
    """The axes of an example without its channels; the one axis of a vector."""
    return shape[:-1] if len(shape) > 1 else shape


def left(shape: Shape) -> Truth:
    """The first half along the last axis."""
    found = np.zeros(spatial(shape), bool)
    found[..., : found.shape[-1] // 2] = True
    return found


def top(shape: Shape) -> Truth:
    """The first half along the first axis."""
    found = np.zeros(spatial(shape), bool)
    found[: len(found) // 2] = True
    return found


def outside(shape: Shape) -> Truth:
    """All but a box in the middle, of half the length of every axis."""
    found = np.ones(spatial(shape), bool)
    found[tuple(slice((n + 2) // 4, (n + 2) // 4 + n // 2) for n in found.shape)] = False
    return found


def random(shape: Shape, share: float, mask_seed: int) -> Truth:
    """A share of all places, at least one, drawn at random."""
    axes = spatial(shape)
    size = math.prod(axes)
    found = np.zeros(size, bool)
    chosen = np.random.default_rng(mask_seed).permutation(size)
    found[chosen[: max(1, round(share * size))]] = True
    return found.reshape(axes)


def every(shape: Shape, factor: int) -> Truth:
    """One of `factor` places along every axis, the middle one."""
    along = (np.arange(n) % factor == min(factor, n) // 2 for n in spatial(shape))
    found: Truth = np.all(np.meshgrid(*along, indexing="ij"), axis=0)
    return found


def _lines(shape: Shape, acceleration: float, centre: float, order: np.ndarray) -> Truth:
    """1 / acceleration of the lines across the last axis: those in the middle, then by `order`.

    order: the lines that are not in the middle, in the order in which they are taken.
    """
    axes = spatial(shape)
    lines = np.zeros(axes[-1], bool)
    lines[middle(axes[-1], centre)] = True
    lines[order[: max(0, kept(axes[-1], acceleration) - int(lines.sum()))]] = True
    return np.broadcast_to(lines, axes).copy()


def kept(lines: int, acceleration: float) -> int:
    """Number of lines of an acceleration, at least one."""
    return max(1, round(lines / acceleration))


def middle(lines: int, centre: float) -> slice:
    """The lines in the middle, around the frequency 0, of which there are a share `centre`."""
    count = round(centre * lines)
    first = lines // 2 - count // 2
    return slice(first, first + count)


def _others(shape: Shape, centre: float) -> np.ndarray:
    lines = spatial(shape)[-1]
    return np.delete(np.arange(lines), middle(lines, centre))


def random_lines(shape: Shape, acceleration: float, centre: float, mask_seed: int) -> Truth:
    """Lines across the last axis, those in the middle and others drawn at random."""
    order = np.random.default_rng(mask_seed).permutation(_others(shape, centre))
    return _lines(shape, acceleration, centre, order)


def even_lines(shape: Shape, acceleration: float, centre: float) -> Truth:
    """Lines across the last axis, those in the middle and others evenly spaced."""
    others, lines = _others(shape, centre), spatial(shape)[-1]
    count = max(0, kept(lines, acceleration) - (lines - len(others)))
    at = (np.arange(count) + 0.5) * len(others) / max(count, 1)
    return _lines(shape, acceleration, centre, others[at.astype(int)])


# Masks as arrays of operators ---------------------------------------------------------------------


def fitted(
    mask: Shaped[np.ndarray, "*m"], shape: Shape, key: str = "inverse.mask"
) -> Float[np.ndarray, "n *d"]:
    """A mask, or one for each of n examples, as 0 and 1 that broadcast against examples.

    It has the spatial axes of an example, with or without an axis of channels. Raises ValueError
    for another shape, and for a mask of which nothing is measured.
    """
    per_pixel = spatial(shape) != shape
    whole = {shape, (*spatial(shape), 1)} if per_pixel else {shape}
    one, several = mask.shape, mask.shape[1:]
    if one == spatial(shape) or one in whole:
        mask = mask[None]
    elif several != spatial(shape) and several not in whole:
        raise ValueError(
            f"{key} must be of {in_words(spatial(shape))}, as the examples are, or several "
            f"of them [n, ...], got {in_words(one)}: scale it to that size"
        )
    mask = mask if mask.shape[1:] in whole else mask[..., None]
    known = (mask != 0).any(axis=tuple(range(1, mask.ndim)))
    if not len(mask) or not known.all():
        which = f"mask {int(np.argmin(known))} of {len(mask)}" if len(mask) > 1 else "it"
        raise ValueError(
            f"{key} must leave something to measure, {which} has no white (nonzero) place: "
            "white is what is known"
        )
    return (mask != 0).astype(np.float64)


def in_words(shape: Shape) -> str:
    """A shape as words of a message: '28x28'."""
    return "x".join(map(str, shape)) or "no axes"


MASKS: dict[str, Callable[..., Any]] = {
    "left": left,
    "top": top,
    "outside": outside,
    "random": random,
    "every": every,
    "random_lines": random_lines,
    "even_lines": even_lines,
}
"""Masks by the names of `inverse.mask`; True: measured."""
