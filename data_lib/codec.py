"""Codecs: maps between data as the user gave them and arrays as they are diffused.

A codec states encode, decode and log |d encode / d data|, by which a density in the diffused
variable becomes one of the user's data, and its scale and centre if it is affine, by which linear
measurements stay linear. It is a frozen value, so that it may be a static part of a compiled
program. A new codec is one class and one line in `CODECS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from configs.names import choose
from data_lib.bounds import Bounded, Numbers, Row, Straight, like

BLOCK_VALUES = 2**22
"""Numbers that are converted to float64 at a time."""
PRECISE = 2.0**13
"""Largest ratio of offset and scale at which float32 keeps a thousandth of the scale."""


class Codec(Protocol):
    """A map between data [b, *d] and the arrays [b, *d] that are diffused."""

    @property
    def of_levels(self) -> bool:
        """True for gray levels: values in [0, 1], or integers that stand for them."""

    @property
    def centered(self) -> bool:
        """True if diffused values lie around 0, False for [0, 1]."""

    def encode(self, x: Numbers) -> Numbers:
        """Diffused values of data."""

    def decode(self, z: Numbers) -> Numbers:
        """Data of diffused values."""

    def log_det(self, x: Float[Array, "b *d"]) -> Float[Array, " b"]:
        """log |det d encode / dx| at each example x, in nats."""

    def affine(self) -> tuple[Row, Row] | None:
        """(scale, centre) of data = centre + scale z, one for all or for each of the last axis.

        None for another map.
        """


@dataclass(frozen=True)
class GrayLevels:
    """Values of [0, 1], or 2 x - 1 where `centered`."""

    centered: bool
    of_levels = True

    def encode(self, x: Numbers) -> Numbers:
        """Values in the network's range, from [0, 1]."""
        return 2.0 * x - 1.0 if self.centered else x

    def decode(self, z: Numbers) -> Numbers:
        """Values in [0, 1], from the network's range; values outside are not clipped."""
        return (z + 1.0) / 2.0 if self.centered else z

    def log_det(self, x: Float[Array, "b *d"]) -> Float[Array, " b"]:
        """d log 2 where `centered`, else 0."""
        span = 2.0 if self.centered else 1.0
        return jnp.full(len(x), x[0].size * np.log(span), x.dtype)

    def affine(self) -> tuple[Row, Row] | None:
        """(1/2, 1/2) where `centered`, else (1, 0)."""
        return ((0.5,), (0.5,)) if self.centered else ((1.0,), (0.0,))


@dataclass(frozen=True)
class AsGiven:
    """Data as they are."""

    of_levels = False
    centered = True

    def encode(self, x: Numbers) -> Numbers:
        """x."""
        return x

    def decode(self, z: Numbers) -> Numbers:
        """z."""
        return z

    def log_det(self, x: Float[Array, "b *d"]) -> Float[Array, " b"]:
        """0."""
        return jnp.zeros(len(x), x.dtype)

    def affine(self) -> tuple[Row, Row] | None:
        """(1, 0)."""
        return (1.0,), (0.0,)


@dataclass(frozen=True)
class Standardize:
    """(x - mean) / std, per feature of a vector or per channel (the last axis) of other arrays."""

    mean: Row
    std: Row
    of_levels = False
    centered = True

    def encode(self, x: Numbers) -> Numbers:
        """Values of mean 0 and standard deviation 1 over the training data."""
        return (x - like(x, self.mean)) / like(x, self.std)

    def decode(self, z: Numbers) -> Numbers:
        """Values in the units of the data; float64 where float32 would round them away."""
        if isinstance(z, np.ndarray) and _needs_float64(self.mean, self.std):
            z = z.astype(np.float64)
        return z * like(z, self.std) + like(z, self.mean)

    def log_det(self, x: Float[Array, "b *d"]) -> Float[Array, " b"]:
        """-sum log std, the same for every x."""
        times = x[0].size // len(self.std)
        return jnp.full(len(x), -times * np.log(self.std).sum(), x.dtype)

    def affine(self) -> tuple[Row, Row] | None:
        """(std, mean)."""
        return self.std, self.mean


def _needs_float64(mean: Row, std: Row) -> bool:
    return bool((np.abs(mean) > PRECISE * np.asarray(std)).any())


def of_latents(shift: Sequence[float], scale: Sequence[float]) -> Standardize:
    """(z - shift) scale of an autoencoder's latents z; pictures are `models.latents`' concern."""
    return Standardize(tuple(shift), tuple(1 / s for s in scale))


def _bounded(data: Any) -> Bounded | Straight:
    low, high = tuple(data.low), tuple(data.high)
    return Straight(low, high, data.edge) if data.edge else Bounded(low, high)


