"""The law of a linear method with a measurement on Gaussian data, exactly and without Monte Carlo.

x [1, d, columns]: the first column is the mean, and every other one the weight of a random number
of its own, d of them for each draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samplers.rules.base import LAST
from sde_lib import SDE, Predicted, Score, expand, pytree
from sde_lib.measurements.base import Measurement, Operator
from sde_lib.measurements.masks import Mask


def columns(index: Any, x: jax.Array, d: int | None = None) -> jax.Array:
    """The draw number `index`: standard normal, independent of every other draw."""
    d = d or x.shape[1]
    at = 1 + jnp.asarray(index, int) * x.shape[1] + jnp.arange(d)
    return jax.nn.one_hot(at, x.shape[2], dtype=x.dtype)[None]


@pytree
class Deviations:
    """A state that draws columns; draws of the sampler and of turns take every other place."""

    x: jax.Array
    draws: jax.Array
    history: Any = None

    def normal(self):
        return replace(self, draws=self.draws + 1), columns(2 * self.draws + 1, self.x)

    @property
    def keys(self):
        raise AssertionError("drawn from a key")


def aside(state: Deviations, turn: Any, shape: tuple[int, ...] | None = None) -> jax.Array:
    """The draw of a turn, in place of `samplers.rules.base.aside`."""
    # The last draws have the last places.
    last = (state.x.shape[2] - 1) // state.x.shape[1] - 8
    turn = jnp.asarray(turn, int)
    index = jnp.where(turn > LAST - 8, last + LAST - turn, 2 * turn + 2)
    return columns(index, state.x, None if shape is None else shape[0])


@pytree
class Law(Score):
    """The score of N(mean, covariance) in d dimensions, column by column."""

    sde: SDE
    covariance: jax.Array
    mean: jax.Array

    def predict(self, x, t, condition=None):
        alpha, sigma = (expand(c, x) for c in self.marginal(t))
        spread = alpha**2 * self.covariance + sigma**2 * jnp.eye(len(self.covariance))
        gain = alpha * self.covariance @ jnp.linalg.inv(spread)
        only = (jnp.arange(x.shape[2]) == 0)[None, None]
        mean = jnp.where(only, self.mean[None, :, None], 0.0)
        x0 = mean + jnp.einsum("ij,bjc->bic", gain, x - alpha * mean)
        return Predicted(x0, (x - alpha * x0) / sigma)


@pytree
class Matrix(Operator):
    """A x, column by column."""

    values: jax.Array

    def __call__(self, x):
        return jnp.einsum("ij,bjc->bic", self.values, x)


@pytree
class Square(Operator):
    """x^2, which is not linear."""

    linear = False

    def __call__(self, x):
        return x**2


def law_of(sde: SDE, covariance: Any, mean: Any = None) -> Law:
    covariance = jnp.atleast_2d(jnp.asarray(covariance, float))
    return Law(sde, covariance, jnp.zeros(len(covariance)) if mean is None else jnp.asarray(mean))


def known(
    y: Sequence[float], kept: Sequence[float], size: int, deviation: float = 0.0
) -> Measurement:
    """The numbers of y that are kept, the others being 0."""
    mask = Mask(jnp.asarray(kept, float)[None, :, None])
    return Measurement(mask, of_mean(y, size), jnp.asarray(deviation))


def of_mean(values: Sequence[float], size: int) -> jax.Array:
    """Numbers that are certain, as columns."""
    return jnp.zeros((1, len(values), size)).at[0, :, 0].set(jnp.asarray(values))


def moments(
    sampler: Any, score: Score, times: jax.Array, d: int, size: int, std: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """(mean, covariance) of the result of a run begun with N(0, std^2 I)."""
    plan = sampler.plan(score, times)

    @jax.jit
    def run(score: Any, program: Any) -> jax.Array:
        start = std * columns(0, jnp.zeros((1, d, size)))
        state = program.method.init(Deviations(start, jnp.zeros((), jnp.int32)))
        step = lambda state, row: (program.method.step(score, state, row), None)
        state = jax.lax.scan(step, state, program.rows)[0]
        return program.method.finish(score, state, times[-1])

    found = np.asarray(run(score, plan.program))[0]
    return found[:, 0], found[:, 1:] @ found[:, 1:].T
