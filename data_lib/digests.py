"""64-bit hashes that identify images by content: BLAKE2b, the same on every machine."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt64

from untrusted import open_regular

_BYTES = 8


def _hash() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=_BYTES)


def of_rows(array: Shaped[np.ndarray, "n *shape"]) -> UInt64[np.ndarray, " n"]:
    """The hash of the bytes of every array[k]."""
    rows = np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)
    hashes = (hashlib.blake2b(row.data, digest_size=_BYTES).digest() for row in rows)
    return np.frombuffer(b"".join(hashes), "<u8").astype(np.uint64)


def of_file(path: Path) -> int:
    """The hash of the bytes of a regular file; links are followed."""
    with open_regular(path, named=True) as file:
        found = hashlib.file_digest(file, _hash)  # type: ignore[arg-type]
        return int.from_bytes(found.digest(), "little")
