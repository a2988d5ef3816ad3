"""A checksum of an array's content that does not depend on how the array is laid out.

    digest(x) = sum_i mix(i * 2^32 + word_i)  mod 2^64

over the elements of x, where i is the position in row-major order, word_i the element's bits (an
element of more than 32 bits counts as several words), and mix the bijective finalizer of SplitMix64
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).

A sum can be taken shard by shard, in any order and by any number of processes, so an array saved on
eight devices is checked on one without gathering it. Because mix is a bijection, a change within
one word always changes the digest; any other accidental change escapes with probability 2^-64. It
guards against failing disks and software, not against forgery.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, UInt64
from numpy.typing import NDArray

# Words mixed at once: the working set (two times 512 kB) stays in a core's cache.
_BLOCK = 1 << 16


def digests(arrays: Mapping[str, Array | np.ndarray]) -> dict[str, str]:
    """The digest of each array, as 16 hexadecimal digits.

    Takes about a second per gigabyte and core, and returns when every array has been read. With
    several processes all must call it with the same names: each reads the shards it holds, and the
    sums are added up.
    """
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        sums = np.array(list(pool.map(_local_sum, arrays.values())), np.uint64)
    return {name: f"{int(total):016x}" for name, total in zip(arrays, _across(sums), strict=True)}


def _across(sums: UInt64[np.ndarray, "n"]) -> UInt64[np.ndarray, "n"]:
    if jax.process_count() == 1:
        return sums
    # jax arrays have no 64-bit integers by default: the halves travel as 32-bit ones.
    gathered = np.asarray(multihost_utils.process_allgather(sums.view(np.uint32)))
    return gathered.view(np.uint64).sum(axis=0, dtype=np.uint64)


def _local_sum(array: Array | np.ndarray) -> int:
    """The part of an array's sum that this process has to add."""
    if isinstance(array, np.ndarray):
        return _sum(array, (0,) * array.ndim, array.shape)
    # With several processes, an array that is not global is the same on all: the first counts it.
    if array.is_fully_addressable and jax.process_index() != 0:
        return 0
    total = 0
    for shard in array.addressable_shards:
        if shard.replica_id == 0:
            start = tuple(part.start or 0 for part in shard.index)
            total += _sum(np.asarray(shard.data), start, array.shape)
    return total % 2**64


def _sum(block: np.ndarray, start: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Sum of a block whose first element is at `start` of an array of the given shape."""
    words = _words(block)
    if block.shape == shape:
        return _sum_run(words, 0)
    # A shard is a set of runs that are contiguous in the whole array: from the last axis that is
    # cut on, one for each index of the axes before it.
    cut = max(axis for axis, size in enumerate(shape) if block.shape[axis] != size)
    outer = [np.arange(at, at + n) for at, n in zip(start[:cut], block.shape[:cut], strict=True)]
    begins = np.ravel_multi_index(np.ix_(*outer, *([at] for at in start[cut:])), shape).reshape(-1)
    per_element = words.size // max(block.size, 1)
    runs = words.reshape(len(begins), -1)
    return sum(
        _sum_run(run, int(begin) * per_element) for run, begin in zip(runs, begins, strict=True)
    )


def _words(block: np.ndarray) -> NDArray[np.unsignedinteger]:
    kind = {1: np.uint8, 2: np.uint16}.get(block.dtype.itemsize, np.uint32)
    return np.ascontiguousarray(block).reshape(-1).view(kind)


def _sum_run(words: NDArray[np.unsignedinteger], begin: int) -> int:
    total = 0
    for at in range(0, words.size, _BLOCK):
        part = words[at : at + _BLOCK].astype(np.uint64)
        position = np.arange(begin + at, begin + at + part.size, dtype=np.uint64)
        total += int(_mix(part + (position << np.uint64(32))).sum(dtype=np.uint64))
    return total % 2**64


def _mix(z: UInt64[np.ndarray, "n"]) -> UInt64[np.ndarray, "n"]:
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z
