"""Autoguidance against the density that it claims."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sde_lib import VE, VP, Autoguidance, ClassifierFree, Gaussian, SubVP
from sde_lib.base import expand

X = jnp.asarray(np.random.default_rng(0).standard_normal((6, 2)), jnp.float32)
T = jnp.linspace(0.1, 0.9, 6)


def models(sde):
    """N((1, 0), 0.3 I), and a guide that has it broader and elsewhere."""
    good = Gaussian.isotropic(sde, jnp.asarray([1.0, 0.0]), 0.3)
    return good, Gaussian.isotropic(sde, jnp.asarray([0.5, 0.5]), 0.9)


@pytest.mark.parametrize("sde", [VP(), SubVP(), VE(0.01, 50.0)], ids=["vp", "subvp", "ve"])
@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_it_is_the_score_of_p_over_what_the_guide_has_of_it(sde, weight):
    good, bad = models(sde)

    def tilted(x):
        log_p, log_q = (model.log_prob(x, T) for model in (good, bad))
        return jnp.sum(log_p + (weight - 1) * (log_p - log_q))

    guided = Autoguidance(good, bad, weight)
    np.testing.assert_allclose(guided(X, T), jax.grad(tilted)(X), rtol=1e-5, atol=1e-5)
    # The two predictions belong to one x.
    x0, noise, *_ = guided.predict(X, T)
    alpha, sigma = (expand(c, X) for c in sde.marginal(T))
    np.testing.assert_allclose(alpha * x0 + sigma * noise, X, rtol=1e-4, atol=1e-5)


def test_with_a_weight_of_one_or_outside_of_the_interval_it_is_the_score_to_the_last_bit():
    good, bad = models(VE(0.01, 50.0))
    sigmas = jnp.asarray([0.1, 0.19, 0.21, 1.0, 1.9, 2.1])
    t = good.sde.time_of_log_snr(-2 * jnp.log(sigmas))
    noise = jax.jit(lambda score: score.noise(X, t))
    np.testing.assert_array_equal(noise(Autoguidance(good, bad, 1.0)), noise(good))
    found, whole = (
        noise(Autoguidance(good, bad, 3.0, 0.2, 2.0)),
        noise(Autoguidance(good, bad, 3.0)),
    )
    inside = np.asarray([False, False, True, True, True, False])
    np.testing.assert_array_equal(found[~inside], noise(good)[~inside])
    np.testing.assert_array_equal(found[inside], whole[inside])
    assert np.abs(whole - noise(good))[~inside].max() > 1e-2


def test_its_evaluations_are_those_of_both_models():
    good, bad = models(VP())
    labels = jnp.zeros(6, jnp.int32)
    assert Autoguidance(good, bad, 2.0).evaluations == 2
    assert Autoguidance(ClassifierFree(good, labels, labels, 2.0), bad, 2.0).evaluations == 3
