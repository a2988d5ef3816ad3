"""The Gaussian with the training data's moments, nearly exact for the data's law at T."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from data_lib import Codec, Images
from data_lib.transforms import to_unit

LARGEST = 4096
"""Largest images, in numbers, with a covariance: for 50,000 of 3,072 it takes minutes."""
NOISE = 0.02
"""Largest fraction of the sum of squared eigenvalues that may be due to having few images."""
BLOCK = 4096
"""Images that are added to the covariance at a time."""

LawMoments = tuple[np.ndarray, ...]
"""Moments as arguments of `flow.prior_mismatch`: (mean [*d], variances [*d]), or those along
principal components, (mean [*d], variances [d], basis [d, d]); in the network's range."""


class DataLaw(NamedTuple):
    """Moments, and their description; empty if no prior mismatch is wanted."""

    moments: LawMoments = ()
    words: str = ""


def diagonal(images: Images, codec: Codec, why: str) -> DataLaw:
    """The law with mean and variance of each coordinate; `why` there is no covariance."""
    words = f"the variance of each coordinate of {len(images)} training examples, {why}"
    return DataLaw(pixel_moments(images, codec), words)


def data_law(images: Images, codec: Codec) -> DataLaw:
    """The law with mean and covariance of images, or only the variance of each coordinate.

    With n images the sum of the covariance's squared eigenvalues is too large by (tr C)^2 / n,
    which is little for images, whose variance is in few directions.
    """
    d = images.pixels[0].size
    if d > LARGEST:
        return diagonal(images, codec, f"which have more than {LARGEST} numbers each")
    mean, covariance = _covariance(images, codec)
    if np.trace(covariance) ** 2 > NOISE * len(images) * np.sum(covariance**2):
        return diagonal(images, codec, "which are too few for a covariance")
    variances, basis = np.linalg.eigh(covariance)
    found = mean, np.maximum(variances, 0.0), basis
    return DataLaw(found, f"the covariance of {len(images)} training examples")


def _blocks(images: Images, codec: Codec) -> Iterator[Float[np.ndarray, "b *d"]]:
    for first in range(0, len(images), BLOCK):
        pixels = images.pixels[first : first + BLOCK]
        yield np.asarray(codec.encode(to_unit(pixels, images.levels)), np.float64)


def _covariance(
    images: Images, codec: Codec
) -> tuple[Float[np.ndarray, "*d"], Float[np.ndarray, "d d"]]:
    """(mean, covariance, divided by n) in float64, converting only some images at a time."""
    n, d = len(images), images.pixels[0].size
    mean = sum(x.sum(axis=0) for x in _blocks(images, codec)) / n
    covariance = np.zeros((d, d))
    for x in _blocks(images, codec):
        gaps = (x - mean[None]).reshape(-1, d)
        covariance += gaps.T @ gaps
    return mean, covariance / n


def pixel_moments(images: Images, codec: Codec) -> tuple[np.ndarray, np.ndarray]:
    """(mean, variance) of each pixel of each channel, in the network's range."""
    scaled = codec.encode(to_unit(images.pixels, images.levels))
    return scaled.mean(axis=0, dtype=np.float64), scaled.var(axis=0, dtype=np.float64)
