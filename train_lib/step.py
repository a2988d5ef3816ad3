"""The training step: one jitted, donated, data-parallel program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from configs.kinds import Kinds
from models.layers.conditions import hide
from models.layers.cpu.barriers import compiler_options
from models.layers.cpu.loop import scan
from models.layers.cpu.outline import outlined
from models.layers.cpu.together import together
from sde_lib import ModelScore
from sde_lib.coarse import Coarse
from sde_lib.condition import Condition, assembled, with_part
from train_lib.augment import Augmentation
from train_lib.buckets import Buckets
from train_lib.ema import EMA
from train_lib.guard import Guard, select_update
from train_lib.history import Remembering
from train_lib.loss import TrainingLoss, drawn
from train_lib.measures import measured, measures
from train_lib.state import TrainState

COARSE_STREAM, UNTOLD_STREAM = 2**32 - 1, 2**32 - 2
"""Numbers folded into an update's key for the noise in coarse pictures, and for which conditions
are replaced."""
Batch = dict[str, Array]
Seen = tuple[Array, ...]
"""Times and losses, not corrected for the draws, of a batch; () for a law that does not learn."""


class Metrics(NamedTuple):
    """Measurements of one update; only `good` is meaningful where the update was refused.

    grad_norm: norm of the gradient before it is clipped. update_norm: norm of the change of the
    parameters.
    """

    good: Bool[Array, "..."]
    loss: Float[Array, "..."]
    grad_norm: Float[Array, "..."]
    update_norm: Float[Array, "..."]
    buckets: Buckets


@dataclass(frozen=True, eq=False)
class Untold:
    """Replacement of the data's condition, in a share `rate` of the examples, by `row` [1, *c].

    For a model whose guidance compares with a condition of no caption that looks like any other.
    """

    rate: float
    row: Float[Array, "1 *c"]

    def __call__(self, key: PRNGKeyArray, batch: Batch) -> Batch:
        """The batch, some of whose conditions are replaced."""
        told = batch["condition"]
        hidden = hide(key, len(told), self.rate).reshape(-1, *(1,) * (told.ndim - 1))
        return {**batch, "condition": jnp.where(hidden, self.row.astype(told.dtype), told)}


@dataclass(frozen=True)
class Recipe:
    """The training of a run on a batch; `score` is a template whose parameters are replaced."""

    score: ModelScore
    objective: TrainingLoss
    optimizer: optax.GradientTransformation
    ema: EMA
    accumulate: int = 1
    """Micro-batches whose gradients are averaged before one update."""
    labelled: bool = False
    """True if the network is given the labels."""
    condition: Kinds = Kinds()
    """Kinds of condition that the network is given beside the labels."""
    coarse: Coarse | None = None
    """The coarse picture that the network is given of every example."""
    augment: Augmentation | None = None
    """Augmentation of the training images; the network is given its parameters."""
    guard: Guard = field(default=Guard())
    """The rule by which updates are refused."""
    untold: Untold | None = None
    """The rule by which conditions become those of no caption; None: the network hides them."""
    apart: bool = False
    """True if the optimizer has parts of the parameters that it updates by themselves."""

    def at(self, step: Int[Array, ""]) -> Recipe:
        """The recipe after so many updates, of which some objectives depend."""
        if not hasattr(self.objective, "step"):
            return self
        objective: Any = self.objective
        return replace(self, objective=replace(objective, step=step))

    def told(self, batch: Batch, image: Array, key: PRNGKeyArray) -> Condition:
        """Inputs of the network beside the noisy examples, `image`, and their noise levels."""
        found = assembled(
            self.condition,
            batch["label"] if self.labelled else None,
            batch.get("condition"),
            batch.get("observed"),
        )
        if self.coarse is None:
            return found
        for name, part in self.coarse.trained(key, image).items():
            found = with_part(found, name, part)
        return found

    @property
    def law(self) -> Remembering | None:
        """The law of t before the first update, if it learns from losses."""
        law = self.objective.law
        return law if isinstance(law, Remembering) else None

    def loss(
        self, params: Any, key: PRNGKeyArray, batch: Batch, law: Remembering | None = None
    ) -> tuple[Float[Array, ""], tuple[Buckets, Seen]]:
        """The mean training loss of a batch, its losses by time, and what `law` is to see."""
        objective: Any = self.objective
        if law is not None:
            objective = replace(objective, law=law)
        score = self.score.with_params(params)
        image: Array = batch["image"]
        labels = None
        if self.augment is not None:
            key, key_augment = jax.random.split(key)
            image, labels = self.augment(key_augment, image)
        if self.untold is not None:
            batch = self.untold(jax.random.fold_in(key, UNTOLD_STREAM), batch)
        condition = self.told(batch, image, jax.random.fold_in(key, COARSE_STREAM))
        if labels is not None:
            condition = with_part(condition, "augment", labels)
        losses, others = measured(objective, score, key, image, condition, train=True)
        t = drawn(objective, score.sde, key, losses.shape[0])
        buckets = Buckets.of(self.objective, score.sde, t, losses, others)
        seen = () if law is None else (t, losses / law.correction(score.sde, t))
        return jnp.mean(losses), jax.lax.stop_gradient((buckets, seen))


def _loss_and_gradient(
    recipe: Recipe, params: Any, key: PRNGKeyArray, batch: Batch, law: Remembering | None
) -> tuple[Any, Seen]:
    """(((loss, buckets), gradient), averaged over micro-batches; what the law is to see)."""

    def gradient(key: PRNGKeyArray, batch: Batch) -> tuple[Any, Seen]:
        found = jax.value_and_grad(recipe.loss, has_aux=True)(params, key, batch, law)
        (loss, (buckets, seen)), slope = found
        return ((loss, buckets), slope), seen

    if recipe.accumulate == 1:
        return gradient(key, batch)
    n = recipe.accumulate
    # Every n-th example forms a micro-batch, so that each device keeps working on its own.
    parts = jax.tree.map(lambda x: x.reshape(-1, n, *x.shape[1:]).swapaxes(0, 1), batch)

    def add(total: Any, part: Any) -> tuple[Any, Seen]:
        found, seen = gradient(*part)
        return jax.tree.map(jnp.add, total, found), seen

    empty = Buckets.empty(measures(recipe.objective))
    zero = ((jnp.zeros(()), empty), jax.tree.map(jnp.zeros_like, params))
    total, seen = scan(add, zero, (jax.random.split(key, n), parts))
    return jax.tree.map(lambda x: x / n, total), jax.tree.map(jnp.ravel, seen)


# Else the averages would have the whole update worked out again on a CPU.
_moved = outlined(optax.apply_updates)


def update(recipe: Recipe, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of parameters, optimizer state and averages, unless it is bad."""
    key = jax.random.fold_in(state.key, state.step)
    now = recipe.at(state.step)
    found, seen = _loss_and_gradient(now, state.params, key, batch, state.law)
    (loss, buckets), gradient = found
    one = partial(_apply, recipe)
    apply = one if recipe.apart else together(one)
    before = state.law
    state, good, grad_norm, update_norm = apply(gradient, loss, state)
    if before is not None:
        state = replace(state, law=select_update(good, before.after(*seen), before))
    return state, Metrics(good, loss, grad_norm, update_norm, buckets)


