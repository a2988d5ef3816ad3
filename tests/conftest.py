"""Strictness for every test: no silent broadcasting across ranks, no silent promotion of types."""

import os
from collections.abc import Iterator

# Most of the suite's time is compilation; light optimization halves it and changes round-off only.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=1"

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision, for statements about mathematics rather than about round-off."""
    with jax.enable_x64(True):
        yield
