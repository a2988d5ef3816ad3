"""The law of a sampler's result on Gaussian data, exactly and without Monte Carlo."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import samplers
from sde_lib import SDE, Predicted, Score, expand, pytree

VARIANCE = 0.25


@pytree
class Isotropic(Score):
    """The score of N(mean, variance I) in any number of dimensions: linear, number by number."""

    sde: SDE
    variance: float = VARIANCE
    mean: Any = 0.0

    def predict(self, x, t, condition=None):
        alpha, sigma = (expand(c, x) for c in self.marginal(t))
        gain = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        x0 = self.mean + gain * (x - alpha * self.mean)
        return Predicted(x0, (x - alpha * x0) / sigma)


@pytree
class Scripted:
    """A state whose k-th noise is the k-th unit vector: x holds the weights of all noises."""

    x: jax.Array
    draws: jax.Array
    history: Any = None

    def normal(self):
        z = jax.nn.one_hot(self.draws + 1, self.x.shape[1], dtype=self.x.dtype)[None]
        return replace(self, draws=self.draws + 1), z


@jax.jit
def _run(score, method, rows, count, state):
    step = lambda i, state: method.step(score, state, jax.tree.map(lambda leaf: leaf[i], rows))
    return jax.lax.fori_loop(0, count, step, method.init(state)).x


LONGEST = 4608
"""Largest number of rows of a table: seven stages of 640 steps."""


def run(score, plan, state):
    """The last x of `samplers.run`, by one program for plans of every length."""
    missing = LONGEST - len(plan.interval)
    pad = lambda leaf: np.pad(np.asarray(leaf), [(0, missing)] + [(0, 0)] * (np.ndim(leaf) - 1))
    rows = jax.tree.map(pad, plan.program.rows)
    return _run(score, plan.program.method, rows, len(plan.interval), state)


def variance(sampler: samplers.Sampler, score: Isotropic, times: jax.Array, start: float) -> float:
    """Variance of a linear sampler's result, begun with the variance `start`."""
    plan = sampler.plan(score, times)
    # Of two sizes, so that runs of several lengths share a program.
    draws = 128 if len(plan.interval) < 64 else 2 * LONGEST + 1
    x = jnp.zeros((1, draws), times.dtype).at[0, 0].set(start**0.5)
    return float(jnp.sum(run(score, plan, Scripted(x, jnp.zeros((), jnp.int32))) ** 2))


def moments(
    sampler: samplers.Sampler, score: Isotropic, times: jax.Array, mean: float, std: float
) -> tuple[float, float]:
    """(mean, deviation) of a linear sampler's denoised result, begun with these.

    The last number of x has the mean alone, the others the weights of what is random.
    """
    plan = sampler.plan(score, times)
    draws = 2 * LONGEST + 1
    last = jnp.arange(draws + 1) == draws
    score = replace(score, mean=jnp.where(last, score.mean, 0.0)[None])
    x = jnp.where(last, mean, 0.0).at[0].set(std)[None]
    done = run(score, plan, Scripted(x.astype(times.dtype), jnp.zeros((), jnp.int32)))
    x = score.denoise(done, times[-1])[0]
    return float(x[-1]), float(jnp.linalg.norm(x[:-1]))


def marginal(sde: SDE, t: jax.Array) -> float:
    """The variance of x_t."""
    alpha, sigma = sde.marginal(t)
    return float(alpha**2 * VARIANCE + sigma**2)


@pytree
class GivenNoise:
    """A state whose noise is always z."""

    x: jax.Array
    z: jax.Array
    history: Any = None

    def normal(self):
        return self, self.z


def one_step(sampler, score, x, z, t, s):
    """x_s from x_t with the noise z."""
    plan = sampler.plan(score, jnp.stack([t, s]))
    return run(score, plan, GivenNoise(x, z))
