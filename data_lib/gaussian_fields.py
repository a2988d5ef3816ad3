"""Simulated periodic fields: Gaussian, of a known spectrum, with a coarse field as condition.

On a grid of N points along one to three axes, with wavenumbers k in cycles per box, each channel
has the spectrum

    E |X_k|^2 / N = P_k,   P_k = c (1 + (|k| / CORNER)^2)^(-SLOPE / 2),   mean of P_k = 1,

so that its variance is 1; channel 0 and any other one are correlated by CORRELATION, two others by
its square. The condition is the field seen coarsely: every `COARSE`-th point of the field blurred
by exp(-(pi WIDTH k / n)^2 2) along an axis of n points, a Gaussian of deviation WIDTH points.
All is linear: the field given its condition is Gaussian too.
"""

import numpy as np
import scipy.fft
from jaxtyping import Float, Float32

from data_lib import simulated
from data_lib.base import Log, Splits
from data_lib.config import DataConfig

SHAPE = (16, 24, 2)
CORNER, SLOPE = 2.0, 4.0
CORRELATION = 0.6
COARSE, WIDTH = 4, 2.0
_BLOCK_VALUES = 2**22


def load(config: DataConfig, log: Log) -> Splits:
    """Fields of data.shape, or [16, 24, 2], and the same seen coarsely."""
    shape = config.example or SHAPE
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise ValueError(
            "data.shape must be one to three axes and channels for data.dataset="
            f"'gaussian_fields', or auto, got {','.join(map(str, shape))}"
        )
    law = f"gaussian_fields of {'x'.join(map(str, shape))}"
    n, size = simulated.count(config, int(np.prod(shape))), int(np.prod(shape))
    log(f"{law}: {n:,} are simulated")
    rng, step = simulated.generator(law), max(1, _BLOCK_VALUES // size)
    parts = [
        fields(rng.standard_normal((min(step, n - first), *shape), dtype=np.float32))
        for first in range(0, n, step)
    ]
    values = np.concatenate(parts)
    seen = np.concatenate([coarse(part) for part in parts])
    return simulated.splits(values, seen, config, law)


def fields(white: Float32[np.ndarray, "n *shape"]) -> Float32[np.ndarray, "n *shape"]:
    """Fields made of white noise [n, ..., channels] with N(0, 1) values."""
    root = np.sqrt(power(white.shape[1:-1])).astype(np.float32)
    first, others = white[..., :1], white[..., 1:]
    rest = np.float32(np.sqrt(1 - CORRELATION**2))
    mixed = np.concatenate([first, np.float32(CORRELATION) * first + rest * others], axis=-1)
    return _filtered(mixed, root)


def power(grid: tuple[int, ...]) -> Float[np.ndarray, "*grid"]:
    """P_k at every wavenumber of the grid, in the order of the FFT."""
    k = np.sqrt(sum(each**2 for each in _wavenumbers(grid)))
    p = (1 + (k / CORNER) ** 2) ** (-SLOPE / 2)
    return p / p.mean()


def blur(grid: tuple[int, ...]) -> Float[np.ndarray, "*grid"]:
    """The factor by which blurring multiplies each wavenumber."""
    scaled = sum((each / n) ** 2 for each, n in zip(_wavenumbers(grid), grid, strict=True))
    return np.exp(-2 * (np.pi * WIDTH) ** 2 * scaled)


def coarse(values: Float32[np.ndarray, "n *shape"]) -> Float32[np.ndarray, "n *less"]:
    """The condition of fields: blurred, and every `COARSE`-th point of it along each axis."""
    blurred = _filtered(values, blur(values.shape[1:-1]).astype(np.float32))
    every = (slice(None), *[slice(None, None, COARSE)] * (values.ndim - 2))
    return np.ascontiguousarray(blurred[every])


def _wavenumbers(grid: tuple[int, ...]) -> list[Float[np.ndarray, "..."]]:
    return list(np.meshgrid(*(n * np.fft.fftfreq(n) for n in grid), indexing="ij", sparse=True))


def _filtered(
    values: Float32[np.ndarray, "n *shape"], factor: Float32[np.ndarray, "*grid"]
) -> Float32[np.ndarray, "n *shape"]:
    """Values whose wavenumbers are multiplied by a factor."""
    axes, grid = tuple(range(1, values.ndim - 1)), values.shape[1:-1]
    waves = scipy.fft.rfftn(values, axes=axes)
    waves *= factor[..., : waves.shape[-2], None]
    return scipy.fft.irfftn(waves, grid, axes=axes)
