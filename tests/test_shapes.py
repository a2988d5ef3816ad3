"""Signatures are checked while tests run; those of arrays and nothing else."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, PRNGKeyArray

from sde_lib import VP
from sde_lib.base import Number
from tests.shapes import checked


@checked
def scaled(
    x: Float[Array, "b d"], c: Number, mode: Any, key: PRNGKeyArray | None = None
) -> tuple[Float[Array, " b"], Float[Array, ""] | None]:
    """Rows' sums; as many as `mode` says."""
    return jnp.ones(mode), None if key is None else jnp.asarray(c, float)


X = jnp.ones((3, 2))


def test_arrays_of_the_stated_shapes_pass_and_other_types_are_nobodys_business() -> None:
    assert scaled(X, 2.0, 3)[1] is None
    assert scaled(X, 2, 3, "no key")[1] == 2
    assert scaled(X, jnp.asarray(2.0), (3,))[0].shape == (3,)
    assert scaled(np.ones((3, 2), np.float32), np.float32(2), 3)[1] is None


@pytest.mark.parametrize("arguments, words", [
    ((X[0], 2.0, 3), "parameter 'x'"),
    ((X.astype(jnp.int32), 2.0, 3), "parameter 'x'"),
    ((np.ones((3, 2), np.int32), 2.0, 3), "parameter 'x'"),
    ((X, jnp.ones(2), 3), "parameter 'c'"),
    ((X, 2.0, 4), "return value"),
])  # fmt: skip
def test_arrays_of_other_shapes_or_types_are_refused(arguments, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        scaled(*arguments)


def test_a_function_without_arrays_is_left_as_it_is() -> None:
    def plain(x: int, y: list[str]) -> None: ...

    assert checked(plain) is plain


def test_the_library_is_checked() -> None:
    with pytest.raises(TypeError, match="prior_log_prob"):
        VP().prior_log_prob(jnp.ones(()))
