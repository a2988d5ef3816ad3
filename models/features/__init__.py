"""Networks whose features measure images."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Float

__all__ = ["Features"]


class Features(NamedTuple):
    """Of a batch: features, a classifier's logits, and features that know where things are."""

    pool: Float[Array, "b d"]
    logits: Float[Array, "b k"] | None = None
    spatial: Float[Array, "b s"] | None = None
