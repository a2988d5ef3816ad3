"""Folders of pictures: order, classes, splits, fitting, damage and the cache."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import data_lib
from data_lib.pictures import fit


def load(root, log=lambda message: None, **keys):
    config = {"dataset": "folder", "image_size": 8, "num_channels": 3, "data_dir": str(root)}
    return data_lib.load(SimpleNamespace(**(config | keys)), log=log)


def paint(path, value, size=(8, 8), mode="RGB"):
    """A PNG of one value, so that an image tells which picture it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (value,) * len(mode) if len(mode) > 1 else value).save(path)


def values(images):
    return images.pixels[:, 0, 0, 0].tolist()


def test_pictures_come_in_the_order_of_their_names_with_classes_of_their_sub_folders(tmp_path):
    for i, name in enumerate(["cat/b.png", "cat/a.PNG", "ape/x/c.png", "dog/d.png"]):
        paint(tmp_path / name, i)
    paint(tmp_path / ".hidden" / "e.png", 9)
    (tmp_path / "cat" / "notes.txt").write_text("not a picture")
    splits = load(tmp_path)
    found = dict(zip(values(splits.train), splits.train.labels.tolist(), strict=True))
    found |= dict(zip(values(splits.test), splits.test.labels.tolist(), strict=True))
    assert found == {2: 0, 1: 1, 0: 1, 3: 2}
    order = [2, 1, 0, 3]
    assert values(splits.train) == [v for v in order if v in values(splits.train)]
    assert len(splits.test) == 1
    assert splits.name == tmp_path.name


def test_a_picture_outside_the_sub_folders_means_no_classes(tmp_path):
    for name in ("cat/a.png", "dog/b.png", "c.png"):
        paint(tmp_path / name, 1)
    assert load(tmp_path).train.labels is None


def test_folders_named_train_and_test_are_the_splits(tmp_path):
    for i, name in enumerate(["train/u/a.png", "train/v/b.png", "test/v/c.png"]):
        paint(tmp_path / name, i)
    splits = load(tmp_path)
    assert (values(splits.train), values(splits.test)) == ([0, 1], [2])
    assert splits.train.labels.tolist() == [0, 1]
    assert splits.test.labels.tolist() == [1]


def test_held_out_pictures_are_never_trained_on_and_stay_the_same(tmp_path):
    for i in range(20):
        paint(tmp_path / f"{i:02d}.png", i)
    first, again = (load(tmp_path, test_fraction=0.3, cache=False) for _ in range(2))
    assert sorted(values(first.train) + values(first.test)) == list(range(20))
    assert 0 < len(first.test) < 12  # binomial: 6 +- 2, and no other files are ever made
    assert values(first.test) == values(again.test)


def test_a_broken_picture_is_named_before_anything_starts(tmp_path):
    for i in range(4):
        paint(tmp_path / f"{i}.png", i, size=(64, 64))
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ValueError, match=r"^data.data_dir must have sound pictures, broken: .*1.png"
    ):
        load(tmp_path)
    (tmp_path / "3.png").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"broken \(and 1 more\): .*/\d.png: ") as info:
        load(tmp_path)
    assert "\n" not in str(info.value)


def test_a_folder_without_pictures_or_a_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data.data_dir must have pictures .* has none"):
        load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"data.data_dir must be a folder of pictures"):
        load(tmp_path / "file")


def test_a_second_start_decodes_nothing_and_a_changed_folder_everything(tmp_path):
    for i in range(4):
        paint(tmp_path / f"{i}.png", i)
    told: list[str] = []
    first = load(tmp_path, told.append)
    second = load(tmp_path, told.append)
    assert [line for line in told if "decoding" in line] == [told[1]]
    assert told[1].startswith("decoding 4 pictures")
    assert told[0] == told[2] == f"{tmp_path}: 4 pictures"
    told.clear()
    np.testing.assert_array_equal(first.train.pixels, second.train.pixels)
    np.testing.assert_array_equal(first.test.pixels, second.test.pixels)
    assert (second.train.levels, second.name) == (256, tmp_path.name)
    paint(tmp_path / "4.png", 4)
    third = load(tmp_path, told.append)
    assert told[1].startswith("decoding 5 pictures")
    assert len(third.train) + len(third.test) == 5


def test_a_damaged_cache_is_told_and_made_anew(tmp_path):
    for i in range(4):
        paint(tmp_path / f"{i}.png", i)
    first = load(tmp_path)
    (path,) = (tmp_path / ".decoded").glob("*.npz")
    content = bytearray(path.read_bytes())
    at = content.index(first.train.pixels.tobytes())
    content[at + 100] ^= 1
    path.write_bytes(content)
    told: list[str] = []
    again = load(tmp_path, told.append)
    assert "are damaged and are made anew" in told[1]
    assert told[2].startswith("decoding")
    np.testing.assert_array_equal(first.train.pixels, again.train.pixels)
    assert load(tmp_path, told.append)
    assert len(told) == 4  # how many pictures there are, and nothing else


def test_a_cache_of_another_version_is_stale(tmp_path, monkeypatch):
    """It may have held other pictures out."""
    for i in range(4):
        paint(tmp_path / f"{i}.png", i)
    load(tmp_path)
    monkeypatch.setattr(data_lib.folder.cached.__module__ + "._FORMAT", 3)
    told: list[str] = []
    load(tmp_path, told.append)
    assert any(line.startswith("decoding") for line in told)


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    for i in range(4):
        paint(tmp_path / f"{i}.png", i)

    def full(*args):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    told: list[str] = []
    assert len(load(tmp_path, told.append).train) == 3
    assert told[-1].startswith("decoded pictures are not kept")
    assert "No space left" in told[-1]
    assert not list((tmp_path / ".decoded").iterdir())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(24, 16), (5, 20)])
