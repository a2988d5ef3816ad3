"""The sampler protocol, its state, and the one loop that runs every sampler.

A sampler is planned, then run. `Sampler.plan` takes a time grid T = t_0 > t_1 > ... > t_n and gives
a program: a method and a table of numbers, one row per turn of the loop, computed once on the host
in float64. `sample` scans the method over the rows, compiled once. Numbers (eta, snr,
tolerances, the grid, even the choice among the linear solvers) are in the rows or leaves of the
method: changing them compiles nothing.

Noise comes from one key per sample, folded with the number of draws so far, so that sample k is
the same whatever the batch, the devices or the processes.
"""

from __future__ import annotations

import abc
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from sde_lib import Predicted, Score
from sde_lib.base import Number, Time
from sde_lib.guidance import FORGETFUL
from sde_lib.pytree import pytree, static

PRIOR_STREAM, STEP_STREAM = 0, 1
"""Numbers folded into a sample's key, to keep the prior's and the steps' draws independent."""


@pytree
class State:
    """The state of a run between two rows.

    x [b, ...]; one key per sample [b]; number of draws so far; score evaluations [b] that a plan
    cannot tell (an adaptive solver's); the method's own history; what the score remembers.
    """

    x: Float[Array, "b *d"]
    keys: PRNGKeyArray
    draws: Int[Array, ""]
    evaluations: Int[Array, " b"]
    history: Any = None
    memory: Float[Array, "b *d"] | None = None

    @classmethod
    def of(cls, x: Float[Array, "b *d"], keys: PRNGKeyArray) -> State:
        """The state at x, before any draw or evaluation."""
        return cls(x, keys, jnp.zeros((), jnp.int32), jnp.zeros(x.shape[0], jnp.int32))

    def normal(self) -> tuple[State, Float[Array, "b *d"]]:
        """(state with the draw counted, standard normal noise of the shape of x)."""
        keys = jax.vmap(jax.random.fold_in, (0, None))(self.keys, self.draws)
        z = jax.vmap(lambda k: jax.random.normal(k, self.x.shape[1:], self.x.dtype))(keys)
        return replace(self, draws=self.draws + 1), z


class Method(abc.ABC):
    """A pytree that runs on the device, one row of a plan at a time.

    keeps_memory: whether it evaluates by `evaluated` alone, so that a score may remember.
    """

    keeps_memory = False

    def init(self, state: State) -> State:
        """The state with this method's initial history."""
        return state

    @abc.abstractmethod
    def step(self, score: Score, state: State, row: Any) -> State:
        """The state after one row."""

    def finish(self, score: Score, state: State, t: Float[Array, ""]) -> Float[Array, "b *d"]:
        """The sample without noise, of the state at the last time t: E[x_0 | x]."""
        return score.recalling(state.memory).denoise(state.x, t)


@pytree
class Last:
    """The step from the last time to x_0, of which the mean is taken.

    Guidance that moves it does so by variance e^(2 spread v) times its shift, v the fraction that
    the network says.
    """

    variance: Number
    spread: Number = 0.0

    def moved(self, found: Predicted) -> Float[Array, "b *d"]:
        """E[x_0 | x_t], moved by guidance that moves steps."""
        if found.shift is None:
            return found.x0
        change = 1.0 if found.fraction is None else jnp.exp(2 * self.spread * found.fraction)
        return found.x0 + self.variance * change * found.shift


@pytree
class LastRow:
    """The step from the last time as a row of the method, like those before it."""

    row: Any


@pytree
class Program:
    """A method and its rows (leaves [r, ...]), everything that runs on the device.

    last: the step from the end to the sample, of a method that has its own.
    """

    method: Method
    rows: Any
    last: Last | LastRow | None = None


@pytree
class Plan:
    """A program and the host's knowledge of it.

    interval [r]: the step of the grid to which each row belongs. times [steps + 1]: start of each
    step, and the end. nfe: score evaluations of the whole run, except those of adaptive solvers,
    which are counted during the run. at_end: those of `Method.finish`.
    """

    program: Program
    interval: Int[np.ndarray, " r"]
    times: Float[np.ndarray, " steps_plus_1"]
    nfe: int = static()
    at_end: int = static(default=1)

    @classmethod
    def of_steps(
        cls, method: Method, t: Float[Array, " n"], s: Float[Array, " n"], nfe: int = 0
    ) -> Plan:
        """A plan with one row per step: {"t": its start, "s": its end}."""
        times = np.append(np.asarray(t), np.asarray(s[-1]))
        return cls(Program(method, {"t": t, "s": s}), np.arange(len(t)), times, nfe)

    @property
    def steps(self) -> int:
        """Number of steps of the plan."""
        return len(self.times) - 1


class Sampler(Protocol):
    """A numerical solver of the reverse process, with its known properties.

    order: the order of convergence in the step size (weak order if stochastic; 0 for correctors,
    which converge to the marginal at a fixed time instead). stochastic: whether it draws noise.
    adaptive: whether it chooses its own steps, so that the times of the grid are only points at
    which to stop on the way.
    """

    @property
    def order(self) -> int: ...

    @property
    def stochastic(self) -> bool: ...

    @property
    def adaptive(self) -> bool:
        """True if it chooses its own steps between the ends of the grid."""

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        """A program for the steps between neighbours of the falling grid `times`.

        Runs on the host. ValueError for a grid on which the solver is not defined.
        """


class Corrector(Sampler, Protocol):
    """A sampler that stays at one time; its plan on a grid acts at the start of each step."""

    def at(self, score: Score, t: Float[Array, " n"], neighbour: Float[Array, " n"]) -> Plan:
        """The plan that acts once at each of the times t; `neighbour` has a time beside each."""


