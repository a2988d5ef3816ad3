"""Arrays of a file by the names that people give them; what is not taken is said."""

from types import SimpleNamespace

import numpy as np
import pytest

import data_lib

N = 12
X = np.random.default_rng(0).integers(0, 256, (N, 4, 4, 1), dtype=np.uint8)
Y = np.arange(N) % 4


def load(path, log=lambda message: None):
    keys = {"dataset": "array", "image_size": 4, "num_channels": 1, "data_dir": str(path)}
    return data_lib.load(SimpleNamespace(**keys), log=log)


def save(tmp_path, *arrays, **named):
    np.savez(tmp_path / "x.npz", *arrays, **named)
    return tmp_path / "x.npz"


def pairs(images):
    """{an image's bytes: its label}."""
    labels = [None] * len(images) if images.labels is None else images.labels.tolist()
    return {image.tobytes(): label for image, label in zip(images.pixels, labels, strict=True)}


EVERY = {image.tobytes(): label for image, label in zip(X, Y.tolist(), strict=True)}
NAMES = [
    ("images", "labels"), ("x", "y"), ("X", "y"), ("image", "label"), ("data", "targets"),
    ("data", "target"), ("samples", "labels"), ("Images", "classes"), ("x_train", "y_train"),
    ("train_images", "train_labels"), ("images", "class"), ("trainX", "trainY"), ("img", "Y"),
    ("train-data", "train-labels"), ("pictures", "class_labels"),
]  # fmt: skip


@pytest.mark.parametrize("images, labels", NAMES)
def test_images_and_labels_are_found_by_the_names_people_use(tmp_path, images, labels):
    told: list[str] = []
    splits = load(save(tmp_path, **{images: X, labels: Y}), told.append)
    assert pairs(splits.train) | pairs(splits.test) == EVERY
    assert not told


def test_arrays_without_names_are_images_then_labels(tmp_path):
    splits = load(save(tmp_path, X, Y))
    assert pairs(splits.train) | pairs(splits.test) == EVERY


