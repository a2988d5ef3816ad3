"""Operators by their names in configs.

A new one is one class and one row in `OPERATORS`. A row is a class or a function, whose parameters
are settings of the section `inverse` (`tables.made`), and

  shape: the shape of an example in the units of the data, such as (28, 28, 1);
  mask: what is measured, an array of truth, one for all examples or one for each, [n, ...]
    (`patterns`, or a user's file);
  kernel, coils: arrays of a user's files.

Arrays come in place of the settings that name them.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sde_lib.measurements.base import Operator
from sde_lib.measurements.convolution import motion, placed
from sde_lib.measurements.fourier import CoilFourier, ComplexFourier, RealFourier
from sde_lib.measurements.masks import Mask
from sde_lib.measurements.patterns import Shape, fitted, in_words
from sde_lib.measurements.radon import Radon
from sde_lib.measurements.separable import Matrix, bicubic, blocks, gaussian, separable


def _spatial(shape: Shape, measure: str) -> Shape:
    """The spatial axes of an example; ValueError for vectors."""
    if len(shape) < 2:
        raise ValueError(
            f"inverse.measure={measure!r} is of data with spatial axes, the examples are vectors "
            f"of {shape[0]} features: choose inpaint, or FILE.py:FUNCTION"
        )
    return shape[:-1]


def _inpaint(shape: Shape, mask: np.ndarray) -> Operator:
    """Numbers as they are where the mask is True."""
    return Mask(jnp.asarray(fitted(mask, shape)))


# Mixes of channels --------------------------------------------------------------------------------


def _mixed(shape: Shape, measure: str, weight: float) -> Operator:
    """The sum of all channels times a weight."""
    _spatial(shape, measure)
    if shape[-1] == 1:
        raise ValueError(f"inverse.measure={measure!r} is of data of several channels, there is 1")
    return separable([np.full((1, shape[-1]), weight)], [len(shape)], shape)


def _gray(shape: Shape) -> Operator:
    """The mean of the channels."""
    return _mixed(shape, "gray", 1 / shape[-1])


def _colorize(shape: Shape) -> Operator:
    """The sum of the channels over the root of their number (score_sde's coordinate of gray)."""
    return _mixed(shape, "colorize", shape[-1] ** -0.5)


# Fewer pixels, and blur ---------------------------------------------------------------------------


def _resampled(
    matrix: Callable[[int, int], Matrix], shape: Shape, factor: int, measure: str
) -> Operator:
    """1 / factor of the pixels along each axis."""
    axes = _spatial(shape, measure)
    if any(n % factor for n in axes):
        raise ValueError(f"inverse.factor must divide {in_words(axes)}, the size of the examples, "
                         f"got {factor}")  # fmt: skip
    return separable([matrix(n, factor) for n in axes], range(1, len(shape)), shape)


def _average(shape: Shape, factor: int) -> Operator:
    """Means of blocks."""
    return _resampled(blocks, shape, factor, "average")


def _bicubic(shape: Shape, factor: int) -> Operator:
    """Pixels by a cubic."""
    return _resampled(bicubic, shape, factor, "bicubic")


def _gaussian_blur(shape: Shape, blur_std: float) -> Operator:
    """Blur along each axis."""
    axes = _spatial(shape, "gaussian_blur")
    if blur_std > max(axes):
        raise ValueError(f"inverse.blur_std must be at most {max(axes)}, the length of the "
                         f"examples, got {blur_std}")  # fmt: skip
    return separable([gaussian(n, blur_std) for n in axes], range(1, len(shape)), shape)


def _pictures(shape: Shape, measure: str) -> Shape:
    """The two spatial axes of a picture; ValueError for other data."""
    axes = _spatial(shape, measure)
    if len(axes) != 2:
        raise ValueError(f"inverse.measure={measure!r} is of pictures, the examples are of "
                         f"{in_words(shape)}")  # fmt: skip
    return axes


def _motion_blur(shape: Shape, blur_length: float, blur_angle: float) -> Operator:
    """Blur by a motion in a straight line."""
    axes = _pictures(shape, "motion_blur")
    if blur_length > min(axes) - 4:
        raise ValueError(
            f"inverse.blur_length must be at most {max(min(axes) - 4, 0)}, 4 below the shorter "
            f"side of {in_words(axes)}, got {blur_length}"
        )
    return placed(motion(blur_length, blur_angle), axes)


def _kernel_blur(shape: Shape, kernel: np.ndarray) -> Operator:
    """Circular convolution with a kernel of the user's, its origin in the middle."""
    axes = _spatial(shape, "kernel_blur")
    try:
        return placed(kernel.astype(np.float64), axes)
    except ValueError as error:
        raise ValueError(f"inverse.kernel: {error}") from error


# Frequencies and projections ----------------------------------------------------------------------


def _of_frequencies(mask: np.ndarray, shape: Shape) -> Float[Array, "n *d"]:
    """A mask of frequencies, the same for all channels."""
    found = jnp.asarray(fitted(mask, shape))
    if found.shape[-1] != 1:
        raise ValueError("inverse.mask must be the same for all channels where it is of "
                         "frequencies: leave their axis out")  # fmt: skip
    return found


def _paired(shape: Shape, complex: bool) -> None:
    if complex and shape[-1] % 2:
        raise ValueError("inverse.complex=True is of data whose channels are real and imaginary "
                         f"parts in turn, of an even number, got {shape[-1]}")  # fmt: skip


def _fourier(shape: Shape, mask: np.ndarray, complex: bool) -> Operator:
    """Frequencies where the mask is True."""
    _spatial(shape, "fourier")
    _paired(shape, complex)
    return (ComplexFourier if complex else RealFourier)(_of_frequencies(mask, shape))


def _coils(shape: Shape, mask: np.ndarray, coils: np.ndarray, complex: bool) -> Operator:
    """Frequencies of what each of several coils sees; coils are complex, [coils, *spatial]."""
    axes = _spatial(shape, "coils")
    _paired(shape, complex)
    if coils.ndim != len(axes) + 1 or coils.shape[1:] != axes or not len(coils):
        raise ValueError(f"inverse.coils must be of [coils, {', '.join(map(str, axes))}], got "
                         f"{in_words(coils.shape)}")  # fmt: skip
    parts = np.stack([coils.real, coils.imag], axis=1).reshape(-1, *axes)
    sensitivities = jnp.asarray(np.moveaxis(parts, 0, -1)[None].astype(np.float64))
    return CoilFourier(_of_frequencies(mask, shape), sensitivities, complex)


def _radon(shape: Shape, angles: int) -> Operator:
    """Projections at angles evenly spaced over 180 degrees, the first at 0."""
    _pictures(shape, "radon")
    return Radon(jnp.asarray(np.arange(angles) * np.pi / angles)[None])


OPERATORS: dict[str, Callable[..., Operator]] = {
    "inpaint": _inpaint,
    "gray": _gray,
    "colorize": _colorize,
    "average": _average,
    "bicubic": _bicubic,
    "gaussian_blur": _gaussian_blur,
    "motion_blur": _motion_blur,
    "kernel_blur": _kernel_blur,
    "fourier": _fourier,
    "coils": _coils,
    "radon": _radon,
}
"""Operators by the names of `inverse.measure`."""
MASKED = {"inpaint": "left", "fourier": "random_lines", "coils": "random_lines"}
"""Operators that take a mask -> the name in `patterns.MASKS` of the one that is usual."""