def _apply(
    recipe: Recipe, gradient: Any, loss: Float[Array, ""], state: TrainState
) -> tuple[TrainState, Bool[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """(the state after an update, whether it was made, norms of the gradient and the update)."""
    change, opt_state = recipe.optimizer.update(gradient, state.opt_state, state.params)
    params = _moved(state.params, change)
    ema = recipe.ema.update(state.ema, params, state.step + 1)
    grad_norm, update_norm = optax.tree.norm(gradient), optax.tree.norm(change)

    good = recipe.guard.is_good(state.watch, loss, grad_norm)
    watch = recipe.guard.after(state.watch, loss, good)
    step = jnp.where(recipe.guard.is_over(watch), state.step, state.step + 1)
    old = state.params, state.ema, state.opt_state
    made = select_update(good, (params, ema, opt_state), old)
    return TrainState(step, *made, state.key, watch, state.law), good, grad_norm, update_norm


Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_step(recipe: Recipe, placed: TrainState | None = None) -> Step:
    """step(state, batches [k, b, ...]) -> (state, metrics [k]): k updates in one call.

    The state given is donated. k is `training.n_jitted_steps`. placed: the sharding of each array
    of the state (`runtime_lib.sharding.Layout`), which it keeps; None: XLA chooses.
    """

    @partial(
        jax.jit,
        donate_argnums=0,
        out_shardings=(placed, None),
        compiler_options=compiler_options(),
    )
    def step(state: TrainState, batches: Batch) -> tuple[TrainState, Metrics]:
        return scan(partial(update, recipe), state, batches)

    return step


class Prepared:
    """A training step compiled from shapes, before the state is there.

    Compilation needs as much memory as an update, and gives it back: never both at once. What JAX
    has traced for it is forgotten, 150 MiB for a network of 60 million parameters.
    """

    def __init__(self, step: Any, state: Any, batches: Any) -> None:
        """Compile for a state and batches [k, b, ...] of these shapes and shardings."""
        self._step, self._updates = step, _updates(batches)
        self._compiled = step.lower(state, batches).compile()
        step.clear_cache()

    def __call__(self, state: TrainState, batches: Batch) -> tuple[TrainState, Metrics]:
        """`step(state, batches)`; another number of updates in a call is compiled when it comes."""
        program = self._compiled if _updates(batches) == self._updates else self._step
        return program(state, batches)


def _updates(batches: Any) -> int:
    return jax.tree.leaves(batches)[0].shape[0]
