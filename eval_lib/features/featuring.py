"""Features of images on the host: in batches, over all devices, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from data_lib.base import Log
from data_lib.transforms import to_unit
from eval_lib.features.extractors import Extractor, extract
from eval_lib.metrics import FeatureSet, Moments
from runtime_lib import batches, sharding
from runtime_lib.results import Arrays, Part, Parts, Shapes

KEPT = 50_000
"""Most images of a set whose features are kept, beside the moments of all."""
LEVELS = 256
"""Levels of continuous data after quantization."""


def _round(x: np.ndarray, top: int) -> np.ndarray:
    return np.rint(x * top)


def _truncate(x: np.ndarray, top: int) -> np.ndarray:
    return np.floor(x * top)


QUANTIZE: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "round": _round,
    "truncate": _truncate,
}
"""Rules that map a value times the highest level to a level: the nearest, as in image files, or the
one below, as in score_sde's evaluation."""


def quantize(
    x: Float[np.ndarray, "*shape"], levels: int | None, rule: str
) -> Shaped[np.ndarray, "*shape"]:
    """Values to integer levels: clipped to [0, 1], NaN black; 256 levels for continuous data."""
    clipped, top = np.clip(np.nan_to_num(x), 0.0, 1.0), (levels or LEVELS) - 1
    return QUANTIZE[rule](clipped, top).astype(np.uint8 if top < 256 else np.uint16)


@dataclass(frozen=True)
class Featurer:
    """Features of batches of one size; an image's features do not depend on its batch."""

    extractor: Extractor
    size: int
    levels: int

    def __call__(self, pixels: Shaped[np.ndarray, "n h w c"]) -> Arrays:
        """Features of at most `size` images in integer levels: {pool, logits, spatial}, no None."""
        mesh = sharding.device_mesh()
        rows = batches.numbers(0, self.size, len(pixels), mesh.size)
        images = sharding.distribute(to_unit(pixels, self.levels)[rows], mesh)
        network = sharding.on_mesh(self.extractor.network, mesh)
        found = extract(network, images)._asdict()
        return {k: sharding.collect(v)[: len(pixels)] for k, v in found.items() if v is not None}

    def shapes(self, image: tuple[int, ...], count: int) -> Shapes:
        """The arrays of `count` images of shape `image` [h, w, c]; nothing is computed."""
        one = jax.ShapeDtypeStruct((1, *image), jnp.float32)
        found = jax.eval_shape(self.extractor.network, one)._asdict()
        return {k: (count, *v.shape[1:]) for k, v in found.items() if v is not None}


def streamed(
    parts: Iterator[Arrays], images: np.ndarray | None, labels: np.ndarray | None, total: int
) -> FeatureSet:
    """The set of all parts, in their order: moments of all, features of `KEPT` of them.

    Parts may be read from the disk one by one; only `KEPT` features are in memory.
    """
    pool = spatial = None
    kept: dict[str, list[np.ndarray]] = {"pool": [], "logits": []}
    rows = _kept_rows(total)
    first = 0
    for batch in parts:
        pool = _join(pool, batch["pool"])
        if "spatial" in batch:
            spatial = _join(spatial, batch["spatial"])
        own = rows[(rows >= first) & (rows < first + len(batch["pool"]))] - first
        for name, found in kept.items():
            if name in batch:
                found.append(batch[name][own])
        first += len(batch["pool"])
    if pool is None:
        raise ValueError("there are no images to compute features of")
    arrays = {name: np.concatenate(found) for name, found in kept.items() if found}
    pick = lambda x: None if x is None else x[rows]
    return FeatureSet(
        pool, arrays["pool"], arrays.get("logits"), spatial, pick(images), pick(labels)
    )


def _kept_rows(total: int) -> np.ndarray:
    if total <= KEPT:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).permutation(total)[:KEPT])


def _join(moments: Moments | None, x: np.ndarray) -> Moments:
    own = Moments.of(x)
    return own if moments is None else moments + own


def _check_finite(arrays: Arrays, extractor: Extractor) -> None:
    if lost := [name for name, x in arrays.items() if not np.isfinite(x).all()]:
        raise ValueError(f"{extractor.identity} gives {lost[0]} features that are not finite")


def features_of(
    featurer: Featurer,
    pixels: Shaped[np.ndarray, "n h w c"],
    labels: np.ndarray | None,
    parts: Parts,
    what: str,
    log: Log,
    number: int = 0,
) -> FeatureSet:
    """Features of all images in their order; finished batches are kept in `parts`.

    number: of the first image, if these are part of a larger set, so that each part has its own
    name.
    """
    total = len(pixels)
    slices = [slice(k, min(k + featurer.size, total)) for k in range(0, total, featurer.size)]

    def checked(rows: slice) -> Arrays:
        arrays = featurer(pixels[rows])
        _check_finite(arrays, featurer.extractor)
        return arrays

    def part(rows: slice) -> Part:
        count = rows.stop - rows.start
        shapes = featurer.shapes(pixels.shape[1:], count)
        return Part(f"{number + rows.start:08d}_{count}", shapes, lambda: checked(rows))

    every = parts.each([part(rows) for rows in slices], what, log)
    return streamed(every, pixels, labels, total)
