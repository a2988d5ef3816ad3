"""The endless stream of training examples, as pure functions of (seed, position).

Position q is example q mod N of epoch q div N, each epoch in an order of its own. All random
draws for an example depend only on the seed and its position. So a batch is a slice of the
stream, the same for any number of processes, and training is resumed by starting at q.
"""

from functools import lru_cache

import numpy as np
import scipy.special
from jaxtyping import Float32, Int64

# One stream of random numbers for each purpose.
_ORDER, FLIPS, TRAIN_NOISE, EVAL_NOISE, EXCHANGES, DRAWS, EVAL_DRAWS = range(7)


@lru_cache(maxsize=4)
def _epoch_order(seed: int, n: int, epoch: int) -> Int64[np.ndarray, " n"]:
    return np.random.default_rng([_ORDER, epoch, seed]).permutation(n)


def example_indices(seed: int, n: int, start: int, count: int) -> Int64[np.ndarray, " count"]:
    """Indices, among n, of the examples at positions start..start+count-1 of the stream."""
    first, last = start // n, (start + count - 1) // n
    return np.concatenate(
        [
            _epoch_order(seed, n, epoch)[max(start - epoch * n, 0) : start + count - epoch * n]
            for epoch in range(first, last + 1)
        ]
    )


def uniforms(
    purpose: int, seed: int, start: int, count: int, width: int
) -> Float32[np.ndarray, "count width"]:
    """`width` uniform draws in [0, 1) for each position start..start+count-1.

    The generator jumps to `start` instead of drawing what lies before it. One 64-bit word of
    PCG64 gives two float32 draws, so every position owns an even number of them.
    """
    even = width + width % 2
    bits = np.random.PCG64(np.random.SeedSequence([purpose, 0, seed]))
    bits.advance(start * even // 2)
    return np.random.Generator(bits).random((count, even), dtype=np.float32)[:, :width]


def normals(
    purpose: int, seed: int, start: int, count: int, width: int
) -> Float32[np.ndarray, "count width"]:
    """`width` standard normal draws for each position, of `uniforms` moved off 0."""
    half = np.float32(2.0**-25)
    return scipy.special.ndtri(uniforms(purpose, seed, start, count, width) + half)
