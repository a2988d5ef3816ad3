"""Batches as the step takes them, and labels that a model needs."""

import numpy as np
import pytest

from configs import schema
from data_lib import Images, Splits
from runtime_lib import sharding
from train_lib import feed


def test_why_there_are_no_labels_is_told_to_who_needs_them():
    pixels = np.zeros((2, 4, 4, 1), np.uint8)
    images = Images(pixels, None, 256, unlabelled="1.png lies outside of the folders of classes")
    splits = Splits(images, images, "photos")
    with pytest.raises(ValueError, match=r"\A.+\Z") as info:
        feed.check_labels(splits, 2)
    assert "model.num_classes=2 needs labelled data, and photos has no labels (1.png" in str(
        info.value
    )


def test_batches_are_stacked_in_the_order_in_which_they_come():
    batches = ({"image": np.full((2, 3), k)} for k in range(10))
    for first in (0, 4):
        stacked = feed.stack_batches(batches, 4, sharding.device_mesh())["image"]
        assert stacked.shape == (4, 2, 3)
        assert stacked[:, 0, 0].tolist() == list(range(first, first + 4))


@pytest.mark.parametrize(
    "labels, message",
    [(None, "has no labels: use model.num_classes=0"), ([0, 3], "labels run from 0 to 3")],
)
def test_a_model_of_classes_needs_their_labels(labels, message):
    pixels = np.zeros((2, 8, 8, 1), np.uint8)
    images = Images(pixels, None if labels is None else np.array(labels), 256)
    with pytest.raises(ValueError, match=message):
        feed.check_labels(Splits(images, images, "data"), 3)
    feed.check_labels(Splits(images, images, "data"), 0)


@pytest.mark.parametrize(
    "words, message",
    [
        ([[0, 4], [1, -1]], r"below model\.vocabulary = 4, or -1 where there is none, got 4"),
        ([[0, 0.5], [1, np.nan]], r"whole numbers .* got 0\.5"),
    ],
)
def test_texts_are_of_the_models_vocabulary(words, message):
    config = schema.get_default()
    config.model.condition, config.model.vocabulary = "text", 4
    config.data.condition = (2,)
    images = Images(np.zeros((2, 3)), None, None, condition=np.asarray(words))
    with pytest.raises(ValueError, match="tokens of data .*" + message):
        feed.check_conditions(Splits(images, images, "data"), config)
    known = Images(np.zeros((2, 3)), None, None, condition=np.asarray([[0, 3], [-1, np.nan]]))
    feed.check_conditions(Splits(known, known, "data"), config)
    config.model.condition = "vector"
    feed.check_conditions(Splits(images, images, "data"), config)
