"""An update is gradient, optimizer, average, however it is divided into calls and micro-batches."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sde_lib import VP, ModelScore, Noise, Parametrization, TimeLabel
from sde_lib.parametrization import Continuous
from train_lib.ema import EMA
from train_lib.objective import NoiseWeight, Objective, UniformTime
from train_lib.state import TrainState
from train_lib.step import Recipe, make_step, update

LR = 0.1


def affine(params, x, label, condition=None, dropout_key=None):
    """A network of two weights that uses its label, its condition and its dropout key."""
    y = params["w"] * x + params["b"] * (label / 999)[:, None, None, None]
    if condition is not None:
        y = y * (1 + condition.astype(x.dtype))[:, None, None, None]
    if dropout_key is not None:
        y = jnp.where(jax.random.bernoulli(dropout_key, 0.9, x.shape), y, 0)
    return y


@dataclass(frozen=True)
class NoNoise:
    """A loss without anything random: each example's error at t = 0.5."""

    def __call__(self, score, key, x0, condition=None, *, train):
        t = jnp.full(x0.shape[:1], 0.5)
        return jnp.mean((score.noise(x0, t, condition) - x0) ** 2, axis=(1, 2, 3))


SCORE = ModelScore(affine, None, VP(), Parametrization(Noise(), TimeLabel(999.0), Continuous()))
DENOISING = Objective(UniformTime(), NoiseWeight())
RECIPE = Recipe(SCORE, DENOISING, optax.sgd(LR), EMA((0.9, 0.5)))


def fresh(recipe: Recipe) -> TrainState:
    params = {"w": jnp.float32(0.3), "b": jnp.float32(-0.2)}
    return TrainState.create(params, recipe.optimizer, recipe.ema, jax.random.key(1))


def batch(n: int = 8, seed: int = 0) -> dict:
    key = jax.random.key(seed)
    return {"image": jax.random.normal(key, (n, 4, 4, 1)), "label": jnp.arange(n) % 3}


def test_an_update_is_gradient_descent_with_averages_and_counts_itself():
    state, data = fresh(RECIPE), batch()
    new, metrics = update(RECIPE, state, data)
    key = jax.random.fold_in(state.key, 0)
    loss, gradient = jax.value_and_grad(RECIPE.loss)(state.params, key, data)
    for name in ("w", "b"):
        expected = state.params[name] - LR * gradient[name]
        np.testing.assert_allclose(new.params[name], expected, rtol=1e-6)
        for rate, average in zip((0.9, 0.5), new.ema, strict=True):
            blended = rate * state.params[name] + (1 - rate) * expected
            np.testing.assert_allclose(average[name], blended, rtol=1e-6)
    assert int(new.step) == 1
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
    norm = np.hypot(gradient["w"], gradient["b"])
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-6)


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("labelled", [False, True])
def test_accumulated_gradients_are_those_of_the_whole_batch(n, labelled):
    whole = replace(RECIPE, objective=NoNoise(), labelled=labelled)
    (one, a), (several, b) = (
        update(recipe, fresh(recipe), batch()) for recipe in (whole, replace(whole, accumulate=n))
    )
    # Sums of eight numbers in another order.
    for x, y in zip(jax.tree.leaves((one.params, a)), jax.tree.leaves((several.params, b)),
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(x, y, rtol=1e-5)


def test_micro_batches_draw_their_own_noise_and_share_the_examples_out():
    recipe, data = replace(RECIPE, accumulate=2), batch()
    state = fresh(recipe)
    _, metrics = update(recipe, state, data)
    keys = jax.random.split(jax.random.fold_in(state.key, 0), 2)
    losses = [
        recipe.loss(state.params, keys[i], jax.tree.map(lambda x, i=i: x[i::2], data))
        for i in range(2)
    ]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-6)


def test_two_updates_in_one_call_are_two_calls():
    step = make_step(RECIPE)
    batches = jax.tree.map(lambda *x: jnp.stack(x), batch(seed=0), batch(seed=1))
    together, metrics = step(fresh(RECIPE), batches)
    apart, losses = fresh(RECIPE), []
    for k in range(2):
        apart, m = step(apart, jax.tree.map(lambda x, k=k: x[k : k + 1], batches))
        losses.append(m["loss"][0])
    assert metrics["loss"].shape == (2,)
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-6)
    # Fused across the two updates, the last bit may differ.
    for x, y in zip(jax.tree.leaves(together.ema), jax.tree.leaves(apart.ema), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_the_state_given_is_donated_and_its_averages_are_no_aliases():
    state = fresh(RECIPE)
    given = [x for x in jax.tree.leaves(state) if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
    new, _ = make_step(RECIPE)(state, jax.tree.map(lambda x: x[None], batch()))
    assert all(x.is_deleted() for x in given)
    assert all(np.isfinite(x) for x in jax.tree.leaves((new.params, new.ema)))


def test_every_step_draws_new_noise_and_the_same_step_the_same():
    losses = []
    for at in (0, 0, 1):
        state = replace(fresh(RECIPE), step=jnp.int32(at))
        losses.append(float(update(RECIPE, state, batch())[1]["loss"]))
    assert losses[0] == losses[1] != losses[2]