KINDS = {
    "a column": Y[:, None], "bytes": Y.astype(np.uint8), "floats": Y.astype(float),
    "bools": Y > 1,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_any_type_that_are_integers_are_taken(tmp_path, kind):
    splits = load(save(tmp_path, images=X, labels=KINDS[kind]))
    assert splits.train.labels.dtype == np.int32
    found = pairs(splits.train) | pairs(splits.test)
    assert [found[image.tobytes()] for image in X] == KINDS[kind].ravel().astype(int).tolist()


HELD_OUT = [
    ("x_train", "y_train", "x_test", "y_test"), ("images", "labels", "test_images", "test_labels"),
    ("train_images", "train_labels", "val_images", "val_labels"), ("X", "y", "X_valid", "y_valid"),
    ("data", "label", "data_validation", "label_validation"),
]  # fmt: skip


@pytest.mark.parametrize("names", HELD_OUT)
def test_held_out_images_are_found_by_the_names_people_use(tmp_path, names):
    told: list[str] = []
    arrays = dict(zip(names, (X[:9], Y[:9], X[9:], Y[9:]), strict=True))
    splits = load(save(tmp_path, **arrays), told.append)
    np.testing.assert_array_equal(splits.train.pixels, X[:9])
    np.testing.assert_array_equal(splits.train.labels, Y[:9])
    np.testing.assert_array_equal(splits.test.pixels, X[9:])
    np.testing.assert_array_equal(splits.test.labels, Y[9:])
    assert not told


def test_of_test_and_validation_one_is_held_out_and_the_other_left_alone(tmp_path):
    told: list[str] = []
    path = save(tmp_path, train_images=X[:6], val_images=X[6:9], test_images=X[9:])
    splits = load(path, told.append)
    np.testing.assert_array_equal(splits.train.pixels, X[:6])
    np.testing.assert_array_equal(splits.test.pixels, X[9:])
    assert any("test is held out, validation is not used" in line for line in told)


# (arrays, what must be said, whether there are labels)
SAID = {
    "one-hot": ({"images": X, "labels": np.eye(4)[Y]},
                "labels] must be 12 integers to be labels, got float64 of shape (12, 4)", False),
    "words": ({"images": X, "label": Y.astype(str)}, "label] must be 12 integers", False),
    "fractions": ({"x": X, "y": Y + 0.5}, "y] must be 12 integers", False),
    "NaN": ({"x": X, "y": np.full(N, np.nan)}, "y] must be 12 integers", False),
    "too large": ({"x": X, "y": Y + 2**40}, "y] must be 12 integers", False),
    "of one part": ({"x_train": X, "y_train": Y, "x_test": X}, "x_test] has no labels", False),
    "not used": ({"images": X, "labels": Y, "names": Y.astype(str)}, "names not used", True),
    "a table": ({"images": np.ones((N, 3)), "x": X, "y": Y}, "images not used", True),
    "labels of nothing": ({"x": X, "y": Y, "y_test": Y}, "y_test not used", True),
    "two of a kind": ({"x": X, "images": X, "labels": Y}, "x not used", True),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_what_is_not_taken_is_said(tmp_path, name):
    arrays, message, labelled = SAID[name]
    told: list[str] = []
    splits = load(save(tmp_path, **arrays), told.append)
    assert any(message in line for line in told)
    for part in (splits.train, splits.test):
        assert (part.labels is not None) == labelled
        assert labelled or message in part.unlabelled


def test_labels_that_are_held_out_only_are_said(tmp_path):
    told: list[str] = []
    load(save(tmp_path, x_train=X, y_train=Y, x_test=X[:2] // 2, y_test=[3, 9]), told.append)
    assert told == ["no training examples of x.npz have the labels 9, which held-out ones have"]


def test_a_second_array_without_a_name_that_is_no_labels_is_said(tmp_path):
    told: list[str] = []
    splits = load(save(tmp_path, X, X[:4]), told.append)
    assert len(splits.train) + len(splits.test) == N
    assert any("arr_1] must be 12 integers to be labels" in line for line in told)


def test_why_there_are_no_labels_is_known(tmp_path):
    why = load(save(tmp_path, images=X, weights=Y)).train.unlabelled
    assert "none of labels, y, arr_1, label" in why
    assert why.endswith("is among its arrays, images, weights")
    np.save(tmp_path / "x.npy", X)
    assert load(tmp_path / "x.npy").train.unlabelled.endswith("of which a .npy file has one")


def test_labels_of_other_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"y\] must be 12 integers .* int64 of shape \(11,\)"):
        load(save(tmp_path, x=X, y=Y[:-1]))


def test_nothing_but_what_is_used_is_unpacked(tmp_path, monkeypatch):
    asked = []
    real = data_lib.arrays.read_arrays

    def reading(path, names, **options):
        asked.extend(names)
        return real(path, names, **options)

    monkeypatch.setattr(data_lib.arrays, "read_arrays", reading)
    load(save(tmp_path, images=X, labels=Y, weights=X))
    assert sorted(asked) == ["images", "labels"]


def test_arrays_of_several_kinds_of_condition_are_joined_in_their_order(tmp_path):
    image, text = np.arange(N * 16.0).reshape(N, 4, 4), np.arange(N * 2).reshape(N, 2)
    level = np.linspace(0, 1, N)
    parts = {"condition_level": level, "condition_image": image, "condition_text": text}
    found = load(save(tmp_path, x=X, **parts))
    assert found.train.condition_shapes == ((2,), (4, 4, 1), ())
    rows = np.concatenate([found.train.condition, found.test.condition])
    rows = rows[np.argsort(rows[:, 0])]
    np.testing.assert_array_equal(rows[:, :2], text)
    np.testing.assert_array_equal(rows[:, 2:18], image.reshape(N, 16))
    np.testing.assert_allclose(rows[:, 18], level, rtol=1e-6)
    keys = {"dataset": "array", "image_size": 4, "num_channels": 1, "condition": (2, 4, 4, 2),
            "data_dir": str(tmp_path / "x.npz")}  # fmt: skip
    with pytest.raises(ValueError, match=r"data\.condition must be 2,4,4,1, .* got 2,4,4,2"):
        data_lib.load(SimpleNamespace(**keys), log=lambda message: None)


def test_both_parts_have_the_same_kinds(tmp_path):
    path = save(tmp_path, x=X, x_test=X, condition_text=Y, test_condition_vector=Y)
    with pytest.raises(ValueError, match="must have training and test conditions of the same kin"):
        load(path)
