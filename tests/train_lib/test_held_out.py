"""The loss of held-out images."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.schema import get_default
from data_lib import Images
from runtime_lib import sharding
from tests.train_lib.test_step import RECIPE, NoNoise, fresh
from train_lib import held_out


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_the_held_out_loss_is_the_mean_over_all_images_once(batch_size):
    pixels = np.random.default_rng(0).integers(0, 17, (10, 4, 4, 1)).astype(np.uint8)
    recipe = replace(RECIPE, objective=NoNoise())
    config = get_default()
    config.eval.batch_size, config.data.centered = batch_size, True
    params = fresh(recipe).params
    images, mesh = Images(pixels, None, 17), sharding.device_mesh()
    found = held_out.means(
        held_out.make_eval(recipe), params, images, config, mesh, recipe.objective
    )
    score = replace(recipe.score, params=params)
    x = jnp.asarray(2 * (pixels / 16) - 1, jnp.float32)
    expected = jnp.mean(recipe.objective(score, jax.random.key(0), x, train=False))
    # Sums of ten numbers in another order.
    np.testing.assert_allclose(found.pop("loss"), expected, rtol=1e-5)
    assert not found
