"""Common tests of all sources of data, on a tiny instance of each row of the table.

A source that needs no files has an instance already; one that does needs a line in `INSTANCES`.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_lib
from data_lib import Images, Splits
from data_lib.codec import GrayLevels

Keys = dict[str, Any]


def pixels(n: int) -> np.ndarray:
    """Different pictures of noise."""
    return np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)


def array(folder: Path) -> Keys:
    np.savez(folder / "x.npz", images=pixels(12), labels=np.arange(12) % 3)
    return {"data_dir": str(folder / "x.npz"), "num_channels": 3}


def folder(root: Path) -> Keys:
    for k, picture in enumerate(pixels(12)):
        path = root / "pictures" / f"class{k % 3}" / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return {"data_dir": str(root / "pictures"), "num_channels": 3}


def prepared(root: Path) -> Keys:
    import tensorflow_datasets as tfds

    class BatteryPictures(tfds.core.GeneratorBasedBuilder):
        """Pictures with classes."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            picture, label = (
                tfds.features.Image(shape=(8, 8, 3)),
                tfds.features.ClassLabel(num_classes=3),
            )
            features = tfds.features.FeaturesDict({"image": picture, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for k, picture in enumerate(pixels(12)):
                yield k, {"image": Image.fromarray(picture), "label": k % 3}

    return {"data_dir": str(root), "tfds_name": "battery_pictures", "num_channels": 3}


INSTANCES: dict[str, Callable[[Path], Keys]] = {
    "array": array,
    "folder": folder,
    "tfds": prepared,
}
BAD: dict[str, dict[str, tuple[Keys, str]]] = {
    "digits": {"size": ({"image_size": 16}, "data.image_size"),
               "channels": ({"num_channels": 3}, "data.num_channels")},
    "array": {"size": ({"image_size": 16}, "data.image_size"),
              "no file": ({"data_dir": "/nowhere/x.npy"}, "data.data_dir")},
    "folder": {"no folder": ({"data_dir": "/nowhere"}, "data.data_dir"),
               "larger crop": ({"crop": 9}, "data.crop")},
    "tfds": {"no name": ({"tfds_name": ""}, "data.tfds_name"),
             "larger crop": ({"crop": 9}, "data.crop")},
}  # fmt: skip


def load(source: str, keys: Keys) -> Splits:
    plain = {"dataset": source, "image_size": 8, "num_channels": 1, "test_fraction": 0.25}
    return data_lib.load(SimpleNamespace(**plain | keys), log=lambda message: None)


_KEYS: dict[str, Keys] = {}


@pytest.fixture
def keys(source: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> Keys:
    """Settings of the `data` section for an instance of the source; made once."""
    found = importlib.util.find_spec
    # To prepare a dataset, tensorflow-datasets wants a TensorFlow that this one does without.
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: name == "tensorflow" or found(name, *more)
    )
    if source not in _KEYS:
        make = INSTANCES.get(source, lambda folder: {})
        _KEYS[source] = make(tmp_path_factory.mktemp(source))
    return _KEYS[source]


every_source = pytest.mark.parametrize("source", data_lib.SOURCES)


def parts(splits: Splits) -> list[Images]:
    assert len(splits.train) > 0
    assert len(splits.test) > 0
    return [splits.train, splits.test]


@every_source
def test_a_source_gives_images_of_the_size_that_was_asked_for(source: str, keys: Keys) -> None:
    wanted = (8, 8, keys.get("num_channels", 1))
    assert [images.pixels.shape[1:] for images in parts(load(source, keys))] == [wanted, wanted]


@every_source
def test_values_are_levels_or_continuous_and_in_their_range(source: str, keys: Keys) -> None:
    train, test = parts(load(source, keys))
    assert train.levels == test.levels
    for images in (train, test):
        top = 1 if images.levels is None else images.levels - 1
        assert images.pixels.dtype == (np.float32 if images.levels is None else np.uint8)
        assert images.pixels.min() >= 0
        assert images.pixels.max() <= top
    # A scale that is off by a factor would leave most of the range empty.
    assert np.ptp(train.pixels) > 0.9 * top


@every_source
def test_the_same_section_gives_the_same_splits(source: str, keys: Keys) -> None:
    one, other = load(source, keys), load(source, keys)
    assert one.name == other.name
    for images, again in zip(parts(one), parts(other), strict=True):
        np.testing.assert_array_equal(images.pixels, again.pixels)
        np.testing.assert_array_equal(images.labels, again.labels)


@every_source
def test_no_image_is_both_trained_on_and_held_out(source: str, keys: Keys) -> None:
    train, test = ({x.tobytes() for x in images.pixels} for images in parts(load(source, keys)))
    assert not train & test


@every_source
def test_labels_are_of_both_splits_or_of_none_and_belong_to_their_images(
    source: str, keys: Keys
) -> None:
    train, test = parts(load(source, keys))
    assert (train.labels is None) == (test.labels is None)
    if train.labels is None or test.labels is None:
        return
    for images in (train, test):
        assert images.labels.shape == (len(images),)
        assert images.labels.dtype == np.int32
        assert images.labels.min() >= 0
    if source in INSTANCES:  # the k-th picture is of class k % 3
        known = {x.tobytes(): k % 3 for k, x in enumerate(pixels(12))}
        for images in (train, test):
            for picture, label in zip(images.pixels, images.labels, strict=True):
                assert known[picture.tobytes()] == label


@every_source
def test_batches_are_made_of_its_images(source: str, keys: Keys) -> None:
    train, test = parts(load(source, keys))
    batch = next(
        data_lib.Batches(
            train, batch_size=4, seed=0, flip=False, dequantize=False, codec=GrayLevels(False)
        )
    )
    scaled = np.rint(batch["image"] * ((train.levels or 2) - 1)) if train.levels else batch["image"]
    known = {x.tobytes() for x in train.pixels}
    assert {x.tobytes() for x in scaled.astype(train.pixels.dtype)} <= known
    assert ("label" in batch) == (train.labels is not None)
    seen = sum(
        int(np.sum(batch["mask"]))
        for batch in data_lib.epoch_batches(test, batch_size=5, codec=GrayLevels(True))
    )
    assert seen == len(test)


@pytest.mark.parametrize("source, case", [(s, case) for s in BAD for case in BAD[s]])
def test_bad_input_is_refused_in_one_line_that_names_the_setting(
    source: str, case: str, keys: Keys
) -> None:
    changes, words = BAD[source][case]
    with pytest.raises(ValueError, match=r"\A.+\Z") as error:  # a dot is no line break
        load(source, keys | changes)
    assert words in str(error.value)