@pytree
class Samples:
    """x: the samples [b, ...]; frames [f, b, ...]: states along the way, evenly spread, or None;
    evaluations [b]: network evaluations of each sample, its NFE."""

    x: Float[Array, "b *d"]
    frames: Float[Array, "f b *d"] | None
    evaluations: Int[Array, " b"]


def sample_keys(key: PRNGKeyArray, indices: Int[Array, " b"]) -> PRNGKeyArray:
    """One key per sample, from the run's key and the sample's number alone."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, indices)


def _stream(keys: PRNGKeyArray, stream: int) -> PRNGKeyArray:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, stream)


def _begun(score: Score, method: Method, state: State) -> State:
    """The state before the first row: the method's history is empty, and the score's memory."""
    if score.remembers:
        state = replace(state, memory=jnp.zeros_like(state.x))
    return method.init(state)


def evaluated(
    score: Score, state: State, x: Float[Array, "b *d"], t: Time
) -> tuple[State, Predicted]:
    """(the state with what the score now remembers, its prediction at x and t)."""
    if not score.remembers:
        return state, score.predict(x, t)
    found = score.recalling(state.memory).predict(x, t)
    return replace(state, memory=found.memory), found


def denoised(
    score: Score, program: Program, state: State, end: Float[Array, ""]
) -> Float[Array, "b *d"]:
    """E[x_0 | x] at the end of a run, or where else the program's last step leads."""
    last = program.last
    if last is None:
        return program.method.finish(score, state, end)
    if isinstance(last, LastRow):
        return program.method.step(score, state, last.row).x
    return last.moved(evaluated(score, state, state.x, end)[1])


def check_memory(score: Score, plan: Plan) -> None:
    """Raise ValueError for a score that remembers and a method that keeps nothing for it."""
    if score.remembers and not plan.program.method.keeps_memory:
        raise ValueError(FORGETFUL)


def run(score: Score, plan: Plan, state: State) -> State:
    """The state after all rows of `plan`; pure, for use under other transformations."""
    method = plan.program.method
    step = lambda state, row: (method.step(score, state, row), None)
    return jax.lax.scan(step, _begun(score, method, state), plan.program.rows)[0]


def planned_evaluations(score: Score, plan: Plan, denoise: bool) -> int:
    """Network evaluations of each sample, including the denoised end, as far as the plan can tell.

    Score evaluations times the network evaluations of each (`Score.evaluations`).
    """
    return (plan.nfe + (plan.at_end if denoise else 0)) * score.evaluations


def sample(
    score: Score,
    sampler: Sampler,
    times: Float[Array, " n"],
    keys: PRNGKeyArray,
    *,
    shape: tuple[int, ...],
    start: Float[Array, "b *d"] | None = None,
    scale: Number = 1.0,
    denoise: bool = True,
    frames: int = 0,
) -> Samples:
    """Run `sampler` down the grid `times` for one sample per key.

    Args:
        score: the model or oracle.
        sampler: any `Sampler`; numbers in it (snr, eta, ...) change without recompiling.
        times: falling grid of n times; n - 1 steps are taken.
        keys: one per sample, from `sample_keys`.
        shape: shape of one sample, without the batch axis.
        start: x at times[0] [b, *shape]; drawn from the prior if None.
        scale: factor on what is drawn from the prior.
        denoise: return E[x_0 | x] at the last time (one more evaluation) instead of x.
        frames: number of states along the way to return as well; at most one per step.

    Raises:
        ValueError: the grid does not suit the sampler.
    """
    plan = sampler.plan(score, times)
    check_memory(score, plan)
    frames = min(frames, plan.steps)
    # Counted in steps, not in rows: the stages within a step are no states of the process.
    film_index = plan.interval * frames // max(plan.steps, 1)
    known = planned_evaluations(score, plan, denoise)
    drawn = _sample(
        score, plan.program, film_index, times[-1], keys, start, jnp.asarray(scale, times.dtype),
        shape=shape, denoise=denoise, frames=frames,
    )  # fmt: skip
    return replace(drawn, evaluations=drawn.evaluations + known)


@partial(jax.jit, static_argnames=("shape", "denoise", "frames"))
def _sample(
    score: Score,
    program: Program,
    film_index: Int[Array, " r"],
    end: Float[Array, ""],
    keys: PRNGKeyArray,
    start: Float[Array, "b *d"] | None,
    scale: Float[Array, ""],
    *,
    shape: tuple[int, ...],
    denoise: bool,
    frames: int,
) -> Samples:
    if start is None:
        draw = jax.vmap(lambda key: score.sde.prior_sample(key, shape))
        start = scale * draw(_stream(keys, PRIOR_STREAM)).astype(end.dtype)
    state = _begun(score, program.method, State.of(start, _stream(keys, STEP_STREAM)))
    film = jnp.zeros((frames, *start.shape), start.dtype)

    def body(carry: tuple[State, Array], row: Any) -> tuple[tuple[State, Array], None]:
        (state, film), (numbers, frame) = carry, row
        state = program.method.step(score, state, numbers)
        if frames:
            # Later rows of the same frame overwrite earlier ones: each frame ends its segment.
            film = jax.lax.dynamic_update_index_in_dim(film, state.x, frame, 0)
        return (state, film), None

    (state, film), _ = jax.lax.scan(body, (state, film), (program.rows, film_index))
    x = denoised(score, program, state, end) if denoise else state.x
    return Samples(x, film if frames else None, state.evaluations * score.evaluations)
