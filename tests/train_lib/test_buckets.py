"""Losses by time: each is counted where its time lies, and named by the times of its range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sde_lib import VE, VP
from train_lib.buckets import Buckets, edges, names
from train_lib.loss import drawn
from train_lib.times import UniformTime


class Eighths:
    """t is 0, 1/8, ... or 7/8, all alike likely."""

    def quantile(self, sde: Any, u: jax.Array) -> jax.Array:
        return jnp.floor(8 * u) / 8


@dataclass(frozen=True)
class Loss:
    law: Any
    stratified: bool = True


def test_a_time_between_two_ranges_belongs_to_the_later() -> None:
    losses = jnp.arange(64.0)
    t = drawn(Loss(Eighths()), VP(), jax.random.key(0), 64)
    found = Buckets.of(Loss(Eighths()), VP(), t, losses)
    np.testing.assert_array_equal(found.number, np.full(8, 8.0))
    assert float(found.total.sum()) == 63 * 32


def test_ranges_are_named_by_their_times() -> None:
    loss = Loss(UniformTime(0.0))
    np.testing.assert_allclose(edges(loss, VE()), np.arange(1, 8) / 8)
    assert names(loss, VE()) == [
        "1e-05-0.125", "0.125-0.25", "0.25-0.375", "0.375-0.5", "0.5-0.625", "0.625-0.75",
        "0.75-0.875", "0.875-1",
    ]  # fmt: skip


def test_means_are_over_leading_axes_and_nan_where_there_was_no_loss() -> None:
    total = np.zeros((2, 3, 8), np.float32)
    number = np.zeros((2, 3, 8), np.float32)
    total[0, 1, 2], number[0, 1, 2] = 3.0, 2.0
    total[1, 2, 2], number[1, 2, 2] = 5.0, 2.0
    total[1, 0, 7], number[1, 0, 7] = -4.0, 1.0
    found = Buckets(jnp.asarray(total), jnp.asarray(number)).means()
    expected = np.full(8, np.nan)
    expected[[2, 7]] = 2.0, -4.0
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(Buckets.empty().means(), np.full(8, np.nan))
