"""The training step: one jitted, donated, data-parallel program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from models.layers.cpu.outline import outlined
from models.layers.cpu.together import Gathering, norm
from sde_lib import ModelScore
from sde_lib.score import Condition
from train_lib.augment import Augmentation
from train_lib.buckets import Buckets
from train_lib.ema import EMA
from train_lib.guard import Guard, choose
from train_lib.objective import TrainingLoss
from train_lib.state import TrainState

Batch = dict[str, Array]


class Metrics(NamedTuple):
    """Of one update; where it was refused only the first says anything. The norms are of the
    gradient, before it is clipped, and of the change of the parameters."""

    good: Bool[Array, "..."]
    loss: Float[Array, "..."]
    grad_norm: Float[Array, "..."]
    update_norm: Float[Array, "..."]
    buckets: Buckets


@dataclass(frozen=True)
class Recipe:
    """What a training run does to a batch; `score` is a template whose parameters are replaced."""

    score: ModelScore
    objective: TrainingLoss
    optimizer: optax.GradientTransformation
    ema: EMA
    accumulate: int = 1
    """Micro-batches whose gradients are averaged before one update."""
    labelled: bool = False
    """Whether the network is given the labels."""
    augment: Augmentation | None = None
    """What training images go through, and the network is told of."""
    guard: Guard = field(default=Guard())
    """Which updates are refused."""

    def condition(self, batch: Batch) -> Array | None:
        """What the network is told of a batch beside its noise level."""
        return batch["label"] if self.labelled else None

    def loss(
        self, params: Any, key: PRNGKeyArray, batch: Batch
    ) -> tuple[Float[Array, ""], Buckets]:
        """The mean training loss of a batch, and its losses by time."""
        score = self.score.with_params(params)
        image: Array = batch["image"]
        condition: Condition = self.condition(batch)
        if self.augment is not None:
            key, key_augment = jax.random.split(key)
            image, labels = self.augment(key_augment, image)
            condition = {"label": condition, "augment": labels}
        losses = self.objective(score, key, image, condition, train=True)
        buckets = Buckets.of(self.objective, score.sde, key, losses)
        return jnp.mean(losses), jax.lax.stop_gradient(buckets)


def sequentially(step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any) -> Any:
    """`jax.lax.scan(step, carry, xs)`, unrolled where that is much faster.

    XLA lays out convolutions well only outside of loops on a CPU: gradients in a loop's body take
    seven times as long (3.4 s instead of 0.5 s, digits network, batch 128, jax 0.10.2).
    """
    if jax.tree.leaves(xs)[0].shape[0] == 1:  # no loop anywhere
        carry, y = step(carry, jax.tree.map(lambda x: x[0], xs))
        return carry, jax.tree.map(lambda x: x[None], y)
    loop = partial(jax.lax.scan, step)
    return jax.lax.platform_dependent(carry, xs, cpu=partial(loop, unroll=True), default=loop)


def _loss_and_gradient(recipe: Recipe, params: Any, key: PRNGKeyArray, batch: Batch) -> Any:
    """((loss, buckets), gradient), averaged over micro-batches."""
    gradient = jax.value_and_grad(recipe.loss, has_aux=True)
    if recipe.accumulate == 1:
        return gradient(params, key, batch)
    n = recipe.accumulate
    # Every n-th example forms a micro-batch, so that each device keeps working on its own.
    parts = jax.tree.map(lambda x: x.reshape(-1, n, *x.shape[1:]).swapaxes(0, 1), batch)

    def add(total: Any, part: Any) -> tuple[Any, tuple[()]]:
        return jax.tree.map(jnp.add, total, gradient(params, *part)), ()

    zero = ((jnp.zeros(()), Buckets.empty()), jax.tree.map(jnp.zeros_like, params))
    total, _ = sequentially(add, zero, (jax.random.split(key, n), parts))
    return jax.tree.map(lambda x: x / n, total)


# Else XLA works out the whole update again for the averages on a CPU.
_moved = outlined(optax.apply_updates)


def update(recipe: Recipe, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One update of parameters, optimizer state and averages, unless it is bad."""
    key = jax.random.fold_in(state.key, state.step)
    (loss, buckets), gradient = _loss_and_gradient(recipe, state.params, key, batch)
    gathering = Gathering.of(state.params)
    gradient, *old = gathering.gather((gradient, state.params, state.ema, state.opt_state))
    params, ema, opt_state = old
    change, opt_state = recipe.optimizer.update(gradient, opt_state, params)
    params = _moved(params, change)
    made = params, recipe.ema.update(ema, params, state.step + 1), opt_state

    grad_norm, update_norm = norm(gradient), norm(change)
    good = recipe.guard.is_good(state.watch, loss, grad_norm)
    watch = recipe.guard.after(state.watch, loss, good)
    step = jnp.where(recipe.guard.is_over(watch), state.step, state.step + 1)
    params, ema, opt_state = gathering.scatter(choose(good, made, tuple(old)))
    state = TrainState(step, params, ema, opt_state, state.key, watch)
    return state, Metrics(good, loss, grad_norm, update_norm, buckets)


Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_step(recipe: Recipe, placed: TrainState | None = None) -> Step:
    """step(state, batches [k, b, ...]) -> (state, metrics [k]): k updates in one call.

    The state given is donated. k is `training.n_jitted_steps`. placed: the sharding of each array
    of the state (`runtime_lib.sharding.Layout`), which it keeps; None: XLA chooses.
    """

    @partial(jax.jit, donate_argnums=0, out_shardings=(placed, None))
    def step(state: TrainState, batches: Batch) -> tuple[TrainState, Metrics]:
        return sequentially(partial(update, recipe), state, batches)

    return step
