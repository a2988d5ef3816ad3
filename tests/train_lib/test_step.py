"""An update is gradient, optimizer, average, however it is divided into calls and micro-batches."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.kinds import Kinds
from sde_lib import VP, ModelScore, Noise, Parametrization, TimeLabel
from sde_lib.rounding import Continuous
from train_lib.buckets import COUNT
from train_lib.ema import EMA
from train_lib.guard import Guard
from train_lib.loss import drawn
from train_lib.objective import NoiseWeight, Objective, UniformTime
from train_lib.state import TrainState
from train_lib.step import (
    COARSE_STREAM,
    UNTOLD_STREAM,
    Prepared,
    Recipe,
    Untold,
    make_step,
    update,
)

LR = 0.1


def affine(params, x, label, condition=None, dropout_key=None):
    """A network of two weights that uses its label, its condition and its dropout key."""
    y = params["w"] * x + params["b"] * (label / 999)[:, None, None, None]
    if condition is not None and not isinstance(condition, dict):  # that is told nothing else
        y = y * (1 + condition.astype(x.dtype))[:, None, None, None]
    if dropout_key is not None:
        y = jnp.where(jax.random.bernoulli(dropout_key, 0.9, x.shape), y, 0)
    return y


@dataclass(frozen=True)
class NoNoise:
    """A loss without anything random: each example's error at t = 0.5."""

    law: UniformTime = UniformTime()
    stratified: bool = False

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
    (loss, _), gradient = jax.value_and_grad(RECIPE.loss, has_aux=True)(state.params, key, data)
    for name in ("w", "b"):
        expected = state.params[name] - LR * gradient[name]
        np.testing.assert_allclose(new.params[name], expected, rtol=1e-6)
        for rate, average in zip((0.9, 0.5), new.ema, strict=True):
            blended = rate * state.params[name] + (1 - rate) * expected
            np.testing.assert_allclose(average[name], blended, rtol=1e-6)
    assert int(new.step) == 1
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-6)
    norm = np.hypot(gradient["w"], gradient["b"])
    np.testing.assert_allclose(metrics.grad_norm, norm, rtol=1e-6)
    np.testing.assert_allclose(metrics.update_norm, LR * norm, rtol=1e-6)
    assert bool(metrics.good)


def test_averages_count_the_update_after_which_they_are_taken():
    """Warm-up blends with (1 + n) / (10 + n) at update n, which is 1 and then 2 here."""
    recipe = replace(RECIPE, ema=EMA((0.9,), warmup=True))
    first, _ = update(recipe, fresh(recipe), batch())
    second, _ = update(recipe, first, batch())
    expected = 2 / 11 * fresh(recipe).params["w"] + 9 / 11 * first.params["w"]
    np.testing.assert_allclose(first.ema[0]["w"], expected, rtol=1e-6)
    expected = 3 / 12 * expected + 9 / 12 * second.params["w"]
    np.testing.assert_allclose(second.ema[0]["w"], expected, rtol=1e-6)


def test_coarse_noise_and_untold_conditions_are_drawn_by_keys_of_their_own():
    assert COARSE_STREAM != UNTOLD_STREAM


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("labelled", [False, True])
def test_accumulated_gradients_are_those_of_the_whole_batch(n, labelled):
    whole = replace(RECIPE, objective=NoNoise(), labelled=labelled)
    (one, a), (several, b) = (
        update(recipe, fresh(recipe), batch()) for recipe in (whole, replace(whole, accumulate=n))
    )
    a, b = (one.params, a.loss, a.grad_norm), (several.params, b.loss, b.grad_norm)
    # Sums of eight numbers in another order.
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5)


def test_micro_batches_draw_their_own_noise_and_share_the_examples_out():
    recipe, data = replace(RECIPE, accumulate=2), batch()
    state = fresh(recipe)
    _, metrics = update(recipe, state, data)
    keys = jax.random.split(jax.random.fold_in(state.key, 0), 2)
    losses = [
        recipe.loss(state.params, keys[i], jax.tree.map(lambda x, i=i: x[i::2], data))[0]
        for i in range(2)
    ]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(metrics.loss, np.mean(losses), rtol=1e-6)


