"""Classifier-free guidance against densities, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samplers
from configs.schema import get_default
from sde_lib import (
    VE,
    VP,
    Autoguidance,
    ClassifierFree,
    Conditional,
    Predicted,
    Score,
    SubVP,
    build_guidance,
    pytree,
)
from sde_lib.base import expand
from sde_lib.condition import Contrasted

MEANS = jnp.asarray([[-1.0, 0.5], [2.0, 0.0], [0.0, -1.5]])
VARIANCE = 0.3
CALLS = []


@pytree
class Classes(Score):
    """N(m_c, VARIANCE) of each class c, all alike likely; any other c: their mixture."""

    sde: object

    def log_density(self, x, t, c):
        alpha, sigma = self.sde.marginal(t)
        gap = jnp.sum((x[None] - alpha * MEANS) ** 2, axis=1)
        each = -0.5 * gap / (alpha**2 * VARIANCE + sigma**2)
        own = each[jnp.clip(c, 0, 2)]
        return jnp.where(c < 0, jax.nn.logsumexp(each) - jnp.log(3.0), own)

    def predict(self, x, t, condition=None):
        CALLS.append(x.shape)
        t = jnp.broadcast_to(t, x.shape[:1])
        score = jax.vmap(jax.grad(self.log_density))(x, t, condition)
        alpha, sigma = (expand(v, x) for v in self.sde.marginal(t))
        noise = -sigma * score
        return Predicted((x - sigma * noise) / alpha, noise)


X = jnp.asarray(np.random.default_rng(0).standard_normal((6, 2)))
LABELS = jnp.asarray([0, 1, 2, 0, 1, 2])
NULL = jnp.full_like(LABELS, -1)


@pytest.mark.parametrize(
    ("sde", "weight"),
    [(VP(), 0.0), (VP(), 1.0), (VP(), 2.5), (SubVP(), 2.5), (VE(0.01, 50.0), 2.5)],
    ids=["vp without", "vp with", "vp", "subvp", "ve"],
)
def test_it_is_the_score_of_the_tilted_density(sde, weight):
    score, t = Classes(sde), jnp.linspace(0.1, 0.9, 6)

    def tilted(x, t, c):
        with_c, without = (score.log_density(x, t, k) for k in (c, -1))
        return without + weight * (with_c - without)

    expected = jax.vmap(jax.grad(tilted))(X, t, LABELS)
    found = ClassifierFree(score, LABELS, NULL, weight)(X, t)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytree
class Told(Score):
    """Predictions [2, n, d] that are given: the first with a class, the second without."""

    sde: object
    x0: object
    noise: object

    def predict(self, x, t, condition=None):
        picked = jnp.where(condition < 0, 1, 0)
        row = jnp.arange(len(x)) % self.x0.shape[1]
        return Predicted(self.x0[picked, row], self.noise[picked, row])


AWKWARD = jnp.asarray([1e-30, -0.0, 0.1, 3e38, -7.7e-8, 1 / 3], jnp.float32)
BROKEN = jnp.asarray([jnp.nan, jnp.inf, -jnp.inf, -3e38, 1e30, 2 / 3], jnp.float32)


@pytest.mark.parametrize("unused", [AWKWARD[::-1] / 3, BROKEN], ids=["finite", "not finite"])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_at_weights_0_and_1_it_is_one_prediction_to_the_last_bit(weight, unused):
    sound, unused = AWKWARD[:, None], unused[:, None]
    pairs = jnp.stack([sound, unused] if weight else [unused, sound])
    score = Told(VP(), pairs, pairs * jnp.float32(0.7))
    x, t = jnp.zeros((6, 1)), jnp.asarray(0.5)
    bits = lambda found: [np.asarray(part).view(np.int32) for part in found[:2]]
    for least, most in ((0.0, jnp.inf), (0.0, 1e30)):
        guided = ClassifierFree(score, LABELS, NULL, jnp.float32(weight), least, most)
        found = jax.jit(lambda guided: guided.predict(x, t))(guided)
        alone = jax.jit(lambda s: s.predict(x, t))(Conditional(score, LABELS if weight else NULL))
        for one, two in zip(bits(found), bits(alone), strict=True):
            np.testing.assert_array_equal(one, two)


def test_outside_of_the_interval_a_broken_unconditional_prediction_has_no_part():
    pairs = jnp.stack([AWKWARD, BROKEN])[..., None]
    guided = ClassifierFree(Told(VP(), pairs, pairs), LABELS, NULL, 3.0, 1e3)
    found = guided.predict(jnp.zeros((6, 1)), jnp.asarray(0.5))
    for part in found[:2]:
        np.testing.assert_array_equal(part[:, 0], AWKWARD)


def test_outside_of_the_interval_it_is_the_conditional_score():
    score = Classes(VE(0.01, 50.0))
    guided = ClassifierFree(score, LABELS, NULL, 3.0, 0.2, 2.0)
    sigmas = jnp.asarray([0.1, 0.19, 0.21, 1.0, 1.9, 2.1])
    t = score.sde.time_of_log_snr(-2 * jnp.log(sigmas))
    whole = ClassifierFree(score, LABELS, NULL, 3.0).noise(X, t)
    plain = Conditional(score, LABELS).noise(X, t)
    inside = np.asarray([False, False, True, True, True, False])
    found = guided.noise(X, t)
    np.testing.assert_allclose(found[inside], whole[inside], rtol=1e-6)
    np.testing.assert_allclose(found[~inside], plain[~inside], rtol=1e-6)
    assert np.abs(whole - plain)[~inside].max() > 1e-2


def test_a_guided_evaluation_is_one_call_of_twice_the_batch():
    CALLS.clear()
    ClassifierFree(Classes(VP()), LABELS, NULL, 2.0)(X, jnp.asarray(0.5))
    assert CALLS == [(12, 2)]


def test_another_weight_or_interval_compiles_nothing_and_gives_other_samples():
    """Traces are what Python sees of the score."""
    sde = VP()
    times = samplers.LogSNR()(sde, 8, 1.0, 0.02)
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(6))
    draw = lambda *guidance: samplers.sample(
        ClassifierFree(Classes(sde), LABELS, NULL, *guidance),
        samplers.DDIM(), times, keys, shape=(2,), denoise=False,
    ).x  # fmt: skip
    first = draw(1.5, 0.0, jnp.inf)
    traced = len(CALLS)
    second = draw(4.0, 0.0, jnp.inf)
    draw(4.0, 0.1, 10.0)
    assert len(CALLS) == traced
    # More of the class: nearer to its mean, or beyond it, than the other classes'.
    apart = lambda x: np.asarray(jnp.linalg.norm(x - MEANS[(LABELS + 1) % 3], axis=1))
    assert (apart(second) > apart(first)).all()


@pytree
class Varied(Score):
    """A score that says a variance: as fraction the class, or -1."""

    sde: object

    def predict(self, x, t, condition=None):
        label = condition[:, None].astype(x.dtype)
        return Predicted(x, x * label, jnp.broadcast_to(label, x.shape))


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_a_learned_variance_is_that_of_the_conditional_or_the_better_model(weight):
    score = Varied(VP())
    expected = jnp.broadcast_to(LABELS[:, None], X.shape)
    t = jnp.asarray(0.5)
    guided = ClassifierFree(score, LABELS, NULL, weight)
    np.testing.assert_array_equal(guided.predict(X, t).fraction, expected)
    guided = Autoguidance(Conditional(score, LABELS), Conditional(score, NULL), weight)
    np.testing.assert_array_equal(guided.predict(X, t).fraction, expected)


@pytree
class Shifted(Score):
    """A score whose x_0 is the condition's vector."""

    sde: object

    def predict(self, x, t, condition=None):
        return Predicted(condition["vector"], x)


