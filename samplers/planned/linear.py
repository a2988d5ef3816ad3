"""Every solver whose step is linear in what it has seen: one method, planned in many ways.

A row is one score evaluation, which gives (x_0, eps) at the current point x. With D and E its
weights, the combination f = D x_0 + E eps joins the history f_0, f_1, ... (newest first), and

    x <- c x + b base + sum_k w_k f_k + n z,          z ~ N(0, I),

where base is what x was at the first row of the step. A row may also add noise to x before it
evaluates: x <- keep x + stir z. Runge-Kutta stages are rows within a step, multistep methods use
the history, a corrector that reuses the next evaluation changes the next row's weights: all are
tables of the same numbers, so all of one size share one compiled program.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samplers.base import Plan, State
from samplers.planned.levels import Clock, Levels, Numbers
from sde_lib import Score
from sde_lib.pytree import pytree, static


@dataclass(frozen=True)
class Row:
    """One evaluation and what is made of it; symbols as in the module's docstring.

    history: weights by the number of the row whose f they multiply.
    """

    t: Numbers
    data: Numbers | float = 0.0
    noise: Numbers | float = 0.0
    x: Numbers | float = 0.0
    base: Numbers | float = 0.0
    history: Mapping[int, Numbers | float] = field(default_factory=dict)
    z: Numbers | float = 0.0
    keep: Numbers | float = 1.0
    stir: Numbers | float = 0.0
    first: bool = True
    start: Numbers | None = None
    """Where the step starts, if a row stirs x up to t from there."""


@pytree
class Linear:
    """Runs the rows. depth: of the history; stirs, adds: whether noise is drawn before and after
    evaluations."""

    depth: int = static()
    stirs: bool = static()
    adds: bool = static()

    def init(self, state: State) -> State:
        past = jnp.zeros((self.depth, *state.x.shape), state.x.dtype)
        return replace(state, history=(state.x, past))

    def step(self, score: Score, state: State, row: dict[str, Float[Array, "..."]]) -> State:
        base, past = state.history
        x = state.x
        if self.stirs:
            state, z = state.normal()
            x = row["keep"] * x + row["stir"] * z
        base = jnp.where(row["first"], x, base)
        x0, eps = score.predict(x, row["t"])
        f = row["data"] * x0 + row["noise"] * eps
        past = jnp.concatenate([f[None], past[:-1]])
        # Written as a sum, because an accelerator would round the factors of a matrix product.
        seen = sum(row["history"][k] * past[k] for k in range(self.depth))
        x = row["x"] * x + row["base"] * base + seen
        if self.adds:
            state, z = state.normal()
            x = x + row["z"] * z
        return replace(state, x=x, history=(base, past))


def tabulate(
    rows: Sequence[Row], end: Numbers, dtype: np.dtype, *, stirs: bool, adds: bool
) -> Plan:
    """The plan of `rows`, which lead to the time `end`."""
    needed = max(i - j + 1 for i, row in enumerate(rows) for j in (i, *row.history))
    depth = 1 << (needed - 1).bit_length()  # fewer lengths, so that more solvers share a program
    history = np.zeros((len(rows), depth))
    for i, row in enumerate(rows):
        for j, weight in row.history.items():
            history[i, i - j] = weight
    names = ["t", "data", "noise", "x", "base"] + ["z"] * adds + ["keep", "stir"] * stirs
    table = {name: np.asarray([getattr(row, name) for row in rows], dtype) for name in names}
    first = np.asarray([row.first for row in rows])
    table |= {"history": history.astype(dtype), "first": first}
    interval = np.cumsum(first) - 1
    starts = [row.t if row.start is None else row.start for row in rows if row.first]
    times = np.asarray([*starts, end], dtype)
    return Plan(Linear(depth, stirs, adds), table, interval, times, len(rows))


class LinearSampler(abc.ABC):
    """A sampler that is a rule for rows. Holds no state.

    stirs: draws noise before evaluations; adds: after them.
    """

    order: int
    stirs: bool = False
    adds: bool = False

    @property
    def stochastic(self) -> bool:
        """Whether noise is drawn at all."""
        return self.stirs or self.adds

    @abc.abstractmethod
    def rows(self, clock: Clock, levels: Levels) -> list[Row]:
        """The rows of a run through `levels`."""

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        """The rows, in the precision of `times`."""
        clock = Clock(score)
        levels = clock.at(times)
        rows = self.rows(clock, levels)
        return tabulate(rows, levels.t[-1], times.dtype, stirs=self.stirs, adds=self.adds)