def test_a_share_of_the_conditions_is_replaced_in_the_loss():
    """By those of no caption, drawn anew for every key; the rest stays."""
    row, told = jnp.full((1, 3), 7.0), jnp.ones((4000, 3))
    untold = Untold(0.3, row)
    found = untold(jax.random.key(0), {"condition": told})["condition"]
    hidden = found[:, 0] == 7
    np.testing.assert_array_equal(found, jnp.where(hidden[:, None], row, told))
    assert float(hidden.mean()) == pytest.approx(0.3, abs=5 * (0.21 / 4000) ** 0.5)

    def apply(params, x, label, condition=None, dropout_key=None):
        return x * 0 + condition["vector"].sum(axis=1)[:, None, None, None]

    score = replace(SCORE, apply=apply)
    recipe = replace(
        RECIPE, score=score, objective=NoNoise(), condition=Kinds(("vector",), ((3,),))
    )
    data = batch() | {"condition": told[:8]}
    loss = lambda recipe, k: float(recipe.loss({}, jax.random.key(k), data)[0])
    hiding = replace(recipe, untold=untold)
    assert loss(recipe, 0) == loss(recipe, 1)
    assert loss(hiding, 0) != loss(hiding, 1)
    everything = replace(recipe, untold=Untold(1.0, row))
    given = data | {"condition": jnp.broadcast_to(row, (8, 3))}
    assert loss(everything, 0) == float(recipe.loss({}, jax.random.key(0), given)[0])


def test_two_updates_in_one_call_are_two_calls():
    step = make_step(RECIPE)
    batches = jax.tree.map(lambda *x: jnp.stack(x), batch(seed=0), batch(seed=1))
    together, metrics = step(fresh(RECIPE), batches)
    apart, losses = fresh(RECIPE), []
    for k in range(2):
        apart, m = step(apart, jax.tree.map(lambda x, k=k: x[k : k + 1], batches))
        losses.append(m.loss[0])
    assert metrics.loss.shape == (2,)
    np.testing.assert_allclose(metrics.loss, losses, rtol=1e-6)
    # Fused across the two updates, the last bit may differ.
    for x, y in zip(jax.tree.leaves(together.ema), jax.tree.leaves(apart.ema), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


@pytest.mark.parametrize("names", [("image", "label"), ("image",)])
def test_a_step_prepared_from_shapes_is_the_step_for_any_number_of_updates(names):
    step, traced = make_step(RECIPE), []
    given = [{name: batch(seed=i)[name] for name in names} for i in range(2)]
    one, two = (jax.tree.map(lambda *x: jnp.stack(x), *given[:n]) for n in (1, 2))
    shapes = partial(jax.tree.map, lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype))
    prepared = Prepared(step, shapes(fresh(RECIPE)), shapes(two))
    for batches in (two, one, two):
        traced.append(step._cache_size())  # programs made at a call
        expected, found = step(fresh(RECIPE), batches), prepared(fresh(RECIPE), batches)
        jax.tree.map(np.testing.assert_array_equal, found[0].params, expected[0].params)
        jax.tree.map(np.testing.assert_array_equal, found[1], expected[1])
    assert traced[0] == 0  # preparing is no call


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
        losses.append(float(update(RECIPE, state, batch())[1].loss))
    assert losses[0] == losses[1] != losses[2]


# Bad updates --------------------------------------------------------------------------------------


def run(recipe: Recipe, images: list[float], state: TrainState | None = None):
    """The states after updates on constant images of these values, and their metrics."""
    step, states, metrics = jax.jit(partial(update, recipe)), [state or fresh(recipe)], []
    for value in images:
        new, m = step(states[-1], {"image": jnp.full((8, 4, 4, 1), value)})
        states.append(new)
        metrics.append(m)
    return states, metrics


def same(a: TrainState, b: TrainState) -> bool:
    kept = lambda s: jax.tree.leaves((s.params, s.ema, s.opt_state))
    return all(np.array_equal(x, y) for x, y in zip(kept(a), kept(b), strict=True))


