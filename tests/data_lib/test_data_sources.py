"""The digits, arrays and the reading of the data section."""

from types import SimpleNamespace

import ml_collections
import numpy as np
import pytest
from sklearn.datasets import load_digits

import data_lib
from data_lib.codec import GrayLevels

ONE_LINE = r"\A.+\Z"  # a dot is no line break


def section(**keys):
    return SimpleNamespace(**({"dataset": "array", "image_size": 4, "num_channels": 3} | keys))


def quiet(config):
    return data_lib.load(config, log=lambda message: None)


def refused(config):
    """The message, which must be one line."""
    with pytest.raises(ValueError, match=ONE_LINE) as info:
        quiet(config)
    return str(info.value)


def pixels(n=10, shape=(4, 4, 3)):
    return np.random.default_rng(1).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_digits_are_the_first_1500_and_the_last_297_on_17_levels():
    keys = {"dataset": "digits", "image_size": 8, "num_channels": 1, "more": 1}
    splits = quiet(ml_collections.ConfigDict(keys))
    data = load_digits()
    unit = data.images[..., None] / 16
    for images, part in ((splits.train, slice(0, 1500)), (splits.test, slice(1500, 1797))):
        assert images.levels == 17
        np.testing.assert_array_equal(
            data_lib.transforms.to_unit(images.pixels, 17), unit[part].astype(np.float32)
        )
        np.testing.assert_array_equal(images.labels, data.target[part])


def test_npy_is_divided_into_disjoint_parts_that_cover_it_the_same_way_each_time(tmp_path):
    path, x = tmp_path / "x.npy", pixels(400)
    np.save(path, x)
    splits = [quiet(section(data_dir=str(path), test_fraction=0.25)) for _ in range(2)]
    # 100 +- 8.7 by a binomial law; four deviations, and the images never change
    assert abs(len(splits[0].test) - 100) < 35
    assert splits[0].train.levels == 256
    both = np.concatenate([splits[0].train.pixels, splits[0].test.pixels])
    assert {image.tobytes() for image in both} == {image.tobytes() for image in x}
    np.testing.assert_array_equal(splits[0].test.pixels, splits[1].test.pixels)
    assert splits[0].train.labels is None


@pytest.mark.parametrize("key", ["images", "x", "arr_0", "samples"])
def test_npz_with_its_own_held_out_set_keeps_it(tmp_path, key):
    path = tmp_path / "x.npz"
    x, labels = pixels(6), np.arange(6)
    np.savez(path, **{key: x}, labels=labels, test_images=x[:2] // 2, test_labels=labels[:2] + 10)
    splits = quiet(section(data_dir=str(path)))
    np.testing.assert_array_equal(splits.train.pixels, x)
    np.testing.assert_array_equal(splits.train.labels, labels)
    np.testing.assert_array_equal(splits.test.pixels, x[:2] // 2)
    np.testing.assert_array_equal(splits.test.labels, [10, 11])


def test_float_images_without_channels_are_continuous(tmp_path):
    x = np.random.default_rng(0).random((8, 4, 4))
    np.save(tmp_path / "x.npy", x)
    splits = quiet(section(data_dir=str(tmp_path / "x.npy"), num_channels=1, test_fraction=0.5))
    assert splits.train.levels is None
    assert splits.train.pixels.shape == (4, 4, 4, 1)
    assert splits.train.pixels.dtype == np.float32
    batch = next(
        data_lib.Batches(
            splits.train,
            batch_size=2,
            seed=0,
            flip=False,
            dequantize=False,
            codec=GrayLevels(False),
        )
    )
    assert set(batch["image"].ravel()) <= set(x.astype(np.float32).ravel())


BAD_ARRAYS = {
    "nan": (np.full((4, 4, 4, 3), np.nan), r"must lie in \[0, 1\] without NaN"),
    "range": (np.full((4, 4, 4, 3), 255.0), "values run from 255 to 255: scale it"),
    "int64": (np.zeros((4, 4, 4, 3), np.int64), "must be uint8 or float"),
    "rank": (np.zeros((4, 4), np.uint8), r"must have shape \[N, H, W, C\]"),
    "empty": (np.zeros((0, 4, 4, 3), np.uint8), r"must have shape \[N, H, W, C\]"),
    "size": (np.zeros((4, 5, 4, 3), np.uint8), "data.image_size must be .* 5x4, got 4"),
    "channels": (np.zeros((4, 4, 4, 1), np.uint8), "data.num_channels must be 1 .* got 3"),
    "one": (np.zeros((1, 4, 4, 3), np.uint8), "data.test_fraction must leave examples"),
    "pickle": (np.array([{}, None]), "without pickled objects"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_an_array_that_is_no_set_of_images_is_refused(tmp_path, case):
    array, message = BAD_ARRAYS[case]
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=message):
        quiet(section(data_dir=str(tmp_path / "x.npy")))


def test_a_damaged_or_incomplete_file_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, weights=pixels())
    message = refused(section(data_dir=str(path)))
    assert "data under one of images, x, arr_0, samples, " in message
    assert message.endswith("it has weights")
    np.savez(path, images=pixels(), labels=np.zeros(3, int))
    assert "must be 10 integers" in refused(section(data_dir=str(path)))
    np.savez(path, images=pixels(), test_images=np.zeros((2, 4, 4, 3)))
    assert "must have training and test examples of one type" in refused(
        section(data_dir=str(path))
    )
    path.write_bytes(path.read_bytes()[:-100])
    assert "cannot be read" in refused(section(data_dir=str(path)))


BAD_SECTIONS = {
    "case": ({"dataset": "cifar10"}, "(did you mean 'CIFAR10'?)"),
    "unknown": (
        {"dataset": "digit"},
        "SVHN, CELEBA, got 'digit' (did you mean 'digits'?)",
    ),
    "missing": ({"dataset": "digits", "num_channels": 1, "image_size": None}, "data.image_size"),
    "type": ({"image_size": "8"}, "data.image_size must be of type int, got '8'"),
    "bool": ({"image_size": True}, "data.image_size must be of type int, got True"),
    "negative": ({"image_size": -8}, "data.image_size must be positive, got -8"),
    "channels": ({"dataset": "CIFAR10", "num_channels": 2}, "data.num_channels must be 1 or 3"),
    "fraction": ({"test_fraction": 1.0}, "data.test_fraction must lie between 0 and 1, got 1.0"),
    "crop": ({"crop": -1}, "data.crop must be zero or positive, got -1"),
    "filter": ({"filter": "cubic"}, "data.filter must be bilinear or bicubic, got 'cubic'"),
    "no path": ({}, "data.data_dir must be set for data.dataset='array'"),
    "no file": ({"data_dir": "/nowhere/x.npy"}, "data.data_dir must exist, got '/nowhere/x.npy'"),
    "digits": ({"dataset": "digits", "num_channels": 1, "image_size": 32}, "8x8, got 32"),
}


@pytest.mark.parametrize("case", BAD_SECTIONS)
def test_a_bad_section_is_refused_in_terms_of_its_keys(case):
    changes, message = BAD_SECTIONS[case]
    assert message in refused(section(**changes))


def test_a_missing_key_is_named():
    assert refused(SimpleNamespace(dataset="digits")) == "data.image_size must be set"


def test_dequantization_of_continuous_data_is_refused_on_loading(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((8, 4, 4, 3)))
    message = refused(section(data_dir=str(tmp_path / "x.npy"), uniform_dequantization=True))
    assert message.startswith("data.uniform_dequantization must be False")
