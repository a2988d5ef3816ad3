"""Strictness for every test: no silent broadcasting across ranks, no silent promotion of types."""

from collections.abc import Iterator

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision, for statements about mathematics rather than about round-off."""
    with jax.enable_x64(True):
        yield
