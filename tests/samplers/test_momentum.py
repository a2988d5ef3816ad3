"""Guidance with momentum: what a sampler keeps of one evaluation for the next."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samplers
from configs import vp_digits
from sde_lib import VP, ClassifierFree, Predicted, Score, build_guidance, expand, pytree
from sde_lib.combinations import Mixed, Projected

WITH, WITHOUT = np.asarray([1.0, 2.0, 4.0, -1.0]), np.asarray([0.5, 1.0, 1.0, 0.0])
LABELS = jnp.zeros(2, jnp.int32)
CALLS = []


@pytree
class Given(Score):
    """x_0 of the class, and of no class, which do not depend on x."""

    sde: object
    x0: object
    without: object

    def predict(self, x, t, condition=None):
        CALLS.append(x.shape)
        x0 = jnp.where(condition[:, None] < 0, self.without, self.x0)
        alpha, sigma = (expand(c, x) for c in self.marginal(jnp.broadcast_to(t, x.shape[:1])))
        return Predicted(x0, (x - alpha * x0) / sigma)


def guided(score, momentum=-0.5, combination=Projected(0.0, 2.5), weight=3.0, *interval):
    interval = interval or (0.0, jnp.inf)
    return ClassifierFree(score, LABELS, LABELS - 1, weight, *interval, combination, momentum)


@pytest.mark.usefixtures("float64")
def test_the_running_difference_and_its_projection_have_the_published_values() -> None:
    x, t = jnp.full((2, 4), 0.3), jnp.asarray(0.4)
    first = guided(Given(VP(), WITH, WITHOUT)).recalling(jnp.zeros((2, 4))).predict(x, t)
    expected = [0.695081639432, 1.390163278864, 4.271038542727, -1.440437631932]
    np.testing.assert_allclose(first.x0, [expected] * 2, rtol=1e-11)
    later = Given(VP(), 0.9 * WITH + 0.1, 0.8 * WITHOUT)
    second = guided(later).recalling(first.memory).predict(x, t)
    np.testing.assert_allclose(second.memory, [[0.35, 0.6, 1.4, -0.3]] * 2, rtol=1e-12)
    expected = [0.970327349525, 1.713621964097, 3.800211193242, -0.816261879620]
    np.testing.assert_allclose(second.x0, [expected] * 2, rtol=1e-11)
    alpha, sigma = VP().marginal(t)
    np.testing.assert_allclose(alpha * second.x0 + sigma * second.noise, x, rtol=1e-12)


SOLVERS = [samplers.DDIM(), samplers.RungeKutta("heun"), samplers.AdamsBashforth(2)]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sampler", SOLVERS, ids=["ddim", "heun", "multistep"])
def test_every_evaluation_of_a_run_adds_to_one_memory(sampler) -> None:
    """With predictions that do not change, d after k evaluations is d_1 (1 - m^k) / (1 - m)."""
    score = guided(Given(VP(), WITH, WITHOUT), -0.6, Mixed())
    times = samplers.LogSNR()(VP(), 5, 1.0, 0.02)
    plan = sampler.plan(score, times)
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(2))
    state = samplers.run(score, plan, samplers.State.of(jnp.ones((2, 4)), keys))
    total = (1 - (-0.6) ** plan.nfe) / 1.6
    np.testing.assert_allclose(state.memory, [(WITH - WITHOUT) * total] * 2, rtol=1e-12)
    drawn = samplers.sample(score, sampler, times, keys, shape=(4,))
    total = (1 - (-0.6) ** (plan.nfe + 1)) / 1.6
    np.testing.assert_allclose(drawn.x, [WITH + 2 * (WITH - WITHOUT) * total] * 2, rtol=1e-12)
    # The next run begins without any.
    again = samplers.sample(score, sampler, times, keys, shape=(4,))
    np.testing.assert_array_equal(again.x, drawn.x)


def test_outside_of_the_interval_nothing_is_added() -> None:
    score = guided(Given(VP(), WITH, WITHOUT), -0.5, Mixed(), 3.0, 0.5, 2.0)
    log_ratio = jnp.log(jnp.asarray([1.0, 3.0]))
    t = VP().time_of_log_snr(-2 * log_ratio)
    found = score.recalling(jnp.ones((2, 4))).predict(jnp.ones((2, 4)), t)
    np.testing.assert_allclose(found.memory[0], WITH - WITHOUT - 0.5, rtol=1e-6)
    np.testing.assert_array_equal(found.memory[1], jnp.ones(4))
    np.testing.assert_allclose(found.x0[1], WITH, rtol=1e-6)


def config_of(**sampling):
    config = vp_digits.get_config("smoke")
    config.sampling.update(guidance_kind="apg", guidance=3.0, **sampling)
    return config


def test_another_momentum_compiles_nothing_and_none_remembers_nothing() -> None:
    times = samplers.LogSNR()(VP(), 3, 1.0, 0.02)
    keys = samplers.sample_keys(jax.random.key(0), jnp.arange(2))
    score = Given(VP(), jnp.asarray(WITH, jnp.float32), jnp.asarray(WITHOUT, jnp.float32))

    def draw(momentum):
        followed = build_guidance(config_of(guidance_momentum=momentum))(score, LABELS)
        drawn = samplers.sample(followed, samplers.DDIM(), times, keys, shape=(4,))
        return followed, drawn.x

    first = draw(-0.5)[1]
    traced = len(CALLS)
    second = draw(-0.75)[1]
    assert len(CALLS) == traced
    assert np.abs(first - second).max() > 1e-2
    plain, third = draw(0.0)
    assert not plain.remembers
    without = ClassifierFree(score, LABELS, LABELS - 1, 3.0, 0.0, 1e30, Projected(0.0, 1e30))
    np.testing.assert_array_equal(
        third, samplers.sample(without, samplers.DDIM(), times, keys, shape=(4,)).x
    )


@pytest.mark.parametrize(
    "settings",
    [{"predictor": "ode"}, {"predictor": "adaptive_sde"}, {"corrector": "langevin"}],
    ids=lambda settings: str(*settings.values()),
)
def test_a_sampler_that_keeps_nothing_is_refused_in_one_line(settings) -> None:
    config = config_of(guidance_momentum=-0.5, num_steps=3, **settings)
    score = build_guidance(config)(Given(VP(), WITH, WITHOUT), LABELS[:1])
    sampler = samplers.build(config.sampling)
    plan = sampler.plan(score, samplers.LogSNR()(VP(), 3, 1.0, 0.02))
    with pytest.raises(ValueError, match=r"sampling\.guidance_momentum needs a sampler") as error:
        samplers.check_memory(score, plan)
    assert "\n" not in str(error.value)
    # So is anything else that evaluates without a memory: likelihoods, codes.
    with pytest.raises(ValueError, match=r"sampling\.guidance_momentum needs a sampler"):
        score.velocity(jnp.ones((1, 4)), jnp.asarray(0.5))
