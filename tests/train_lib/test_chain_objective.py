"""L_hybrid, L_vlb and the law of t that learns from the losses."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from configs.schema import get_default
from runtime_lib.checkpoints.store import Checkpoints
from sde_lib import VP, ModelScore, Noise, Parametrization
from sde_lib.bins import Bins
from sde_lib.iddpm import iddpm
from sde_lib.labels import IndexLabel
from train_lib import objective
from train_lib.chain import ChainObjective, check_levels
from train_lib.ema import EMA
from train_lib.history import KEPT, LossSecondMoment, Remembering
from train_lib.state import TrainState
from train_lib.step import Recipe, update
from train_lib.times import UniformLevel

N = 50
BINS = Bins.of("nearest", 17, True)
X0 = BINS.center(jnp.asarray([[0, 5], [16, 8], [3, 16]])).astype(jnp.float32)
EPS = jnp.asarray([[0.3, -1.2], [0.8, 0.1], [-0.4, 2.0]], jnp.float32)
T = jnp.asarray([0.0, 1 / (N - 1), 1.0], jnp.float32)
TOLD = jnp.asarray([[0.2, -1.0], [1.1, 0.3], [-0.7, 1.1]], jnp.float32)
VARIANCE = jnp.asarray([[0.1, -0.5], [10.0, -10.0], [0.7, 1.0]], jnp.float32)


def loss_of(hybrid: bool, law=None, learned: bool = True, bins: Bins | None = BINS):
    """The losses as a function of what the network says."""
    made = Parametrization(Noise(), IndexLabel(N), learn_variance=learned)
    loss = ChainObjective(law or UniformLevel(N), N, bins, hybrid)

    def run(noise, variance, t=T):
        raw = jnp.concatenate([noise, variance], axis=-1) if learned else noise
        score = ModelScore(lambda *given: raw, None, iddpm("cosine", N), made)
        return loss.at(score, X0, EPS, t)

    return run


def test_of_l_hybrid_the_noise_has_the_gradient_of_l_simple_alone() -> None:
    slope = jax.grad(lambda e: jnp.sum(loss_of(hybrid=True)(e, VARIANCE)))(TOLD)
    np.testing.assert_allclose(slope, 2 * (TOLD - EPS) / X0[0].size, rtol=1e-6)


def test_the_variance_has_the_gradient_of_l_vlb() -> None:
    slopes = [jax.grad(lambda v, h=h: jnp.sum(loss_of(hybrid=h)(TOLD, v)))(VARIANCE)
              for h in (True, False)]  # fmt: skip
    np.testing.assert_allclose(slopes[0], 0.001 * slopes[1], rtol=1e-5)
    assert bool((jnp.abs(slopes[1]) > 0).all())


def closed_form(level: int, row: int) -> float:
    """N vb_i of example `row` (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 3 to 5 and 15).

    At level 0 the decoder has the posterior's variance at level 1, since its own is zero.
    """
    alpha, sigma = (
        np.asarray(x, np.float64) for x in iddpm("cosine", N).marginal(jnp.arange(N) / (N - 1))
    )
    signal = alpha**2
    beta = 1 - signal / np.append(1.0, signal[:-1])
    posterior = beta[1:] * sigma[:-1] ** 2 / sigma[1:] ** 2  # of levels 1, 2, ...
    share = (np.asarray(VARIANCE[row], np.float64) + 1) / 2
    least = posterior[max(level, 1) - 1]
    log_variance = share * np.log(beta[level]) + (1 - share) * np.log(least)
    x0, eps, told = (np.asarray(x[row], np.float64) for x in (X0, EPS, TOLD))
    if level:
        apart = beta[level] / (sigma[level] * np.sqrt(1 - beta[level])) * (told - eps)
        ratio = (least + apart**2) / np.exp(log_variance)
        nats = 0.5 * (log_variance - np.log(least) + ratio - 1)
    else:
        found = (alpha[0] * x0 + sigma[0] * (eps - told)) / alpha[0]
        below, above = (
            (x0 + half - found) / np.exp(0.5 * log_variance) for half in (-1 / 16, 1 / 16)
        )
        nats = -np.log(
            np.where(x0 > 0.99, 1.0, norm.cdf(above)) - np.where(x0 < -0.99, 0.0, norm.cdf(below))
        )
    return N * float(np.mean(nats)) / np.log(2)


@pytest.mark.parametrize("levels", [(0, 0, 0), (1, 1, 1), (2, 20, N - 1)], ids=str)
def test_l_vlb_is_its_closed_form(levels) -> None:
    """float32: beta of the least levels, 1 - alpha_i^2 / alpha_{i-1}^2, keeps three digits."""
    times = jnp.asarray(levels, jnp.float32) / (N - 1)
    found = loss_of(hybrid=False)(TOLD, VARIANCE, times)
    expected = [closed_form(level, row) for row, level in enumerate(levels)]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("bins", [BINS, None], ids=["gray levels", "density"])
def test_of_l_vlb_everything_has_a_finite_gradient(bins) -> None:
    """At the least level, just above it and at the noisiest, where x_0 is far out."""
    run = lambda e, v: jnp.sum(loss_of(hybrid=False, bins=bins)(e, v))
    for slope in jax.grad(run, (0, 1))(TOLD, VARIANCE):
        assert bool(jnp.isfinite(slope).all())
        assert bool((jnp.abs(slope) > 0).all())


def test_l_vlb_of_a_network_without_a_variance_has_that_of_the_posterior_or_the_kernel() -> None:
    alone = loss_of(hybrid=False, learned=False)(TOLD, None)
    spread = loss_of(hybrid=False)(TOLD, jnp.full_like(TOLD, -1.0))
    np.testing.assert_allclose(alone, spread, rtol=1e-5)


# Importance-sampled levels ------------------------------------------------------------------------

P, WEIGHTS = [0.10015, 0.20005, 0.29995, 0.39985], [2.496256, 1.249688, 0.833472, 0.625234]


def seen(losses: np.ndarray) -> LossSecondMoment:
    """A law after ten losses of each level."""
    law, n = LossSecondMoment.start(len(losses)), len(losses)
    for _ in range(KEPT):
        law = law.after(jnp.arange(n) / (n - 1), jnp.asarray(losses, jnp.float32))
    return law


def test_levels_are_drawn_by_the_root_mean_square_of_their_losses() -> None:
    law, t = seen(np.asarray([1.0, 2.0, 3.0, 4.0])), jnp.arange(4) / 3
    np.testing.assert_allclose(law.probabilities(), P, rtol=1e-6)
    np.testing.assert_allclose(law.correction(VP(), t), WEIGHTS, rtol=1e-6)
    u = (jnp.arange(10_000.0) + 0.5) / 10_000
    share = np.bincount(np.rint(3 * law.quantile(VP(), u)).astype(int)) / 10_000
    np.testing.assert_allclose(share, P, atol=2e-4)


def test_small_losses_give_the_same_probabilities_and_none_at_all_uniform_ones() -> None:
    small = np.asarray([1.0, 2.0, 3.0, 4.0]) / 100
    np.testing.assert_allclose(seen(small).probabilities(), P, rtol=1e-6)
    np.testing.assert_allclose(seen(np.zeros(4)).probabilities(), np.full(4, 0.25))


def test_levels_are_uniform_until_every_one_has_ten_losses() -> None:
    law = LossSecondMoment.start(4)
    for k in range(10):
        np.testing.assert_allclose(law.probabilities(), np.full(4, 0.25))
        levels = jnp.arange(4 if k else 3)  # the last one lacks a loss
        law = law.after(levels / 3, 1 + levels.astype(jnp.float32))
    np.testing.assert_allclose(law.probabilities(), np.full(4, 0.25))
    law = law.after(jnp.ones(1), jnp.full(1, 4.0))
    np.testing.assert_allclose(law.probabilities(), P, rtol=1e-6)


def test_the_last_ten_losses_of_a_level_are_kept_however_they_come() -> None:
    """Against a list of each level, batches with many of one level among them."""
    rng, law, lists = np.random.default_rng(0), LossSecondMoment.start(5), [[] for _ in range(5)]
    after = jax.jit(lambda law, t, losses: law.after(t, losses))
    for batch in range(12):
        i = rng.integers(0, 5 if batch % 3 else 2, 32)
        losses = rng.random(32).astype(np.float32)
        law = after(law, jnp.asarray(i / 4, jnp.float32), jnp.asarray(losses))
        for level, loss in zip(i, losses, strict=True):
            lists[level] = [*lists[level], loss][-KEPT:]
        for level, kept in enumerate(lists):
            absent = np.zeros(KEPT - len(kept), np.float32)
            np.testing.assert_array_equal(np.sort(law.losses[level]), np.sort([*absent, *kept]))
    assert isinstance(law, Remembering)
    assert not isinstance(UniformLevel(5), Remembering)


def test_a_weighted_loss_has_the_expectation_of_the_plain_one() -> None:
    law = seen(np.arange(1.0, N + 1))
    p, t = law.probabilities(), jnp.arange(N) / (N - 1)
    errors = jnp.cos(jnp.arange(float(N)))
    expected = jnp.sum(p * law.correction(VP(), t) * errors)
    assert float(expected) == pytest.approx(float(errors.mean()), abs=1e-6)
    plain, weighted = (loss_of(hybrid=False, law=one)(TOLD, VARIANCE) for one in (None, law))
    np.testing.assert_allclose(weighted, plain * law.correction(VP(), T), rtol=1e-5)


def state_of(learns: bool, accumulate: int = 1):
    """(a recipe of two weights, its first state)."""
    apply = lambda params, x, *others: jnp.concatenate([params["w"] * x, params["v"] * x], axis=-1)
    made = Parametrization(Noise(), IndexLabel(N), learn_variance=True)
    law = LossSecondMoment.start(N) if learns else UniformLevel(N)
    loss = ChainObjective(law, N, None, hybrid=False)
    score = ModelScore(apply, None, iddpm("cosine", N), made)
    recipe = Recipe(score, loss, optax.sgd(1e-6), EMA((0.9,)), accumulate)
    params = {"w": jnp.float32(0.3), "v": jnp.float32(-0.2)}
    key = jax.random.key(1)
    return recipe, TrainState.create(params, recipe.optimizer, recipe.ema, key, recipe.law)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_history_is_in_the_state_of_training_and_sees_every_loss(accumulate: int) -> None:
    recipe, state = state_of(True, accumulate)
    batch = {"image": jax.random.normal(jax.random.key(2), (8, 4))}
    state = TrainState.from_dict(state.as_dict())
    moved, metrics = jax.jit(lambda s, b: update(recipe, s, b))(state, batch)
    assert bool(metrics.good)
    assert int(moved.law.counts.sum()) == 8
    kept = moved.law.losses[moved.law.losses > 0]
    # While levels are uniform no loss is weighted, so that their mean is the loss.
    assert float(kept.sum()) / 8 == pytest.approx(float(metrics.loss), rel=1e-5)
    assert set(moved.as_dict()) == set(state.as_dict()) > {"law"}


def test_a_law_that_knows_its_losses_sees_them_without_their_weights() -> None:
    recipe, state = state_of(True)
    law = seen(np.arange(1.0, N + 1))
    batch = {"image": jax.random.normal(jax.random.key(2), (8, 4))}
    loss, (_, (t, losses)) = recipe.loss(state.params, jax.random.key(3), batch, law)
    weights = law.correction(recipe.score.sde, t)
    assert float(weights.max()) > 2 * float(weights.min())
    np.testing.assert_allclose(jnp.mean(losses * weights), loss, rtol=1e-5)


def test_a_refused_update_is_not_remembered() -> None:
    recipe, state = state_of(True)
    batch = {"image": jnp.full((8, 4), jnp.nan)}
    moved, metrics = jax.jit(lambda s, b: update(recipe, s, b))(state, batch)
    assert not bool(metrics.good)
    np.testing.assert_array_equal(moved.law.losses, state.law.losses)


def test_without_a_history_a_checkpoint_has_the_entries_that_it_always_had() -> None:
    entries = {"step", "params", "ema", "opt_state", "key", "watch"}
    assert set(state_of(False)[1].as_dict()) == entries


def test_data_of_other_gray_levels_are_refused() -> None:
    loss = ChainObjective(UniformLevel(N), N, BINS, hybrid=True)
    check_levels(loss, 17)
    check_levels(replace(loss, bins=None), None)
    for levels in (256, None):
        with pytest.raises(ValueError, match=r"data\.gray_levels must be .* got 17"):
            check_levels(loss, levels)


# Configs ------------------------------------------------------------------------------------------


def config_of(**settings: object):
    config = get_default()
    config.sde.name, config.training.continuous = "iddpm", False
    config.training.objective, config.model.learn_variance = "hybrid", True
    config.data.centered = True
    for name, value in settings.items():
        section, _, key = name.partition("__")
        config[section][key] = value
    return config


def test_the_objective_is_that_of_the_config() -> None:
    found = objective.build(config_of(training__vlb_weight=0.01, training__cdf="tanh"))
    expected = Bins.of("nearest", 256, True, "tanh")
    assert (found.hybrid, found.weight, found.bins) == (True, 0.01, expected)
    law = objective.build(config_of(training__objective="vlb",
                                    training__time_law="loss_second_moment")).law  # fmt: skip
    assert law.losses.shape == (1000, KEPT)
    fixed = objective.build(config_of(training__objective="vlb", model__learn_variance=False,
                                      sampling__ancestral_variance="kernel"))  # fmt: skip
    assert fixed.fixed == 1.0
    assert objective.build(config_of(data__codec="identity")).bins is None


@pytest.mark.parametrize("settings, words", [
    ({"model__learn_variance": False}, r"'hybrid' trains the variance .* model\.learn_variance"),
    ({"training__objective": "denoising"}, r"learn_variance=True needs .*hybrid or vlb"),
    ({"training__continuous": True}, r"'hybrid' needs training\.continuous=False"),
    ({"data__uniform_dequantization": True}, r"needs data\.uniform_dequantization=False"),
    ({"training__time_law": "lognormal_sigma"}, r"training\.time_law must be one of .*uniform"),
    ({"training__cdf": "erf"}, r"training\.cdf must be one of 'exact', 'tanh'"),
])  # fmt: skip
def test_settings_that_do_not_fit_are_refused_in_one_line(settings, words) -> None:
    with pytest.raises(ValueError, match=words) as error:
        objective.build(config_of(**settings))
    assert "\n" not in str(error.value)


def test_another_weight_changes_numbers_and_not_the_program() -> None:
    one = ChainObjective(UniformLevel(N), N, BINS, hybrid=True)
    assert jax.tree.structure(one) == jax.tree.structure(replace(one, weight=0.1))


def test_the_history_survives_a_checkpoint(tmp_path) -> None:
    _, state = state_of(True)
    law = state.law.after(jnp.asarray([0.0, 1.0, 1.0]), jnp.asarray([2.0, 3.0, 4.0]))
    state = replace(state, law=law)
    with Checkpoints(tmp_path, keep=1, snapshot_every=1, log=lambda line: None) as checkpoints:
        checkpoints.save(1, state.as_dict(), {}, wait=True)
        shape = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        like = jax.tree.map(shape, state.as_dict())
        found = TrainState.from_dict(checkpoints.restore(like).state)
    np.testing.assert_array_equal(found.law.losses, law.losses)
    np.testing.assert_array_equal(found.law.counts, law.counts)
