"""Augmentation is EDM's, and what it did is what the network is told."""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import edm
from modes.experiment import Experiment
from sde_lib import VP, ModelScore, Noise, Parametrization, TimeLabel
from sde_lib.rounding import Continuous
from tests.slow import slow
from tests.stored import arrays
from train_lib.augment import LABELS, Augmentation, build, from_labels, transform
from train_lib.ema import EMA
from train_lib.step import Recipe
from train_lib.times import UniformTime

GOLDEN = Path(__file__).parents[1] / "golden" / "edm" / "augment.npz"


def test_images_are_transformed_as_edm_does():
    golden = arrays(GOLDEN)
    images, labels = jnp.asarray(golden["images"]), jnp.asarray(golden["labels"])
    transformations = from_labels(labels, jnp.asarray(golden["axis"]), width=10, height=12)
    # Positions of up to 40 pixels in float32 are off by 4e-6; images are of order 1.
    np.testing.assert_allclose(transform(images, transformations), golden["augmented"], atol=3e-5)


def test_labels_of_zero_change_nothing():
    images = jax.random.normal(jax.random.key(0), (3, 7, 8, 1))
    still = from_labels(jnp.zeros((3, LABELS)), jnp.zeros(3), 8, 7)
    # The two filters are each other's inverse; their coefficients have twelve digits.
    np.testing.assert_allclose(transform(images, still), images, atol=3e-6)


def test_flips_are_exact():
    images = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    labels = jnp.zeros((2, LABELS)).at[0, 0].set(1).at[1, 1].set(1)
    transformations = from_labels(labels, jnp.zeros(2), 6, 6)
    np.testing.assert_array_equal(transformations.flips, [[True, False], [False, True]])
    flipped = transform(images, transformations)
    np.testing.assert_allclose(flipped[0], images[0, :, ::-1], atol=3e-6)
    np.testing.assert_allclose(flipped[1], images[1, ::-1], atol=3e-6)


def test_labels_follow_their_laws():
    n, p = 40_000, 0.12
    labels, axis = Augmentation(p).draw(jax.random.key(0), n)
    labels, axis = np.asarray(labels), np.asarray(axis)
    flip_x, flip_y, scale, cos_1, sin, along, across, right, down = labels.T
    used = {
        "x": (flip_x, 0.5), "y": (flip_y, p / 2), "scale": (scale, p), "turn": (sin, p),
        "stretch": (along, p), "slanted": (across, p / 2), "move": (right, p), "axis": (axis, 0.5),
    }  # fmt: skip
    five_errors = 5 * (0.25 / n) ** 0.5
    for name, (column, share) in used.items():
        assert np.mean(column != 0) == pytest.approx(share, abs=five_errors), name
    for normal in (scale, right, down, np.hypot(along, across)):
        drawn = normal[normal != 0]
        assert np.mean(drawn**2) == pytest.approx(1, abs=5 * (2 / len(drawn)) ** 0.5)
    np.testing.assert_allclose((cos_1 + 1) ** 2 + sin**2, 1, atol=1e-6)
    angles = np.arctan2(sin, cos_1 + 1)[sin != 0]
    assert np.var(angles) == pytest.approx(np.pi**2 / 3, rel=5 / len(angles) ** 0.5)
    np.testing.assert_allclose(along * np.sin(axis), across * np.cos(axis), atol=1e-6)
    np.testing.assert_array_equal(right != 0, down != 0)


def test_probabilities_of_zero_and_one():
    never, _ = Augmentation(0.0).draw(jax.random.key(1), 100)
    always, _ = Augmentation(1.0).draw(jax.random.key(1), 100)
    assert not np.any(never[:, 1:])
    assert np.all(always[:, jnp.asarray([2, 4, 7, 8])] != 0)


@dataclass(frozen=True)
class Told:
    """A loss that is the images and labels it was given, summed with different weights."""

    law, stratified = UniformTime(), False

    def __call__(self, score, key, x0, condition=None, *, train):
        rows = condition["augment"] if isinstance(condition, dict) else jnp.zeros((len(x0), LABELS))
        return score.params["w"] * (jnp.sum(x0, axis=(1, 2, 3)) + 10 * jnp.sum(rows, axis=1))


def network(params, x, label, condition=None, dropout_key=None):
    return x


SCORE = ModelScore(network, None, VP(), Parametrization(Noise(), TimeLabel(999.0), Continuous()))
RECIPE = Recipe(SCORE, Told(), optax.sgd(0.1), EMA((0.9,)), augment=Augmentation(0.8))


def test_the_network_is_told_what_its_images_went_through():
    key, params = jax.random.key(2), {"w": jnp.float32(1.0)}
    batch = {"image": jax.random.normal(jax.random.key(0), (4, 8, 8, 1))}
    images, labels = RECIPE.augment(jax.random.split(key)[1], batch["image"])
    expected = jnp.mean(jnp.sum(images, axis=(1, 2, 3)) + 10 * jnp.sum(labels, axis=1))
    assert float(RECIPE.loss(params, key, batch)[0]) == pytest.approx(float(expected), rel=1e-5)
    plain = replace(RECIPE, augment=None).loss(params, key, batch)[0]
    assert float(plain) == pytest.approx(float(jnp.sum(batch["image"])) / 4, rel=1e-5)


@slow
def test_an_edm_set_up_trains_on_augmented_images():
    config = edm.get_config("cifar10-32x32-cond-vp,smoke")
    config.data.image_size, config.model.attn_resolutions = 8, ()
    config.model.ch_mult = (1,)
    experiment = Experiment.of(config)
    assert experiment.recipe.augment == Augmentation(0.12)
    batch = {"image": jnp.ones((8, 8, 8, 3)), "label": jnp.arange(8)}
    # Away from the start, where the last layer's zeros stop all gradients.
    params = jax.tree.map(lambda p: p + 0.02, experiment.init_state().params)
    gradient = lambda recipe: jax.jit(jax.grad(recipe.loss, has_aux=True))
    loss = lambda recipe: gradient(recipe)(params, jax.random.key(1), batch)[0]
    told, untold = loss(experiment.recipe), loss(replace(experiment.recipe, augment=None))
    weights = lambda tree: [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if "augment" in jax.tree_util.keystr(path)
    ]
    assert [w.shape[0] for w in weights(told)] == [LABELS]
    # Of eight images some are flipped: the first label's weights have a gradient.
    assert np.any(weights(told)[0][0])
    assert not np.any(weights(untold)[0])


def test_augmentation_that_would_leak_is_refused():
    config = edm.get_config("cifar10-32x32-cond-vp,smoke")
    config.model.augment_dim = 0
    with pytest.raises(ValueError, match=r"training.augment=0.12 needs model.augment_dim=9"):
        Experiment.of(config)
    config.training.augment = 0.0
    assert build(config) is None


def test_networks_that_take_no_augmentation_labels_say_so():
    from configs import vp_digits

    config = vp_digits.get_config("smoke")
    config.model.augment_dim = 9
    with pytest.raises(ValueError, match=r"model.augment_dim must be 0 .* songunet, adm"):
        Experiment.of(config)
