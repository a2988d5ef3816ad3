"""Solvers whose step is linear in their evaluations: one method, many plans.

A row is one score evaluation, which gives (x_0, eps) at the current point x, and one draw of noise.
Row k, with its weights D and E, appends f_k = D x_0 + E eps and z_k ~ N(0, I) to the history, and
then sets

    x <- c x + b base + sum_j w_j f_j + exp(e v) sum_j n_j z_j,          j <= k,

where base is x at the start of the step, and v the fraction that the evaluation says, for a sampler
with learned variances (e = 0 for others). A row may also add noise to x before it evaluates:
`Rise`. Stages within a step are rows that begin at base, and share a noise by weights on the same
z_j; multistep methods have weights on the f_j of earlier steps; a corrector that reuses the next
evaluation changes the next row's weights. All are tables of the same numbers, so all of one size
share one compiled program.

A sampler that depends on x_t alone need not number rows: `samplers.planned.one_step`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samplers.base import Last, LastRow, Method, Plan, Program, State, evaluated
from samplers.planned.levels import Levels, Numbers, Schedule
from sde_lib import Score
from sde_lib.pytree import pytree, static

Weight = Numbers | float
Weights = Mapping[int, Weight]
"""Weights by the number of the row whose f or z they multiply."""


class Rise(NamedTuple):
    """Noise from time `start` up to a row's t, before it evaluates: x <- x x + z N(0, I)."""

    start: Weight
    x: Weight
    z: Weight


@dataclass(frozen=True)
class Row:
    """One evaluation at t and the update from it; in the symbols of the module's docstring
    t, D, E, c, b, w, n and e. first: whether a step begins here."""

    t: Weight
    x0: Weight = 0.0
    eps: Weight = 0.0
    x: Weight = 0.0
    base: Weight = 0.0
    f: Weights = field(default_factory=dict)
    z: Weights = field(default_factory=dict)
    first: bool = True
    rise: Rise | None = None
    spread: Weight | None = None

    def mapped(self, change: Callable[[Weight], Weight]) -> Row:
        """The row with `change` applied to every number."""
        t, x0, eps, x, base = map(change, (self.t, self.x0, self.eps, self.x, self.base))
        f, z = ({j: change(w) for j, w in of.items()} for of in (self.f, self.z))
        rise = self.rise and Rise(*map(change, self.rise))
        spread = None if self.spread is None else change(self.spread)
        return Row(t, x0, eps, x, base, f, z, self.first, rise, spread)

    def renumbered(self, start: int) -> Row:
        """The same row after `start` rows are put before the one numbered 0."""
        f = {j + start: w for j, w in self.f.items()}
        return replace(self, f=f, z={j + start: n for j, n in self.z.items()})


# On the device ------------------------------------------------------------------------------------


def _remember(new: Float[Array, "b *d"], past: Float[Array, "k b *d"]) -> Float[Array, "k b *d"]:
    return jnp.concatenate([new[None], past[:-1]])


def _sum(weights: Float[Array, " k"], past: Float[Array, "k b *d"]) -> Float[Array, "b *d"]:
    # Written as a sum, because an accelerator would round the factors of a matrix product.
    return reduce(jnp.add, [weights[k] * past[k] for k in range(len(past))])


@pytree
class Linear(Method):
    """The method that runs the rows. seen, noises: number of f and z that are kept, newest first
    (noises = 0: none is drawn); rises, spreads: whether there are any."""

    seen: int = static()
    noises: int = static()
    rises: bool = static()
    spreads: bool = static(default=False)

    keeps_memory = True

    def init(self, state: State) -> State:
        kept = lambda n: jnp.zeros((n, *state.x.shape), state.x.dtype)
        return replace(state, history=(state.x, kept(self.seen), kept(self.noises)))

    def step(self, score: Score, state: State, row: dict[str, Float[Array, "..."]]) -> State:
        base, f, noises = state.history
        x = state.x
        if self.rises:
            state, z = state.normal()
            x = row["rise_x"] * x + row["rise_z"] * z
        base = jnp.where(row["first"], x, base)
        found: Any
        state, found = evaluated(score, state, x, row["t"])
        f = _remember(row["x0"] * found.x0 + row["eps"] * found.noise, f)
        x = row["x"] * x + row["base"] * base + _sum(row["f"], f)
        if self.noises:
            state, z = state.normal()
            noises = _remember(z, noises)
            scale = jnp.exp(row["spread"] * found.fraction) if self.spreads else 1.0
            x = x + scale * _sum(row["z"], noises)
            if found.shift is not None:
                x = x + (scale * row["z"][0]) ** 2 * found.shift
        return replace(state, x=x, history=(base, f, noises))


# On the host --------------------------------------------------------------------------------------


