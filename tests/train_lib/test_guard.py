"""A state that may be stored; refusal of bad updates is in test_step.py."""

import jax.numpy as jnp

from tests.train_lib.test_step import RECIPE, fresh
from train_lib.guard import all_finite


def test_a_state_is_finite_if_all_its_numbers_are():
    state = fresh(RECIPE).as_dict()
    assert all_finite(state)
    for bad in (jnp.nan, jnp.inf):
        assert not all_finite({**state, "ema": {"w": jnp.asarray([1.0, bad])}})
