"""Error of the predicted noise at each noise level, on training and on held-out images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from runtime_lib import batches, sharding
from sde_lib import ModelScore
from sde_lib.base import Number
from sde_lib.condition import Condition

LEVELS, MOST = 20, 1000
"""Number of noise levels, evenly spaced in log-SNR, and largest number of images of each split."""


@jax.jit
def _errors(
    score: ModelScore, x0: Array, condition: Condition, times: Array, keys: PRNGKeyArray
) -> Float[Array, "t b"]:
    def at(t: Array, number: Array) -> Float[Array, " b"]:
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        noise = jax.vmap(lambda key: jax.random.normal(key, x0.shape[1:], x0.dtype))(own)
        every = jnp.full(len(x0), t)
        predicted = score.noise(score.sde.perturb(x0, noise, every), every, condition)
        return jnp.mean((predicted - noise).reshape(len(x0), -1) ** 2, axis=1)

    return jax.lax.map(lambda pair: at(*pair), (times, jnp.arange(len(times))))


def levels(score: ModelScore, eps: Number) -> tuple[Float[Array, " t"], Float[Array, " t"]]:
    """(times from eps to T, their log-SNR), evenly spaced in log-SNR."""
    sde = score.sde
    ends = sde.log_snr(jnp.asarray([eps, sde.T], float))
    log_snr = jnp.linspace(ends[0], ends[1], LEVELS)
    return jnp.clip(sde.time_of_log_snr(log_snr), eps, sde.T), log_snr


def curve(
    score: ModelScore,
    x0: Float[np.ndarray, "n *d"],
    condition: Condition,
    times: Float[Array, " t"],
    key: PRNGKeyArray,
    batch: int,
) -> Float[np.ndarray, " t"]:
    """Mean squared error per pixel of the predicted noise at each time, in the network's range.

    Only the first `MOST` images are used; the noise of each depends on its number alone.
    """
    mesh = sharding.mesh_of(score)
    x0 = x0[:MOST]
    put = lambda x: sharding.distribute(x, mesh)
    placed = sharding.on_mesh(score, mesh)
    found = []
    size = min(batch, MOST)  # one program for both splits
    for first in range(0, len(x0), size):
        numbers = batches.numbers(first, size, len(x0), mesh.size)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, put(jnp.asarray(numbers)))
        own = jax.tree.map(lambda rows, n=numbers: put(rows[n]), condition)
        errors = _errors(placed, put(x0[numbers]), own, times, keys)
        found.append(sharding.collect(errors)[:, : min(size, len(x0) - first)])
    return np.concatenate(found, axis=1).astype(np.float64).mean(axis=1)
