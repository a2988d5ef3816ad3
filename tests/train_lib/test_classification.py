"""Training of classifiers: the loss, what is measured beside it, random crops."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import vp_digits
from sde_lib import VE, VP, ModelScore
from sde_lib.classifier import Classifier
from sde_lib.labels import LogSigmaLabel
from sde_lib.parametrization import Noise, Parametrization
from train_lib import objective
from train_lib.buckets import Buckets
from train_lib.classification import Classification, random_crops
from train_lib.loss import draw
from train_lib.measures import measured, measures
from train_lib.times import UniformTime

CLASSES = 3


def apply(params, x, label, condition=None, dropout_key=None):
    """Logits that depend on everything, and tell by their sum whether there is dropout."""
    assert condition is None
    means = x.reshape(len(x), -1)[:, :CLASSES]
    return params * means + label[:, None] + (0.0 if dropout_key is None else 1.0) * means**2


SCORE = ModelScore(apply, 2.0, VP(), Parametrization(Noise(), LogSigmaLabel()))
KEY = jax.random.key(3)
X0 = jax.random.normal(jax.random.key(1), (40, 2, 2, 1))
LABEL = jnp.arange(40) % CLASSES


@pytest.mark.parametrize("train", [False, True])
def test_the_loss_is_the_cross_entropy_and_the_accuracy_that_of_the_likeliest_class(train):
    loss = Classification(UniformTime(0.0))
    t, noise, _ = draw(loss, SCORE.sde, KEY, X0, train)
    x = np.asarray(SCORE.sde.perturb(X0, noise, t), np.float64)
    means = x.reshape(40, -1)[:, :CLASSES]
    logits = 2 * means + train * means**2
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found, others = measured(loss, SCORE, KEY, X0, {"label": LABEL}, train=train)
    expected = -np.log(chances[np.arange(40), LABEL])
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)  # float32
    np.testing.assert_array_equal(others["accuracy"], logits.argmax(1) == np.asarray(LABEL))
    np.testing.assert_array_equal(loss(SCORE, KEY, X0, LABEL, train=train), found)


def test_measures_are_counted_by_time():
    loss = Classification(UniformTime(0.0))
    assert measures(loss) == ("accuracy",)
    t = jnp.array([0.1, 0.1, 0.9])
    found = Buckets.of(loss, VP(), t, jnp.ones(3), {"accuracy": jnp.array([1.0, 0.0, 1.0])})
    empty = np.full(8, np.nan)
    empty[[0, 7]] = 0.5, 1.0
    np.testing.assert_array_equal(found.means("accuracy"), empty)
    assert found.mean("accuracy") == pytest.approx(2 / 3)
    assert Buckets.empty(measures(loss)).others.keys() == {"accuracy"}


def test_crops_are_parts_of_the_picture_no_smaller_than_the_least():
    size = 16
    rows = jnp.broadcast_to(
        jnp.arange(size, dtype=jnp.float32)[None, :, None, None], (64, 16, 16, 1)
    )
    both = jnp.concatenate([rows, rows.swapaxes(1, 2)], -1)
    found = np.asarray(random_crops(KEY, both, 0.5))[
        :, 4:12, 4:12
    ]  # inside, where a ramp stays one
    steps = np.diff(found[:, :, 0, 0], axis=1)
    np.testing.assert_allclose(steps, steps[:, :1].repeat(7, 1), atol=1e-4)
    np.testing.assert_allclose(np.diff(found[:, 0, :, 1], axis=1), steps, atol=1e-4)
    share = steps[:, 0]
    assert 0.5 <= share.min() < 0.6 < 0.9 < share.max() <= 1
    np.testing.assert_allclose(1 / share.mean(), 1.4, atol=0.1)  # 1 / share is uniform in [1, 2]
    first = found[:, 0, 0, 0] - 4 * share + (1 - share) / 2  # position of the part's first edge
    assert first.min() > -1e-3
    assert (first + share * size).max() < size + 1e-3
    assert np.abs(found[:, 0, 0, 0] - found[:, 0, 0, 1]).max() > 1  # both axes on their own


def test_only_training_crops():
    whole, cut = (Classification(UniformTime(0.0), crop=crop) for crop in (1.0, 0.5))
    losses = lambda loss, train: np.asarray(loss(SCORE, KEY, X0, LABEL, train=train))
    np.testing.assert_array_equal(losses(whole, False), losses(cut, False))
    assert (losses(whole, True) != losses(cut, True)).any()


def test_a_classifier_serves_another_sde_at_the_same_noise():
    x = X0[:4]
    own = Classifier(SCORE)
    assert own.on(VP()).sde is None
    other = own.on(VE())
    t = jnp.full(4, 0.6)
    there = VP().time_of_log_snr(VE().log_snr(t))
    alpha = VP().marginal(there)[0][:, None, None, None]
    expected = own.log_prob(alpha * x, there, LABEL[:4])
    # The time of a log-SNR is known to a few float32 digits.
    np.testing.assert_allclose(other.log_prob(x, t, LABEL[:4]), expected, rtol=1e-4)
    assert own.on(VP(beta_max=10.0)).sde is not None
    all_classes = jnp.stack([own.log_prob(x, jnp.asarray(0.6), jnp.full(4, k)) for k in range(3)])
    np.testing.assert_allclose(np.exp(all_classes).sum(0), 1.0, rtol=1e-5)


BAD = {
    "snapshots": ({"training.snapshot_sampling": True}, "training.snapshot_sampling must be False"),
    "a network": ({"model.name": "ncsnpp"}, "a classifier, model.name=.* need each other"),
    "another loss": ({"training.objective": "denoising"}, "a classifier, .* need each other"),
    "a crop of no picture": (
        {"training.random_crop": 0.8, "data.shape": (40,)}, r"training\.random_crop must be 1"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_settings_that_no_classifier_has_are_refused(name):
    settings, words = BAD[name]
    config = vp_digits.get_config("classifier")
    config.update_from_flattened_dict(settings)
    with pytest.raises(ValueError, match=words) as error:
        objective.build(config)
    assert "\n" not in str(error.value)


def test_a_config_of_a_classifier_gives_its_objective():
    config = vp_digits.get_config("classifier")
    config.training.random_crop = 0.75
    assert objective.build(config) == replace(
        Classification(UniformTime(config.training.eps), True), crop=0.75
    )