def test_guidance_compares_with_the_condition_that_is_given_for_none() -> None:
    """A negative prompt: the prediction is the negative one's at weight 0, and beyond at 1."""
    config = get_default()
    config.model.condition, config.data.condition = "vector", (2,)
    config.model.condition_dropout = 0.1
    score = Shifted(VP())
    told, untold = {"vector": jnp.asarray([[1.0, 2.0]])}, {"vector": jnp.asarray([[-3.0, 5.0]])}
    x, t = jnp.zeros((1, 2)), jnp.full(1, 0.5)
    for weight in (0.0, 1.0, 3.0):
        config.sampling.guidance = weight
        guided = build_guidance(config)(score, Contrasted(told, untold))
        wanted = untold["vector"] + weight * (told["vector"] - untold["vector"])
        np.testing.assert_allclose(guided.predict(x, t).x0, wanted, rtol=1e-6)


@pytree
class Weighed(Score):
    """x_0 is the weight of guidance that is told."""

    sde: object

    def predict(self, x, t, condition=None):
        told = condition["guidance"]
        return Predicted(jnp.broadcast_to(expand(told, x), x.shape), jnp.zeros_like(x))


def test_a_network_is_told_its_weight_less_one_within_the_interval() -> None:
    """And 0 outside, in one evaluation, beside the class."""
    config = get_default()
    config.sampling.update({"guidance_kind": "embedded", "guidance": 8.5, "guidance_max": 1.0})
    with pytest.raises(ValueError, match="this one is not told it"):
        build_guidance(config)
    config.model.guidance_features = 4
    guided = build_guidance(config)(Weighed(VE(0.01, 50.0)), jnp.zeros(2, jnp.int32))
    levels = [guided.sde.time_of_log_snr(-2 * jnp.log(s)) for s in (0.9, 1.1)]
    found = guided.denoise(jnp.zeros((2, 3)), jnp.stack(levels))
    np.testing.assert_array_equal(found, [[7.5] * 3, [0.0] * 3])
    assert guided.evaluations == 1
