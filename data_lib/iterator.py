"""Batches of a split: endless and shuffled for training, a single pass for evaluation.

Examples are gathered, flipped and encoded a batch at a time from the array in memory; grain
schedules the batches and prefetches them in a thread. Process p of P gets the p-th of P equal
slices of each global batch.
"""

from collections.abc import Iterator
from functools import partial

import grain
import numpy as np
from jaxtyping import Float, Float32, Int, Shaped

from data_lib import stream
from data_lib.base import Images
from data_lib.codec import AsGiven, Codec
from data_lib.transforms import dequantize, exchange, flip, to_unit

Batch = dict[str, np.ndarray]

AS_GIVEN = AsGiven()
_ENDLESS = 2**40
# Temporaries of a megabyte stay in the allocator's hands; larger ones go back to the system
# after each batch, and getting their pages again took two thirds of the time.
_BLOCK_VALUES = 2**18
_READ_AHEAD = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)


class Batches(Iterator[Batch]):
    """Endless training batches in a fresh permutation per epoch; a batch may span two epochs.

    Gives dicts of image, float32 [B / process_count, ...] as `codec` encodes it; of label, int32
    [B / process_count], and condition, float32 [B / process_count, ...], if the data has them; and,
    if values may be `missing`, of observed, float32 like image: 1 where image has a value, and 0
    where it has 0 instead.

    A pure function of (images, batch_size, seed, options, step): `step` is the only state to save,
    and an iterator built with start_step=k continues one that had given k batches. The process
    count may differ between the two. An example has the same flip and the same noise for any batch
    size, since both belong to its position in the stream (see `stream`).

    Raises ValueError for a batch size that the processes cannot share, or for dequantization of
    continuous data.
    """

    def __init__(
        self,
        images: Images,
        *,
        batch_size: int,  # global: over all processes
        seed: int,
        flip: bool,  # mirror half of the examples left to right
        dequantize: bool,  # (v + u) / levels instead of v / (levels - 1)
        codec: Codec,
        condition_codec: Codec = AS_GIVEN,
        missing: bool = False,  # NaN are values that are not known
        exchangeable: int = 1,  # pieces of a condition that are put in a random order
        start_step: int = 0,  # batches already given
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        self._size = _share(batch_size, process_index, process_count, "training.batch_size")
        _check(images, seed, dequantize)
        if start_step < 0:
            raise ValueError(f"the step to resume at must not be negative, got {start_step}")
        self._images, self._seed = images, seed
        self._flip, self._dequantize = flip, dequantize
        self._codec, self._condition, self._missing = codec, condition_codec, missing
        self._exchangeable = exchangeable
        self._global_size, self._offset = batch_size, process_index * self._size
        self._step = start_step
        schedule = grain.MapDataset.range(start_step, _ENDLESS).map(self._batch)
        self._batches = iter(schedule.to_iter_dataset(_READ_AHEAD))

    @property
    def step(self) -> int:
        """Number of batches given so far, including those before `start_step`."""
        return self._step

    def __next__(self) -> Batch:
        batch = next(self._batches)
        self._step += 1
        return batch

    def _batch(self, step: int) -> Batch:
        start = step * self._global_size + self._offset
        indices = stream.example_indices(self._seed, len(self._images), start, self._size)
        image = np.empty((self._size, *self._images.example), np.float32)
        block = max(1, _BLOCK_VALUES * self._size // image.size)
        for at in range(0, self._size, block):
            image[at : at + block] = self._pictures(start + at, indices[at : at + block])
        return _filled(image, self._missing) | self._told(start, indices)

    def _told(self, start: int, indices: Int[np.ndarray, " n"]) -> Batch:
        conditions, pieces = self._images.condition, self._exchangeable
        rows = None if conditions is None else conditions[indices]
        if rows is not None and pieces > 1:
            places = stream.uniforms(stream.EXCHANGES, self._seed, start, len(rows), pieces)
            rows = exchange(rows, places)
        return _known(self._images, indices, rows, self._condition)

    def _pictures(self, start: int, indices: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n *d"]:
        pixels = self._images.pixels[indices]
        if self._images.drawn:
            pixels = _draw(stream.DRAWS, self._seed, start, pixels)
        if self._flip:
            coins = stream.uniforms(stream.FLIPS, self._seed, start, len(pixels), 1)[:, 0]
            pixels = flip(pixels, coins < 0.5)
        noise = _noise(stream.TRAIN_NOISE, self._seed if self._dequantize else None, start, pixels)
        return self._codec.encode(_to_float(pixels, self._images.levels, noise))


def epoch_batches(
    images: Images,
    *,
    batch_size: int,
    codec: Codec,
    condition_codec: Codec = AS_GIVEN,
    missing: bool = False,
    dequantize_seed: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """A single pass over the split, in its own order; every image occurs exactly once.

    Gives dicts of image and label as `Batches` does, without flips, and of mask, float32
    [B / process_count]: 1 for an image of the split, 0 for the padding (the split's first image)
    that fills the last batch. Every process gets the same number of batches.
    `dequantize_seed` asks for uniform dequantization; the noise of image k depends on
    (dequantize_seed, k) only. Raises ValueError as `Batches` does.
    """
    size = _share(batch_size, process_index, process_count, "eval.batch_size")
    _check(images, dequantize_seed or 0, dequantize_seed is not None)
    starts = range(process_index * size, _round_up(len(images), batch_size), batch_size)
    made = partial(_eval_batch, images, size, codec, condition_codec, missing, dequantize_seed)
    return map(made, starts)


def _eval_batch(
    images: Images, size: int, codec: Codec, condition_codec: Codec, missing: bool,
    dequantize_seed: int | None, start: int,
) -> Batch:  # fmt: skip
    positions = np.arange(start, start + size)
    inside = positions < len(images)
    indices = np.where(inside, positions, 0)
    pixels = images.pixels[indices]
    if images.drawn:
        pixels = _draw(stream.EVAL_DRAWS, 0, start, pixels)
    noise = _noise(stream.EVAL_NOISE, dequantize_seed, start, pixels)
    image = codec.encode(_to_float(pixels, images.levels, noise)).astype(np.float32, copy=False)
    rows = None if images.condition is None else images.condition[indices]
    known = _known(images, indices, rows, condition_codec)
    return {"mask": inside.astype(np.float32)} | _filled(image, missing) | known


def _draw(
    purpose: int, seed: int, start: int, moments: Float[np.ndarray, "n *s k"]
) -> Float32[np.ndarray, "n *s c"]:
    """Examples drawn from normal laws by their means and log-variances, side by side."""
    mean, logvar = np.split(moments.astype(np.float32, copy=False), 2, axis=-1)
    noise = stream.normals(purpose, seed, start, len(mean), mean[0].size)
    return mean + np.exp(0.5 * logvar) * noise.reshape(mean.shape)


def _noise(
    purpose: int, seed: int | None, start: int, pixels: Shaped[np.ndarray, "n *d"]
) -> Float32[np.ndarray, "n *d"] | None:
    if seed is None:
        return None
    width = int(np.prod(pixels.shape[1:]))
    return stream.uniforms(purpose, seed, start, len(pixels), width).reshape(pixels.shape)


def _to_float(
    pixels: Shaped[np.ndarray, "n *d"],
    levels: int | None,
    noise: Float32[np.ndarray, "n *d"] | None,
) -> Float[np.ndarray, "n *d"]:
    if pixels.dtype == np.float64:  # a codec may take an offset off, which float32 cannot hold
        return pixels
    if noise is None or levels is None:
        return to_unit(pixels, levels)
    return dequantize(pixels, levels, noise)


def _filled(image: Float32[np.ndarray, "n *d"], missing: bool) -> Batch:
    if not missing:
        return {"image": image}
    observed = ~np.isnan(image)
    return {"image": np.where(observed, image, 0.0), "observed": observed.astype(np.float32)}


def _known(
    images: Images,
    indices: Int[np.ndarray, " n"],
    rows: Shaped[np.ndarray, "n *c"] | None,
    codec: Codec,
) -> Batch:
    """Labels and conditions, which are `rows`, of examples."""
    found: Batch = {}
    if images.labels is not None:
        found["label"] = images.labels[indices]
    if rows is not None:
        found["condition"] = codec.encode(rows).astype(np.float32, copy=False)
    return found


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _share(batch_size: int, process_index: int, process_count: int, key: str) -> int:
    if batch_size < 1:
        raise ValueError(f"{key} must be positive, got {batch_size}")
    if batch_size % process_count:
        raise ValueError(
            f"{key} must be divisible by the number of processes ({process_count}), "
            f"got {batch_size}"
        )
    if not 0 <= process_index < process_count:
        raise ValueError(f"process index {process_index} is not one of {process_count} processes")
    return batch_size // process_count


def _check(images: Images, seed: int, dequantize: bool) -> None:
    if not len(images):
        raise ValueError("the split must have examples, got none")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if dequantize and images.levels is None:
        raise ValueError("data.uniform_dequantization must be False: the examples are continuous")
