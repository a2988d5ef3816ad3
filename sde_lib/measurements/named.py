"""Operators by their names in configs.

A new one is one class and one row in `OPERATORS`. A row is a class or a function, whose parameters
are settings of the section `inverse` (`tables.made`), and

  shape: the shape of an example in the units of the data, such as (28, 28, 1);
  mask: what is measured, an array of truth, one for all examples or one for each, [n, ...]
    (`patterns`, or a user's file), in place of the setting.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from sde_lib.measurements.base import Operator
from sde_lib.measurements.masks import Mask
from sde_lib.measurements.patterns import Shape, spatial


def fitted(mask: Shaped[np.ndarray, "*m"], shape: Shape) -> Float[Array, "n *d"]:
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
            f"inverse.mask must be of {_words(spatial(shape))}, as the examples are, or several of "
            f"them [n, ...], got {_words(one)}: scale it to that size"
        )
    mask = mask if mask.shape[1:] in whole else mask[..., None]
    known = (mask != 0).any(axis=tuple(range(1, mask.ndim)))
    if not len(mask) or not known.all():
        which = f"mask {int(np.argmin(known))} of {len(mask)}" if len(mask) > 1 else "it"
        raise ValueError(
            f"inverse.mask must leave something to measure, {which} has no white (nonzero) place: "
            "white is what is known"
        )
    return jnp.asarray((mask != 0).astype(np.float64))


def _words(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "no axes"


def _inpaint(shape: Shape, mask: np.ndarray) -> Mask:
    """Numbers as they are where the mask is True."""
    return Mask(fitted(mask, shape))


OPERATORS: dict[str, Callable[..., Operator]] = {
    "inpaint": _inpaint,
}
"""Operators by the names of `inverse.measure`."""
MASKED = {"inpaint": "left"}
"""Operators that take a mask -> the name in `patterns.MASKS` of the one that is usual."""
