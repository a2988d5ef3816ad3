"""Filters that bring a coarse array to the size of a fine one.

A filter is a matrix [fine, coarse] for each axis, made on
the host; its conventions are those of the libraries whose cascades are published, as stated at each
row of `UPSAMPLINGS`. With d = coarse / fine lengths, place i of the fine axis lies at (i + 1/2) d
- 1/2 of the coarse one, unless corners are aligned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Taps(NamedTuple):
    """Places of the coarse axis, which may lie beyond its ends, and weights, by fine place."""

    places: Int[np.ndarray, "fine taps"]
    weights: Float[np.ndarray, "fine taps"]


def _centers(coarse: int, fine: int) -> Float[np.ndarray, " fine"]:
    return (np.arange(fine) + 0.5) * coarse / fine - 0.5


def _linear(at: Float[np.ndarray, " fine"]) -> Taps:
    first = np.floor(at).astype(int)
    share = (at - first)[:, None]
    return Taps(first[:, None] + np.arange(2), np.concatenate([1 - share, share], axis=1))


def _nearest(coarse: int, fine: int) -> Taps:
    return Taps((np.arange(fine) * coarse // fine)[:, None], np.ones((fine, 1)))


def _bilinear(coarse: int, fine: int) -> Taps:
    return _linear(_centers(coarse, fine))


def _bilinear_corners(coarse: int, fine: int) -> Taps:
    return _linear(np.arange(fine) * ((coarse - 1) / max(fine - 1, 1)))


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel (1981) with slope a at 1."""
    d = np.abs(distance)
    near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _bicubic(a: float) -> Callable[[int, int], Taps]:
    def taps(coarse: int, fine: int) -> Taps:
        at = _centers(coarse, fine)
        places = np.floor(at).astype(int)[:, None] + np.arange(-1, 3)
        return Taps(places, _cubic(at[:, None] - places, a))

    return taps


class Upsampling(NamedTuple):
    """A filter, and what it does beyond the ends of an axis that is not periodic: it repeats the
    last value, or leaves out what is not there."""

    taps: Callable[[int, int], Taps]
    repeats: bool = True


UPSAMPLINGS: dict[str, Upsampling] = {
    "nearest": Upsampling(_nearest),
    "bilinear": Upsampling(_bilinear),
    "bilinear_corners": Upsampling(_bilinear_corners),
    "bicubic": Upsampling(_bicubic(-0.75)),
    "bicubic_antialiased": Upsampling(_bicubic(-0.5), repeats=False),
}
"""Filters by the names of data.coarse_filter: PyTorch's nearest, bilinear without and with
align_corners, bicubic, and bicubic with antialias, which is Pillow's."""


def matrix(name: str, coarse: int, fine: int, periodic: bool) -> Float[np.ndarray, "fine coarse"]:
    """The filter along one axis; every row sums to 1."""
    filtering = UPSAMPLINGS[name]
    places, weights = filtering.taps(coarse, fine)
    if periodic:
        places = places % coarse
    elif not filtering.repeats:
        weights = np.where((places >= 0) & (places < coarse), weights, 0.0)
    found = np.zeros((fine, coarse))
    rows = np.broadcast_to(np.arange(fine)[:, None], places.shape)
    np.add.at(found, (rows, places.clip(0, coarse - 1)), weights)
    return found / found.sum(axis=1, keepdims=True)


def upsampled(
    x: Float[Array, "b *s c"], lengths: Sequence[int], name: str, periodic: Sequence[int] = ()
) -> Float[Array, "b *t c"]:
    """x with other lengths of its spatial axes; periodic axes go on beyond their ends."""
    for axis, fine in enumerate(lengths, start=1):
        weights = matrix(name, x.shape[axis], fine, axis - 1 in periodic).astype(np.float32)
        at = jnp.tensordot(x, weights, ((axis,), (1,)), precision=jax.lax.Precision.HIGHEST)
        x = jnp.moveaxis(at, -1, axis)
    return x