def test_rectangles_have_the_largest_part_of_their_proportions(tmp_path, size, channels):
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(4)]
    for k, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{k}.png")
    told: list[str] = []
    keys = {"shape": (*size, channels), "test_fraction": 0.5}
    first, again = (load(tmp_path, told.append, **keys) for _ in range(2))
    assert sum("decoding" in line for line in told) == 1  # kept for the second start
    height, width = (40, 27) if size == (24, 16) else (15, 60)
    top, left = (40 - height) // 2, (60 - width) // 2
    parts = [picture[top : top + height, left : left + width] for picture in pictures]
    wanted = {fit(Image.fromarray(part), size, channels).tobytes() for part in parts}
    for splits in (first, again):
        both = np.concatenate([splits.train.pixels, splits.test.pixels])
        assert both.shape == (4, *size, channels)
        assert {picture.tobytes() for picture in both} == wanted


def test_a_square_crop_of_rectangles_and_other_channels_are_refused(tmp_path):
    paint(tmp_path / "a.png", 1)
    with pytest.raises(ValueError, match=r"\Adata\.crop must be 0 for pictures of 24x16.*\Z"):
        load(tmp_path, shape=(24, 16, 3), crop=8)
    with pytest.raises(ValueError, match=r"\Adata\.num_channels must be 1 or 3, got 2\Z"):
        load(tmp_path, shape=(24, 16, 2))


def test_fit_crops_the_central_square_before_it_resizes():
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = np.arange(48).reshape(4, 4, 3)
    np.testing.assert_array_equal(fit(Image.fromarray(wide), (4, 4), 3), wide[:, 4:8])


@pytest.mark.parametrize("size", [(178, 218), (140, 140)])
def test_fit_cuts_a_square_of_the_given_side_from_the_centre(size):
    picture = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    # CelebA's: rows 39 to 179 and columns 19 to 159 of 218 x 178
    left, top = (size[0] - 140) // 2, (size[1] - 140) // 2
    square = picture[top : top + 140, left : left + 140]
    found = fit(Image.fromarray(picture), (64, 64), 3, crop=140)
    np.testing.assert_array_equal(found, fit(Image.fromarray(square), (64, 64), 3))
    assert (fit(Image.fromarray(picture), (140, 140), 3, crop=140) == square).all()


@pytest.mark.parametrize(
    "filter, kernel, support",
    [
        ("bilinear", lambda x: 1 - x, 1),
        # Keys' cubic with a = -1/2, as TensorFlow's
        ("bicubic", lambda x: np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1,
                                       -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2), 2),
    ],
)  # fmt: skip
def test_fit_resizes_with_the_filter_widened_to_the_pixels_it_makes(filter, kernel, support):
    row = np.random.default_rng(1).integers(60, 196, 24)
    centres = (np.arange(6) + 0.5) * 4 - 0.5
    distance = np.abs(np.arange(24) - centres[:, None]) / 4
    weights = np.where(distance < support, kernel(distance), 0)
    expected = (weights / weights.sum(1, keepdims=True)) @ row
    found = fit(Image.fromarray(np.tile(row.astype(np.uint8), (24, 1))), (6, 6), 1, filter=filter)
    # rounded to a level after each of the two axes
    np.testing.assert_allclose(found[..., 0], np.tile(expected, (6, 1)), rtol=0, atol=1.01)


def test_a_crop_larger_than_a_picture_is_refused_with_its_size():
    with pytest.raises(ValueError, match=r"data\.crop .* picture of 12x9, got 10"):
        fit(Image.new("RGB", (12, 9)), (8, 8), 3, crop=10)


def test_a_folder_is_cropped_and_resized_as_the_config_asks(tmp_path):
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 256, (20, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    found = {}
    for keys in ({}, {"crop": 12}, {"filter": "bicubic"}, {"crop": 12, "filter": "bicubic"}):
        splits = load(tmp_path, **keys)
        with Image.open(tmp_path / "0.png") as picture:
            assert (
                (fit(picture, (8, 8), 3, **keys) == splits.train.pixels).all(axis=(1, 2, 3)).any()
            )
        found[str(keys)] = splits.train.pixels.tobytes()
    assert len(set(found.values())) == 4, "a cache of another form was taken"


def test_fit_antialiases_a_fine_pattern_to_its_mean():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 200
    small = fit(Image.fromarray(stripes), (4, 4), 1)
    # without antialiasing every pixel would be 0 or 200
    assert np.abs(small.astype(int) - 100).max() <= 2


def test_fit_handles_every_mode():
    grey16 = Image.fromarray(np.full((8, 8), 0x80FF, np.uint16))
    assert (fit(grey16, (8, 8), 1) == 0x80).all()
    assert fit(grey16, (8, 8), 3).shape == (8, 8, 3)
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert (fit(clear, (8, 8), 3) == 255).all()
    assert (fit(Image.new("P", (8, 8), 0), (8, 8), 3) == 0).all()
    assert (fit(Image.new("1", (8, 8), 1), (8, 8), 1) == 255).all()
    assert (fit(Image.new("RGB", (8, 8), (50, 50, 50)), (8, 8), 1) == 50).all()
