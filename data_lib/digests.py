"""64-bit hashes that identify images by content: BLAKE2b, the same on every machine."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8, UInt64

from untrusted import open_regular

_BYTES = 8
_BLOCK = 1024
"""Rows that are made contiguous at a time, since an array may be larger than the memory."""


def _hash() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=_BYTES)


def of_rows(array: Shaped[np.ndarray, "n *shape"]) -> UInt64[np.ndarray, " n"]:
    """The hash of the bytes of every array[k]."""
    hashes = (
        hashlib.blake2b(row.data, digest_size=_BYTES).digest()
        for first in range(0, len(array), _BLOCK)
        for row in _bytes(array[first : first + _BLOCK])
    )
    return np.frombuffer(b"".join(hashes), "<u8").astype(np.uint64)


def of_texts(texts: Shaped[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """The hash of every text."""
    hashes = (hashlib.blake2b(str(t).encode(), digest_size=_BYTES).digest() for t in texts)
    return np.frombuffer(b"".join(hashes), "<u8").astype(np.uint64)


def _bytes(rows: Shaped[np.ndarray, "n *shape"]) -> UInt8[np.ndarray, "n bytes"]:
    return np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)


def of_file(path: Path) -> int:
    """The hash of the bytes of a regular file; links are followed."""
    with open_regular(path, named=True) as file:
        found = hashlib.file_digest(file, _hash)  # type: ignore[arg-type]
        return int.from_bytes(found.digest(), "little")
