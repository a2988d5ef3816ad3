"""Examples that scikit-learn ships: tables, and patches of photographs."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets

import data_lib


def load(dataset, **keys):
    plain = {"dataset": dataset, "image_size": 8, "num_channels": 3, "test_fraction": 0.2}
    return data_lib.load(SimpleNamespace(**plain | keys), log=lambda message: None)


def together(splits, name):
    return np.concatenate([getattr(splits.train, name), getattr(splits.test, name)])


NUMBERS = {"codec": "standardize", "shape": (0,)}
TABLES = {"wine": datasets.load_wine, "breast_cancer": datasets.load_breast_cancer}


@pytest.mark.parametrize("name", TABLES)
def test_a_classified_table_is_all_of_it(name):
    known, splits = TABLES[name](), load(name, **NUMBERS)
    rows = np.column_stack([together(splits, "pixels"), together(splits, "labels")])
    wanted = np.column_stack([known.data, known.target])
    assert set(map(bytes, rows)) == set(map(bytes, wanted))
    assert len(rows) == len(wanted)
    assert splits.train.names == tuple(known.feature_names)


def test_diabetes_is_its_progression_given_what_was_measured_before():
    known = datasets.load_diabetes(scaled=False)
    splits = load("diabetes", **NUMBERS)
    rows = np.column_stack([together(splits, "condition"), together(splits, "pixels")])
    assert set(map(bytes, rows)) == set(map(bytes, np.column_stack([known.data, known.target])))
    assert len(rows) == 442


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (33, 20)])
def test_patches_are_parts_of_the_photographs_half_a_patch_apart(size):
    splits = load("photographs", shape=(*size, 3))
    pictures, (h, w), edge = datasets.load_sample_images().images, size, 512
    for images, columns in ((splits.train, slice(edge)), (splits.test, slice(edge, None))):
        wanted = [
            (k, picture[y : y + h, x : x + w])
            for k, picture in enumerate(picture[:, columns] for picture in pictures)
            for y in range(0, picture.shape[0] - h + 1, h // 2)
            for x in range(0, picture.shape[1] - w + 1, w // 2)
        ]
        np.testing.assert_array_equal(images.pixels, [patch for _, patch in wanted])
        np.testing.assert_array_equal(images.labels, [k for k, _ in wanted])
        assert images.levels == 256


def test_grey_patches_are_those_of_grey_photographs():
    splits = load("photographs", shape=(16, 16, 1))
    first = datasets.load_sample_images().images[0]
    grey = np.asarray(Image.fromarray(first).convert("L"), int)[:16, :16]
    assert np.abs(splits.train.pixels[0, ..., 0] - grey).max() <= 1  # Pillow truncates


def test_gray_levels_are_plain_numbers_to_a_codec_of_numbers():
    for name, keys in (("photographs", {}), ("digits", {"num_channels": 1})):
        levels, numbers = load(name, **keys), load(name, codec="standardize", **keys)
        assert (levels.train.levels is None, numbers.train.levels is None) == (False, True)
        options = {"seed": 0, "flip": False, "dequantize": False, "codec": data_lib.codec.AsGiven()}
        batch = next(data_lib.Batches(numbers.train, batch_size=3, **options))
        known = {x.astype(np.float32).tobytes() for x in levels.train.pixels}
        assert {x.tobytes() for x in batch["image"]} <= known