PATIENT = replace(RECIPE, objective=NoNoise(), guard=Guard(patience=3, explosion=1e4))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e4])
def test_a_bad_update_is_left_out_and_training_goes_on(bad):
    states, metrics = run(PATIENT, [1.0, 1.0, bad, 1.0])
    assert [bool(m.good) for m in metrics] == [True, True, False, True]
    assert same(states[3], states[2])
    assert not same(states[4], states[3])
    assert [int(s.step) for s in states] == [0, 1, 2, 3, 4]
    watch = states[4].watch
    assert (int(watch.refused), int(watch.row)) == (1, 0)
    # The mean forgets nothing and takes nothing up: 0.99 of the first loss, 0.01 of the others.
    losses = [float(metrics[i].loss) for i in (0, 1, 3)]
    expected = 0.99 * (0.99 * losses[0] + 0.01 * losses[1]) + 0.01 * losses[2]
    assert float(watch.mean) == pytest.approx(expected, rel=1e-6)


def test_a_loss_just_below_the_limit_is_no_explosion():
    """Losses of constant images grow as their square."""
    for factor, good in ((0.98, True), (1.02, False)):
        _, metrics = run(replace(PATIENT, ema=EMA(())), [1.0, 100 * factor])
        grown = float(metrics[1].loss / metrics[0].loss)
        recipe = replace(PATIENT, guard=Guard(3, explosion=grown / factor**2))
        assert bool(run(recipe, [1.0, 100 * factor])[1][1].good) == good


def test_without_a_limit_no_finite_loss_is_bad():
    recipe = replace(PATIENT, guard=Guard(3, explosion=0.0))
    assert bool(run(recipe, [1.0, 1e6])[1][1].good)


@pytest.mark.parametrize("patience", [1, 3])
def test_too_many_bad_updates_end_the_run_before_the_last_of_them(patience):
    recipe = replace(PATIENT, guard=Guard(patience))
    nan = float("nan")
    states, metrics = run(recipe, [1.0, 1.0, nan, nan, nan, 1.0, 1.0])
    over = 2 + patience
    assert [bool(recipe.guard.is_over(s.watch)) for s in states] == [i >= over for i in range(8)]
    if patience == 1:
        assert int(states[-1].step) == 2
    assert int(states[-1].step) == over - 1
    assert int(states[-1].watch.refused) == patience - 1
    assert all(same(s, states[2]) for s in states[over:])
    assert not any(bool(m.good) for m in metrics[2:])
    # A run that goes on has its patience back, and meets the same update.
    again = replace(states[-1], watch=states[-1].watch.resumed())
    if patience == 1:
        jax.tree.map(np.testing.assert_array_equal, again.watch, states[2].watch)
    assert bool(run(recipe, [1.0], again)[1][0].good)


def test_losses_by_time_are_those_of_the_examples_in_each_range():
    recipe, data = replace(RECIPE, accumulate=2), batch(64)
    state = fresh(recipe)
    _, metrics = update(recipe, state, data)
    keys = jax.random.split(jax.random.fold_in(state.key, 0), 2)
    score = SCORE.with_params(state.params)
    parts = [(key, data["image"][i::2]) for i, key in enumerate(keys)]
    times = np.concatenate([drawn(DENOISING, score.sde, key, len(x)) for key, x in parts])
    losses = np.concatenate([DENOISING(score, key, x, train=True) for key, x in parts])
    place = np.floor((times - 1e-5) / (1 - 1e-5) * COUNT).astype(int)
    expected = [losses[place == k].mean() for k in range(COUNT)]
    np.testing.assert_allclose(metrics.buckets.means(), expected, rtol=1e-5)
    assert set(place) == set(range(COUNT))


def test_missing_values_neither_count_nor_matter() -> None:
    """The loss of a half that is observed is half of the loss of all, for equal halves."""
    state, data = fresh(RECIPE), batch()
    image = jnp.concatenate([data["image"][:, :2]] * 2, axis=1)
    observed = jnp.ones_like(image).at[:, 2:].set(0.0)
    key = jax.random.key(3)
    half = RECIPE.loss(state.params, key, {"image": image, "observed": observed})[0]
    other = image.at[:, 2:].set(77.0)
    same = RECIPE.loss(state.params, key, {"image": other, "observed": observed})[0]
    none = RECIPE.loss(state.params, key, {"image": image, "observed": 0 * observed})[0]
    whole = RECIPE.loss(state.params, key, {"image": image, "observed": 0 * observed + 1})[0]
    plain = RECIPE.loss(state.params, key, {"image": image})[0]
    assert float(none) == 0
    assert 0.2 * float(whole) < float(half) < 0.8 * float(whole)
    np.testing.assert_allclose(whole, plain, rtol=1e-6)
    np.testing.assert_allclose(half, same, rtol=1e-6)
