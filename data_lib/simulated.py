"""Simulated examples: draws that are the same at every start, and their held-out part.

Each random quantity has a generator of its own, so that asking for more examples leaves the first
ones as they are. An example is identified by what it is a draw of and its number, since rounding,
and with it a hash of its values, may differ between machines.
"""

import zlib

import numpy as np
from jaxtyping import Shaped, UInt64

from data_lib import digests
from data_lib.base import Images, Splits, hold_out
from data_lib.config import DataConfig

SEED = 20260701
DEFAULT = 10_000
"""Number of examples if data.simulations is 0."""
MOST = 2**31
"""Most numbers that are simulated: 8 GiB."""


def generator(*names: str) -> np.random.Generator:
    """The generator of the random quantity of these names."""
    return np.random.default_rng([SEED, *(zlib.crc32(name.encode()) for name in names)])


def count(config: DataConfig, size: int) -> int:
    """The number of examples to simulate, of `size` numbers each; ValueError for too many."""
    n = config.simulations or DEFAULT
    if n * size > MOST:
        raise ValueError(
            f"data.simulations must be at most {MOST // size:,} for examples of {size:,} numbers, "
            f"got {n:,}"
        )
    return n


def splits(
    values: Shaped[np.ndarray, "n *d"],
    condition: Shaped[np.ndarray, "n *c"] | None,
    config: DataConfig,
    law: str,
    names: tuple[str, ...] = (),
) -> Splits:
    """Both parts of examples drawn from a `law`, whose name tells all that it depends on."""
    hashes = _numbered(law, len(values))
    images = Images(values, None, None, hashes, f"{law} has no labels", condition, names)
    return hold_out(images, config.test_fraction, law)


def _numbered(law: str, n: int) -> UInt64[np.ndarray, " n"]:
    key = np.full(n, zlib.crc32(law.encode()), np.uint64)
    return digests.of_rows(np.stack([key, np.arange(n, dtype=np.uint64)], axis=1))
