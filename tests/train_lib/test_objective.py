"""Laws of t, and the learned schedule: expectations kept, gradients of what is meant."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from configs.schema import get_default
from sde_lib import VP, LearnedVP, LogSigmaLabel, ModelScore, Noise, Parametrization, Tabulated
from sde_lib.base import time_derivative
from tests.oracles import SDES
from train_lib import objective
from train_lib.loss import drawn
from train_lib.objective import (
    ImportanceTime,
    LikelihoodWeight,
    NoiseWeight,
    Objective,
    UniformTime,
    VariationalObjective,
)

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("name", SDES)
def test_importance_sampling_keeps_the_expectation_and_evens_the_weights(name):
    """A loss weighted by g^2: its integral over t is one over the log-SNR."""
    sde = SDES[name]
    law, weight = ImportanceTime(1e-5), LikelihoodWeight()
    u = jnp.linspace(0.0, 1.0, 20_001)[:-1] + 0.5 / 20_000
    t = law.quantile(sde, u)
    start = max(1e-5, float(sde.t_min))
    ends = sde.log_snr(jnp.asarray([start, float(sde.T)]))
    # Times this near to a level of a table are taken for it, and the last of iDDPM's are far apart.
    slack = 1e-3 if isinstance(sde, Tabulated) else 1e-6
    np.testing.assert_allclose(sde.log_snr(t), ends[0] + u * (ends[1] - ends[0]), atol=slack)
    weights = weight(sde, t) * law.correction(sde, t)
    expected = (ends[0] - ends[1]) / (sde.T - start)
    np.testing.assert_allclose(weights, jnp.broadcast_to(expected, weights.shape), rtol=1e-6)
    error = lambda level: jax.nn.sigmoid(level)  # any function of the level, as a network's is
    found = jnp.mean(weights * error(sde.log_snr(t)))
    exact = (jnp.logaddexp(0, ends[0]) - jnp.logaddexp(0, ends[1])) / (sde.T - start)
    assert float(found) == pytest.approx(float(exact), rel=1e-6)


def test_stratified_times_are_spread_over_every_beginning_of_a_batch():
    """Held-out batches are filled up with padding: what counts is the first few."""
    times = partial(drawn, Objective(UniformTime(0.0), NoiseWeight(), stratified=True), VP())
    t = np.asarray(times(jax.random.key(0), 256))
    strata = np.sort((t * 256 - (t[0] * 256 % 1)).round().astype(int) % 256)
    assert np.array_equal(strata, np.arange(256))  # one in each
    for m in (16, 41, 100):
        largest_gap = np.diff(np.sort(np.append(t[:m], t[:m].min() + 1))).max()
        assert largest_gap < 3 / m
    keys = jax.random.split(jax.random.key(1), 2000)
    first = np.asarray(jax.vmap(lambda key: times(key, 8)[0])(keys))
    # Each place in the batch has the whole law; above 0.044 once in a thousand.
    assert stats.kstest(first, "uniform").statistic < 0.044


SHAPE = LearnedVP().initial_shape()
BENT = {**SHAPE, "c": SHAPE["c"] + jnp.linspace(0.0, 3.0, 16), "a": jnp.asarray(-1.0)}


def affine(params, x, label, condition=None, dropout_key=None):
    return params["w"] * x + params["b"] * label[:, None]


def learned(shape) -> ModelScore:
    sde = LearnedVP(shape=shape)
    return ModelScore(affine, None, sde, Parametrization(Noise(), LogSigmaLabel(0.25)))


@pytest.mark.parametrize("shape", [SHAPE, BENT], ids=["initial", "bent"])
def test_a_learned_schedule_falls_between_its_ends(shape):
    sde = LearnedVP(9.0, -7.0, jax.tree.map(jnp.asarray, shape))
    t = jnp.linspace(0.0, 1.0, 500)
    level = sde.log_snr(t)
    assert float(level[0]) == pytest.approx(9.0)
    assert float(level[-1]) == pytest.approx(-7.0)
    assert float(jnp.diff(level).max()) < 0
    alpha, sigma = sde.marginal(t)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-12)
    np.testing.assert_allclose(sde.time_of_log_snr(level[1:-1]), t[1:-1], atol=1e-9)


def test_the_network_descends_the_loss_and_the_schedule_its_square():
    x0 = jax.random.normal(jax.random.key(1), (6, 5))
    key = jax.random.key(2)
    loss = VariationalObjective()
    network = {"w": jnp.asarray(0.4), "b": jnp.asarray(-0.1)}
    params = {"network": network, "schedule": jax.tree.map(lambda x: jnp.asarray(x, float), BENT)}
    template = learned(None)

    def losses(params):
        return loss(template.with_params(params), key, x0, train=False)

    def by_hand(params):
        score = template.with_params(params)
        key_z = jax.random.split(key, 3)[1]
        t = drawn(loss, score.sde, key, 6)
        noise = jax.random.normal(key_z, x0.shape)
        x = score.sde.perturb(x0, noise, t)
        rate = -time_derivative(score.sde.log_snr, t)
        return 0.5 * rate * jnp.mean((score.noise(x, t) - noise) ** 2, axis=1)

    np.testing.assert_allclose(jax.jit(losses)(params), jax.jit(by_hand)(params), rtol=1e-12)
    found = jax.jit(jax.grad(lambda p: jnp.mean(losses(p))))(params)
    mean = jax.jit(jax.grad(lambda p: jnp.mean(by_hand(p))))(params)
    square = jax.jit(jax.grad(lambda p: jnp.mean(by_hand(p) ** 2)))(params)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    jax.tree.map(close, found["network"], mean["network"])
    jax.tree.map(close, found["schedule"], square["schedule"])
    assert float(jnp.abs(found["schedule"]["c"]).max()) > 1e-6


@pytest.mark.slow
def test_training_a_schedule_lowers_the_variance_of_the_loss():
    """The exact score of Gaussian data, so that the schedule alone is left to train."""
    x0 = 0.5 * jax.random.normal(jax.random.key(1), (64, 8))
    loss = VariationalObjective()

    def exact(params, x, label, condition=None, dropout_key=None):
        sigma2 = jax.nn.sigmoid(8 * label)  # the label is a quarter of log sigma / alpha
        alpha2 = 1 - sigma2
        return (jnp.sqrt(sigma2) / (0.25 * alpha2 + sigma2))[:, None] * x

    template = replace(learned(None), apply=exact)
    params = template.sde.join({})
    optimizer = optax.adam(0.03)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, key):
        value = lambda p: jnp.mean(loss(template.with_params(p), key, x0, train=True))
        gradient = jax.grad(value)(params)
        with jax.numpy_dtype_promotion("standard"):  # optax promotes
            change, state = optimizer.update(gradient, state)
            return optax.apply_updates(params, change), state

    @jax.jit
    def measured(params):
        run = lambda key: loss(template.with_params(params), key, x0, train=False)
        return jax.vmap(run)(jax.random.split(jax.random.key(9), 200))

    def spread(params):
        found = measured(params)
        return float(found.var()), float(found.mean()), float(found.mean(axis=1).std() / 200**0.5)

    before = spread(params)
    for k in range(300):
        params, state = step(params, state, jax.random.fold_in(jax.random.key(3), k))
    after = spread(params)
    assert after[0] < 0.7 * before[0]
    # The bound itself is that of the ends: the same to four standard errors.
    assert abs(after[1] - before[1]) < 4 * np.hypot(before[2], after[2])


REFUSED = {
    "schedule without its objective": ({"sde.name": "learned"}, "training.objective=variational"),
    "objective without a schedule": ({"training.objective": "variational"}, "sde.name=learned"),
    "time label": ({"sde.name": "learned", "training.objective": "variational",
                    "model.conditioning": "time"}, "model.conditioning"),
    "ends": ({"sde.name": "learned", "training.objective": "variational",
              "sde.log_snr_min": 20.0}, "below sde.log_snr_max"),
    "name": ({"training.objective": "variation"}, "variational"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_refused(name):
    settings, word = REFUSED[name]
    config = get_default()
    config.update_from_flattened_dict(settings)
    with pytest.raises(ValueError, match=word):
        objective.build(config)
