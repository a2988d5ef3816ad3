"""The sampler protocol, its state, and the one loop that runs every sampler.

A sampler turns x_t into x_s for one interval of a time grid T = t_0 > t_1 > ... > t_n. It owns
its network calls and its history; `sample` scans it over the grid in a single compiled program.
Noise comes from one key per sample, folded with the number of draws so far, so that sample k is
the same whatever the batch, the devices or the processes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from sde_lib import Score
from sde_lib.base import Time
from sde_lib.pytree import pytree

PRIOR_STREAM, STEP_STREAM = 0, 1
"""Folded into a sample's key: the prior's draw and the steps' draws never share bits."""


@pytree
class State:
    """What a sampler carries: x [b, ...], one key per sample [b], draws so far, its own history."""

    x: Float[Array, "b *d"]
    keys: PRNGKeyArray
    draws: Int[Array, ""]
    history: Any = None

    def normal(self) -> tuple[State, Float[Array, "b *d"]]:
        """Standard normal noise like x, and the state that will not draw it again."""
        keys = jax.vmap(jax.random.fold_in, (0, None))(self.keys, self.draws)
        z = jax.vmap(lambda k: jax.random.normal(k, self.x.shape[1:], self.x.dtype))(keys)
        return replace(self, draws=self.draws + 1), z


class Sampler(Protocol):
    """One step of a method, with what is known of it.

    order: the order of convergence in the step size (weak order if stochastic; 0 for correctors,
    which converge to the marginal at a fixed time instead). evaluations: score evaluations per
    step. stochastic: whether it draws noise.
    """

    @property
    def order(self) -> int: ...

    @property
    def evaluations(self) -> int: ...

    @property
    def stochastic(self) -> bool: ...

    def init(self, state: State) -> State:
        """The state with this sampler's history added."""

    def step(self, score: Score, state: State, t: Time, s: Time) -> State:
        """From x_t to x_s, where t > s are scalars, neighbours on the grid."""


@pytree
class Samples:
    """x: the samples [b, ...]; frames [f, b, ...]: states along the way, evenly spread, or None."""

    x: Float[Array, "b *d"]
    frames: Float[Array, "f b *d"] | None


def sample_keys(key: PRNGKeyArray, indices: Int[Array, " b"]) -> PRNGKeyArray:
    """One key per sample, from the run's key and the sample's number alone."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, indices)


def _stream(keys: PRNGKeyArray, stream: int) -> PRNGKeyArray:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, stream)


def count_evaluations(sampler: Sampler, steps: int, denoise: bool) -> int:
    """NFE: score evaluations per sample of a whole run."""
    return steps * sampler.evaluations + int(denoise)


@partial(jax.jit, static_argnames=("shape", "denoise", "frames"))
def sample(
    score: Score,
    sampler: Sampler,
    times: Float[Array, " n"],
    keys: PRNGKeyArray,
    *,
    shape: tuple[int, ...],
    start: Float[Array, "b *d"] | None = None,
    denoise: bool = True,
    frames: int = 0,
) -> Samples:
    """Run `sampler` down the grid `times` for one sample per key.

    Args:
        score: the model or oracle.
        sampler: any `Sampler`; numbers in it (snr, eta, ...) change without recompiling.
        times: falling grid of n times; n - 1 steps are taken.
        keys: one per sample, from `sample_keys`.
        shape: of one sample, without the batch axis.
        start: x at times[0] [b, *shape]; drawn from the prior if None.
        denoise: return E[x_0 | x] at the last time (one more evaluation) instead of x.
        frames: how many states along the way to return as well; at most one per step.
    """
    if start is None:
        draw = jax.vmap(lambda key: score.sde.prior_sample(key, shape))
        start = draw(_stream(keys, PRIOR_STREAM)).astype(times.dtype)
    steps = times.shape[0] - 1
    frames = min(frames, steps)
    state = sampler.init(State(start, _stream(keys, STEP_STREAM), jnp.zeros((), jnp.int32)))
    film = jnp.zeros((frames, *start.shape), start.dtype)

    def body(carry: tuple[State, Array], i: Array) -> tuple[tuple[State, Array], None]:
        state, film = carry
        state = sampler.step(score, state, times[i], times[i + 1])
        if frames:
            # Later steps of the same frame overwrite earlier ones: each frame ends its segment.
            film = jax.lax.dynamic_update_index_in_dim(film, state.x, i * frames // steps, 0)
        return (state, film), None

    (state, film), _ = jax.lax.scan(body, (state, film), jnp.arange(steps))
    x = score.denoise(state.x, times[-1]) if denoise else state.x
    return Samples(x, film if frames else None)
