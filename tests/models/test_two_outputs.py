"""model.learn_variance: every network gives a number more for each of the example's."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import models
import sde_lib
from models.fitted import Fitted
from models.inputs import Inputs
from models.score import template
from sde_lib import VP, ModelScore, Noise, Parametrization, TimeLabel
from tests.models import cases, every
from tests.slow import but_slow

CONFIGS = {
    **{name: partial(every.config_of, name) for name in every.NETWORKS},
    "vector": partial(cases.config_of, "mlp", (5,)),
    "features": partial(cases.config_of, "transformer", (7,), data__missing="mask"),
    "sequence": partial(cases.config_of, "transformer", (11, 2), patch=(4,)),
    "volume": partial(cases.config_of, "unet", (2, 7, 8, 1)),
    "padded": partial(
        cases.config_of, "ncsnpp", (13, 6, 5), condition="image", data__condition=(4, 4, 2)
    ),
}


QUICK = ("ncsn", "vector", "features", "volume", "padded")


@pytest.mark.parametrize("name", but_slow(CONFIGS, *(set(CONFIGS) - set(QUICK))))
def test_every_network_gives_twice_the_channels(name) -> None:
    config = CONFIGS[name](learn_variance=True)
    network, x = models.build(config), jnp.zeros((2, *models.shapes.example(config)))

    def run():
        params = models.init(network, jax.random.key(0), config)
        return network.apply({"params": params}, x, jnp.ones(2), None)

    assert jax.eval_shape(run).shape == (*x.shape[:-1], 2 * x.shape[-1])


def test_of_a_vector_as_a_sequence_all_noises_come_first() -> None:
    class Pairs(nn.Module):
        def __call__(self, x, label, condition=None, *, train=False):
            return jnp.concatenate([x, -x], axis=-1)

    network = Fitted(Pairs(), Inputs((3,), outputs=2), lifted=True)
    x = jnp.asarray([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(network.apply({}, x, jnp.ones(1)), [[1, 2, 3, -1, -2, -3]])


def score_of(apply, learn_variance=True):
    made = Parametrization(Noise(), TimeLabel(), learn_variance=learn_variance)
    return ModelScore(apply, None, VP(), made)


def test_the_noise_comes_first_and_the_fraction_is_half_of_one_more_than_the_rest() -> None:
    x = jnp.asarray([[0.3, -0.2]])
    apply = lambda params, x, *others: jnp.asarray([[0.5, -0.5, -1.0, 7.0]])
    found = score_of(apply).predict(x, jnp.asarray(0.5))
    np.testing.assert_array_equal(found.noise, [[0.5, -0.5]])
    np.testing.assert_array_equal(found.fraction, [[0.0, 4.0]])
    alone = score_of(lambda *given: apply(*given)[:, :2], False).predict(x, jnp.asarray(0.5))
    np.testing.assert_array_equal(found.x0, alone.x0)
    assert alone.fraction is None


def test_a_network_without_a_variance_is_refused() -> None:
    with pytest.raises(ValueError, match=r"learn_variance=True needs .* channels .* 4, got 2"):
        score_of(lambda params, x, *others: x).predict(jnp.zeros((1, 2)), jnp.asarray(0.5))


def test_the_setting_reaches_both_the_network_and_the_parametrization() -> None:
    config = every.config_of("ddpm", learn_variance=True)
    score = template(config)
    assert score.parametrization.learn_variance
    x, key = jnp.zeros((2, 8, 8, 3)), jax.random.key(0)
    run = lambda: score.with_params(models.init(score.apply.network, key, config)).predict(
        x, jnp.full(2, 0.5)
    )
    assert jax.tree.map(jnp.shape, jax.eval_shape(run)) == sde_lib.Predicted(*[x.shape] * 3)
