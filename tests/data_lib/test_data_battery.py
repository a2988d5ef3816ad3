"""Common tests of all sources of data, on a tiny instance of each row of the table.

A source that needs no files has an instance already; one that does needs a line in `INSTANCES`, and
one of numbers that are no pictures a line in `SHAPES`.
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
from data_lib import SOURCES, Images, Splits, codec

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


def rows() -> np.ndarray:
    return pixels(12)[:, :2, 0].reshape(12, 6) / 8


def table(root: Path) -> Keys:
    lines = [",".join(map(repr, map(float, row))) + f",{k % 3}" for k, row in enumerate(rows())]
    (root / "t.csv").write_text("\n".join(["a,b,c,d,e,f,kind", *lines]))
    return {"data_dir": str(root / "t.csv"), "label_column": "kind"}


INSTANCES: dict[str, Callable[[Path], Keys]] = {
    "array": array,
    "folder": folder,
    "tfds": prepared,
    "table": table,
}
EXAMPLES: dict[str, Callable[[], np.ndarray]] = {
    "array": lambda: pixels(12), "folder": lambda: pixels(12), "tfds": lambda: pixels(12),
    "table": rows,
}  # fmt: skip
"""The examples of an instance; the k-th is of class k % 3."""
SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "table": ((6,), None), "simulations": ((2,), (2,)), "wine": ((13,), None),
    "breast_cancer": ((30,), None), "diabetes": ((1,), (10,)), "signals": ((128, 2), (3,)),
    "gaussian_fields": ((16, 24, 2), (4, 6, 2)),
}  # fmt: skip
"""Source of numbers -> the shapes of an example and of its condition."""
BAD: dict[str, dict[str, tuple[Keys, str]]] = {
    "digits": {"size": ({"image_size": 16}, "data.image_size"),
               "channels": ({"num_channels": 3}, "data.num_channels")},
    "array": {"size": ({"image_size": 16}, "data.image_size"),
              "no file": ({"data_dir": "/nowhere/x.npy"}, "data.data_dir")},
    "folder": {"no folder": ({"data_dir": "/nowhere"}, "data.data_dir"),
               "larger crop": ({"crop": 9}, "data.crop")},
    "tfds": {"no name": ({"tfds_name": ""}, "data.tfds_name"),
             "larger crop": ({"crop": 9}, "data.crop")},
    "photographs": {"larger": ({"shape": (8, 400, 3)}, "data.shape must be at most 427,160"),
                    "channels": ({"num_channels": 2}, "data.num_channels must be 1 or 3")},
    "table": {"no file": ({"data_dir": "/nowhere/t.csv"}, "data.data_dir must exist"),
              "no columns": ({"columns": "a,,b"}, "data.columns must be names")},
    "simulations": {"task": ({"task": "two_moon"}, "did you mean 'two_moons'?"),
                    "too many": ({"simulations": 2**31}, "data.simulations must be at most")},
    "signals": {"short": ({"shape": (8, 2)}, "data.shape must be LENGTH,2 with a length of at"),
                "too many": ({"simulations": 2**30}, "data.simulations must be at most")},
    "gaussian_fields": {"vector": ({"shape": (8,)}, "data.shape must be one to three axes and"),
                        "too many": ({"simulations": 2**30}, "data.simulations must be at most")},
    **{source: {"shape": ({"shape": (4,)}, "data.shape must be")}
       for source in ("wine", "breast_cancer", "diabetes")},
}  # fmt: skip


def load(source: str, keys: Keys) -> Splits:
    plain = {"dataset": source, "image_size": 8, "num_channels": 1, "test_fraction": 0.25}
    if SOURCES[source].numbers:
        plain |= {"codec": "standardize", "shape": (0,), "simulations": 80}
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


every_source = pytest.mark.parametrize("source", SOURCES)


def parts(splits: Splits) -> list[Images]:
    assert len(splits.train) > 0
    assert len(splits.test) > 0
    return [splits.train, splits.test]


@every_source
def test_a_source_gives_images_of_the_size_that_was_asked_for(source: str, keys: Keys) -> None:
    pictures = (8, 8, keys.get("num_channels", 1)), None
    for images in parts(load(source, keys)):
        condition = None if images.condition is None else images.condition.shape[1:]
        assert (images.pixels.shape[1:], condition) == SHAPES.get(source, pictures)
        assert condition is None or len(images.condition) == len(images)


@every_source
def test_values_are_levels_or_continuous_and_in_their_range(source: str, keys: Keys) -> None:
    train, test = parts(load(source, keys))
    assert train.levels == test.levels
    if SOURCES[source].numbers:
        return check_numbers(source, train)
    for images in (train, test):
        top = 1 if images.levels is None else images.levels - 1
        assert images.pixels.dtype == (np.float32 if images.levels is None else np.uint8)
        assert images.pixels.min() >= 0
        assert images.pixels.max() <= top
    # A scale that is off by a factor would leave most of the range empty.
    assert np.ptp(train.pixels) > 0.9 * top


def check_numbers(source: str, train: Images) -> None:
    assert train.levels is None
    for values in (train.pixels, train.condition):
        if values is not None:
            assert values.dtype in (np.float32, np.float64)
            assert np.isfinite(values).all()
            assert (values.reshape(-1, values.shape[-1]).std(axis=0) > 0).all()
    assert not train.names or len(train.names) == train.pixels.shape[-1]


@every_source
def test_gray_levels_are_numbers_to_a_codec_of_numbers_and_numbers_no_gray_levels(
    source: str, keys: Keys
) -> None:
    if not SOURCES[source].numbers:
        assert load(source, keys | {"codec": "standardize"}).train.levels is None
        return
    with pytest.raises(ValueError, match=r"\Adata\.codec must be standardize.*whose values are no"):
        load(source, keys | {"codec": "levels"})


@every_source
def test_the_same_section_gives_the_same_splits(source: str, keys: Keys) -> None:
    one, other = load(source, keys), load(source, keys)
    assert one.name == other.name
    for images, again in zip(parts(one), parts(other), strict=True):
        np.testing.assert_array_equal(images.pixels, again.pixels)
        np.testing.assert_array_equal(images.labels, again.labels)
        np.testing.assert_array_equal(images.condition, again.condition)


@every_source
def test_no_image_is_both_trained_on_and_held_out(source: str, keys: Keys) -> None:
    train, test = (pairs(images, images.pixels.dtype) for images in parts(load(source, keys)))
    assert not train & test


def pairs(images: Images, kind: np.dtype) -> set[tuple[bytes, bytes]]:
    """Contents of each example and its condition."""
    told = [np.zeros(0)] * len(images) if images.condition is None else images.condition
    return {(x.astype(kind).tobytes(), c.astype(np.float32).tobytes())
            for x, c in zip(images.pixels, told, strict=True)}  # fmt: skip


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
    if source in EXAMPLES:
        known = {x.tobytes(): k % 3 for k, x in enumerate(EXAMPLES[source]())}
        for images in (train, test):
            for picture, label in zip(images.pixels, images.labels, strict=True):
                assert known[picture.tobytes()] == label


@every_source
def test_batches_are_made_of_its_images(source: str, keys: Keys) -> None:
    train, test = parts(load(source, keys))
    made = codec.AsGiven() if SOURCES[source].numbers else codec.GrayLevels(False)
    batch = next(
        data_lib.Batches(train, batch_size=4, seed=0, flip=False, dequantize=False, codec=made)
    )
    scaled = np.rint(batch["image"] * ((train.levels or 2) - 1)) if train.levels else batch["image"]
    kind = train.pixels.dtype if train.levels else np.dtype(np.float32)
    told = batch.get("condition", np.zeros((4, 0), np.float32))
    found = {(x.tobytes(), c.tobytes()) for x, c in zip(scaled.astype(kind), told, strict=True)}
    assert found <= pairs(train, kind)
    assert ("label" in batch) == (train.labels is not None)
    seen = sum(
        int(np.sum(batch["mask"]))
        for batch in data_lib.epoch_batches(test, batch_size=5, codec=made)
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
