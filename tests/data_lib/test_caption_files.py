"""Captions that lie beside pictures, and in arrays."""

import json

import numpy as np
import pytest
from PIL import Image

from configs.schema import get_default
from data_lib import load


def section(path, dataset="folder"):
    data = get_default().data
    data.dataset, data.data_dir, data.image_size, data.num_channels = dataset, str(path), 4, 1
    data.random_flip, data.test_fraction = False, 0.25
    return data


@pytest.fixture
def photos(tmp_path):
    for k in range(8):
        Image.new("L", (4, 4), 20 * k).save(tmp_path / f"{k}.png")
    return tmp_path


def texts(photos, names=range(8)):
    for k in names:
        (photos / f"{k}.txt").write_text(f"gray level {20 * k}\n")


def check(splits):
    for part in (splits.train, splits.test):
        for pixels, caption in zip(part.pixels, part.captions, strict=True):
            assert caption == f"gray level {pixels[0, 0, 0]}"


def test_texts_beside_pictures_are_their_captions_and_are_kept_with_them(photos):
    texts(photos)
    check(load(section(photos), log=lambda line: None))
    check(load(section(photos), log=lambda line: None))  # from the file of decoded pictures


def test_changed_captions_are_read_again(photos):
    texts(photos)
    load(section(photos), log=lambda line: None)
    for k in range(8):
        (photos / f"{k}.txt").write_text("new")
    again = load(section(photos), log=lambda line: None)
    assert set(again.train.captions) == {"new"}


def test_a_list_in_the_folder_or_above_it_has_captions(photos):
    inner = photos / "inner"
    inner.mkdir()
    for k in range(4):
        (photos / f"{k}.png").rename(inner / f"{k}.png")
    lines = [
        {"file_name": f"inner/{k}.png" if k < 4 else f"{k}.png", "text": f"gray level {20 * k}"}
        for k in range(8)
    ]
    (photos / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    check(load(section(photos), log=lambda line: None))


def test_captions_of_some_are_not_used_and_it_is_said(photos):
    texts(photos, range(3, 8))
    lines = []
    assert load(section(photos), log=lines.append).train.captions is None
    assert any("3 of 8 pictures have none" in line and "0.png" in line for line in lines)


def test_a_list_that_cannot_be_read_is_refused(photos):
    (photos / "metadata.jsonl").write_text('{"file_name": 1, "text": "a"}')
    with pytest.raises(ValueError, match=r"captions cannot be read: metadata.jsonl, line 1"):
        load(section(photos), log=lambda line: None)


def test_arrays_have_captions_beside_them(tmp_path):
    pixels = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    said = np.array([f"gray level {20 * k}" for k in range(8)])
    np.savez(tmp_path / "a.npz", images=pixels * 20, captions=said)
    check(load(section(tmp_path / "a.npz", "array"), log=lambda line: None))


def test_arrays_of_fewer_captions_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((8, 4, 4, 1), np.uint8), captions=["a"] * 7)
    with pytest.raises(ValueError, match=r"a.npz\[captions\] must have a text for each of 8"):
        load(section(tmp_path / "a.npz", "array"), log=lambda line: None)