CODECS: dict[str, Callable[[Any], Codec]] = {
    "levels": lambda data: GrayLevels(data.centered),
    "standardize": lambda data: Standardize(tuple(data.mean), tuple(data.std)),
    "bounded": _bounded,
    "identity": lambda data: AsGiven(),
    "autoencoder": lambda data: of_latents(data.latent_shift, data.latent_scale),
}
PICTURES = "levels", "autoencoder"
"""Codecs of data that are pictures of gray levels."""


def build(data: Any) -> Codec:
    """The codec of a `data` section; ValueError for an unknown name or bounds that do not fit."""
    return choose("data.codec", data.codec, CODECS)(data)


def of_pixels(data: Any) -> Codec:
    """The codec of examples that a model is given, which are never those of latents."""
    return GrayLevels(data.centered) if data.codec == "autoencoder" else build(data)


def of_pictures(data: Any) -> bool:
    """True if a `data` section is of pictures of gray levels, in [0, 1] when they are decoded.

    ValueError for an unknown codec.
    """
    choose("data.codec", data.codec, CODECS)
    return data.codec in PICTURES


def gray_range(data: Any, key: str) -> tuple[float, float]:
    """Black and white in the network's range; ValueError, naming the setting that needs them."""
    made = build(data)
    if not made.of_levels:
        raise ValueError(
            f"{key} needs data.codec='levels', whose data have a black and a white, got "
            f"{data.codec!r}"
        )
    return (-1.0, 1.0) if made.centered else (0.0, 1.0)


ROWS = {
    "standardize": ("mean", "std"),
    "bounded": ("low", "high"),
    "autoencoder": ("latent_shift", "latent_scale"),
}
"""Codec -> its settings of one number for each feature or channel."""


def check_rows(data: Any, features: int) -> None:
    """Raise ValueError for numbers of the codec that are not one for each feature or channel."""
    rows = ROWS.get(data.codec, ())
    for name in rows:
        if len(data[name]) not in (1, features):
            raise ValueError(
                f"data.{name} must have one number for each of {features} features or channels, "
                f"got {len(data[name])}"
            )
    if data.codec == "bounded" and (np.asarray(data.low) >= np.asarray(data.high)).any():
        raise ValueError("data.low must be below data.high in every feature or channel")


def check_bounds(data: Any, values: np.ndarray, what: str) -> None:
    """Raise ValueError for values outside of the bounds that the codec states, if it does."""
    if getattr(data, "codec", "") != "bounded":
        return
    low, high = np.asarray(data.low), np.asarray(data.high)
    if not low.size or not high.size:  # `check_rows` says so
        return
    for rows in _rows(values):
        outside = (rows < low) | (rows > high)
        if outside.any():
            row, k = (int(at[0]) for at in np.nonzero(outside))
            raise ValueError(
                f"values of the {what} must lie between data.low and data.high, feature or channel "
                f"{k} has {rows[row, k]:.9g}"
            )


def check_words(values: np.ndarray, vocabulary: int, what: str) -> None:
    """Raise ValueError for tokens of texts [n, length] that are not in a vocabulary of that size.

    Negative numbers and NaN stand for no token.
    """
    for rows in _rows(values):
        there = rows[rows >= 0]
        wrong = there[(there >= vocabulary) | (there % 1 != 0)]
        if len(wrong):
            raise ValueError(
                f"tokens of {what} must be whole numbers below model.vocabulary = {vocabulary}, or "
                f"-1 where there is none, got {wrong[0]:.9g}"
            )


def moments(values: np.ndarray, what: str, names: tuple[str, ...] = ()) -> tuple[Row, Row]:
    """(mean, standard deviation) of each feature of vectors [n, d], or channel of [n, ..., c].

    Values that are NaN are left out. Raises ValueError, naming the feature, for one that is
    constant or has no value.
    """
    last = values.shape[-1]
    count, total = np.zeros(last), np.zeros(last)
    for rows in _rows(values):
        count += np.isfinite(rows).sum(axis=0)
        total += np.nansum(rows, axis=0)
    mean = total / np.maximum(count, 1)
    square = sum(np.nansum((rows - mean) ** 2, axis=0) for rows in _rows(values))
    std = np.sqrt(square / np.maximum(count, 1))
    rounding = 4 * np.finfo(values.dtype if values.dtype.kind == "f" else np.float64).eps
    for k in np.flatnonzero(std <= rounding * np.abs(mean)):
        told = f"{k} ({names[k]})" if names else f"{k}"
        kind = "column" if values.ndim == 2 else "channel"
        why = f"is always {mean[k]:.6g}" if count[k] else "has no values"
        raise ValueError(
            f"{kind} {told} of the {what} {why}, so that it has no scale: leave it out of the "
            "data, or use the codec identity"
        )
    return tuple(mean.tolist()), tuple(std.tolist())


def _rows(values: np.ndarray) -> Iterator[Float[np.ndarray, "m c"]]:
    block = max(1, BLOCK_VALUES * len(values) // max(values.size, 1))
    for first in range(0, len(values), block):
        yield values[first : first + block].reshape(-1, values.shape[-1]).astype(np.float64)