def _window(weights: Sequence[Weights], least: int) -> Float[np.ndarray, "r k"]:
    """Weights of each row on its own evaluation and on those before it, newest first."""
    ages = [i - j for i, own in enumerate(weights) for j in own]
    if min(ages, default=0) < 0:
        raise ValueError("a row weighs the f or z of a row that comes after it")
    needed = max((age + 1 for age in ages), default=least)
    # Fewer lengths, so that more solvers share a program.
    table = np.zeros((len(weights), 1 << (needed - 1).bit_length() if needed else 0))
    for i, own in enumerate(weights):
        for j, weight in own.items():
            table[i, i - j] = weight
    return table


def tabulate(
    steps: Sequence[Row], end: Numbers, dtype: np.dtype, last: Last | Row | None = None
) -> Plan:
    """The plan of the rows of `steps`, which lead to the time `end`, and of the step from there.

    Raises:
        ValueError: a row has a weight on a later row, or a weight is not finite.
    """
    rows = [*steps, last] if isinstance(last, Row) else steps
    names = ("t", "x0", "eps", "x", "base")
    table = {name: np.asarray([getattr(row, name) for row in rows]) for name in names}
    table |= {"f": _window([row.f for row in rows], 1), "z": _window([row.z for row in rows], 0)}
    rises = [row.rise or Rise(row.t, 1.0, 0.0) for row in rows]
    if any(row.rise for row in rows):
        table |= {f"rise_{of}": np.asarray([getattr(up, of) for up in rises]) for of in "xz"}
    if any(row.spread is not None for row in rows):
        table |= {"spread": np.asarray([row.spread or 0.0 for row in rows])}
    _check_finite(table)
    first = np.asarray([row.first for row in steps])
    starts = [up.start for up, row in zip(rises, steps, strict=False) if row.first]
    method = Linear(table["f"].shape[1], table["z"].shape[1], "rise_x" in table, "spread" in table)
    numbers = {name: column.astype(dtype) for name, column in table.items()}
    numbers |= {"first": np.asarray([row.first for row in rows])}
    found: Last | LastRow | None
    if isinstance(last, Row):
        found = LastRow({name: jnp.asarray(column[-1]) for name, column in numbers.items()})
        numbers = {name: column[:-1] for name, column in numbers.items()}
    else:
        found = last and jax.tree.map(dtype.type, last)
    program = Program(method, numbers, found)
    return Plan(program, np.cumsum(first) - 1, np.asarray([*starts, end], dtype), len(steps))


def _check_finite(table: Mapping[str, Float[np.ndarray, "r ..."]]) -> None:
    by_row = lambda column: np.isfinite(column).all(axis=tuple(range(1, column.ndim)))
    finite = [by_row(column) for column in table.values()]
    lost = np.flatnonzero(~np.all(finite, axis=0))
    if len(lost):
        raise ValueError(
            "the weights of this predictor are not finite in its step from "
            f"t = {table['t'][lost[0]]:.4g}: two neighbours of the grid have the same noise level "
            "there (lower sampling.num_steps), or alpha or sigma is 0 (raise sampling.eps)"
        )


class LinearSampler(abc.ABC):
    """A sampler given by a rule for its rows. Holds no state."""

    adaptive = False

    @property
    @abc.abstractmethod
    def order(self) -> int:
        """The order of convergence, weak if stochastic."""

    @property
    def stochastic(self) -> bool:
        """True if any row draws noise."""
        return False

    @property
    def by_levels(self) -> bool:
        """True if its rows come from the levels alone, and its last step is one evaluation, so that
        the step may lead to a state that is no time of the SDE (`samplers.planned.ending`)."""
        return False

    @abc.abstractmethod
    def rows(self, schedule: Schedule, levels: Levels) -> list[Row]:
        """The rows of a run through `levels`."""

    def last(self, schedule: Schedule, levels: Levels) -> Last:
        """The step from the last of the levels to x_0; its variance is the kernel's, sigma^2."""
        return Last(levels.sigma[-1] ** 2)

    def whole(self, schedule: Schedule, levels: Levels) -> tuple[list[Row], Last | Row]:
        """The rows of a run through `levels`, and the step from the last of them."""
        rows = self.rows(schedule, levels) if len(levels) > 1 else []
        return rows, self.last(schedule, levels)

    def plan(self, score: Score, times: Float[Array, " n"]) -> Plan:
        """The plan of the rows, in the precision of `times`."""
        schedule = Schedule(score)
        levels = schedule.at(times)
        with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is refused below
            rows, last = self.whole(schedule, levels)
        if not self.stochastic and any(row.z or row.rise for row in rows):
            raise TypeError(f"{type(self).__name__} draws noise: it must say `stochastic = True`")
        return tabulate(rows, levels.t[-1], times.dtype, last)
