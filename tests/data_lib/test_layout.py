"""Folders of pictures: parts, classes, links, and what is refused because it could be two things.

A picture is one value, so that it tells where it came from.
"""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import data_lib
from data_lib.members import PARTS

BLACK = 10


def paint(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), value).save(path, "PNG")


def fill(root, names):
    """A picture of value 10, 11, ... under each of the names."""
    for k, name in enumerate(names):
        paint(root / name, BLACK + k)


def load(root, log=lambda message: None, **keys):
    config = {"dataset": "folder", "image_size": 8, "num_channels": 1, "data_dir": str(root)}
    return data_lib.load(SimpleNamespace(**(config | {"cache": False} | keys)), log=log)


def known(images):
    """{number of the picture: label}."""
    numbers = (images.pixels[:, 0, 0, 0] - BLACK).tolist()
    labels = [None] * len(numbers) if images.labels is None else images.labels.tolist()
    return dict(zip(numbers, labels, strict=True))


LAYOUTS = {
    "train and test": (["train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/dog/d.png"],
                       {0: 0, 1: 1}, {2: 0, 3: 1}),
    "any case": (["TRAIN/cat/a.png", "TRAIN/dog/b.png", "Val/cat/c.png"], {0: 0, 1: 1}, {2: 0}),
    "no classes": (["train/a.png", "valid/b.png"], {0: None}, {1: None}),
    "a class of one part only": (["train/cat/a.png", "train/emu/b.png", "val/dog/c.png",
                                  "val/emu/d.png"], {0: 0, 1: 2}, {2: 1, 3: 2}),
    "a class called train": (["train/train/a.png", "train/bus/b.png", "val/train/c.png"],
                             {0: 1, 1: 0}, {2: 1}),
    "test before validation": (["train/a/0.png", "validation/a/1.png", "test/a/2.png"],
                               {0: 0}, {2: 0}),
    "folders within classes": (["train/a/x/y/0.png", "val/a/z/1.png"], {0: 0}, {1: 0}),
    "a folder without pictures": (["train/a/0.png", "val/a/1.png", "notes/read.txt"],
                                  {0: 0}, {1: 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_parts_and_classes_are_those_of_the_folders(tmp_path, name):
    names, train, test = LAYOUTS[name]
    fill(tmp_path, [n for n in names if n.endswith(".png")])
    for other in (n for n in names if not n.endswith(".png")):
        (tmp_path / other).parent.mkdir()
        (tmp_path / other).write_text("not a picture")
    splits = load(tmp_path)
    assert (known(splits.train), known(splits.test)) == (train, test)


@pytest.mark.parametrize("word", sorted(set(PARTS) - {"train", "training"}))
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_a_held_out_part_is_known_by_any_of_its_names(tmp_path, word, case):
    fill(tmp_path, ["train/a/0.png", f"{case(word)}/a/1.png"])
    assert known(load(tmp_path).test) == {1: 0}


def test_of_train_alone_some_pictures_are_held_out_and_its_folders_are_the_classes(tmp_path):
    fill(tmp_path, [f"train/{name}/{k}.png" for name in ("cat", "dog") for k in range(20)])
    splits = load(tmp_path)
    assert len(splits.test) > 0
    assert known(splits.train) | known(splits.test) == {k: k // 20 for k in range(40)}


def test_what_is_held_out_and_what_is_left_alone_is_said(tmp_path):
    fill(tmp_path, ["train/a/0.png", "val/a/1.png", "TEST/a/2.png"])
    told: list[str] = []
    load(tmp_path, told.append)
    assert f"{tmp_path}: TEST/ is held out" in told
    assert "val/ is not used, neither to train on nor as held-out images" in told


def test_a_class_that_a_part_lacks_is_said(tmp_path):
    fill(tmp_path, ["train/cat/0.png", "train/dog/1.png", "val/cat/2.png", "val/emu/3.png"])
    told: list[str] = []
    load(tmp_path, told.append)
    assert "no training pictures of emu" in told
    assert "no held-out pictures of dog" in told


@pytest.mark.parametrize("names, stray", [
    (["cat/0.png", "dog/1.png", "preview.png"], "preview.png lies"),
    (["train/cat/0.png", "train/1.png", "train/2.png", "val/cat/3.png"], "1.png and 1 more lie"),
    (["train/cat/0.png", "val/1.png"], "val/1.png lies"),
])  # fmt: skip
def test_a_picture_outside_of_the_classes_is_named_and_its_cost_is_said(tmp_path, names, stray):
    fill(tmp_path, names)
    told: list[str] = []
    splits = load(tmp_path, told.append)
    assert splits.train.labels is None
    assert splits.test.labels is None
    (said,) = [line for line in told if "there are no labels" in line]
    assert stray in said
    assert "(cat" in said
    assert splits.train.unlabelled == splits.test.unlabelled == said


AMBIGUOUS = {
    "train beside a class": ["train/a/0.png", "cat/1.png"],
    "test beside a class": ["test/a/0.png", "cat/1.png"],
    "train beside a picture": ["train/a/0.png", "1.png"],
    "test without train": ["test/a/0.png", "test/b/1.png"],
    "a part twice": ["train/a/0.png", "Train/a/1.png"],
    "a part by two names": ["train/a/0.png", "val/a/1.png", "valid/a/2.png"],
    "parts within classes": ["cat/train/0.png", "cat/test/1.png"],
    "parts one folder deeper": ["cifar/train/cat/0.png", "cifar/test/cat/1.png"],
    "parts within a part": ["train/train/cat/0.png", "train/val/cat/1.png"],
    "parts within classes of a part": ["train/cat/train/0.png", "train/cat/val/1.png"],
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_could_be_two_layouts_is_refused_by_name(tmp_path, name):
    fill(tmp_path, AMBIGUOUS[name])
    with pytest.raises(ValueError, match=r"\Adata\.data_dir .*\Z") as info:
        load(tmp_path)
    assert str(tmp_path) in str(info.value)


def test_a_part_without_pictures_is_refused(tmp_path):
    fill(tmp_path, ["train/a/0.png"])
    (tmp_path / "val").mkdir()
    with pytest.raises(ValueError, match=r"pictures in its parts, .*val has none"):
        load(tmp_path)


# Links and other things --------------------------------------------------------------------------


def test_links_to_folders_and_files_are_followed_and_counted(tmp_path):
    fill(tmp_path, ["store/cat/0.png", "store/dog/1.png", "store/more/2.png", "set/bird/3.png"])
    store, root = tmp_path / "store", tmp_path / "set"
    for name in ("cat", "dog"):
        (root / name).symlink_to(store / name)
    (root / "bird" / "4.png").symlink_to(os.path.relpath(store / "more" / "2.png", root / "bird"))
    told: list[str] = []
    splits = load(root, told.append)
    assert known(splits.train) | known(splits.test) == {0: 1, 1: 2, 2: 0, 3: 0}
    assert "followed 3 symbolic links" in told


def linked(root, name, target):
    (root / name).symlink_to(target)


LINKS = {
    "to itself": (lambda root: linked(root, "cat/me.png", "me.png"), "me.png leads nowhere"),
    "to nothing": (lambda root: linked(root, "dog", "gone/dog"), "dog leads nowhere"),
    "to its folder": (lambda root: linked(root, "cat/again", "."), "cat/again is the folder .*cat"),
    "to the root": (lambda root: linked(root, "cat/up", ".."), "cat/up is the folder"),
    "above the root": (lambda root: linked(root, "cat/up", "../.."), "cat/up is the folder"),
    "to the top": (lambda root: linked(root, "cat/up", "/"), "cat/up is the folder /"),
    "twice": (lambda root: linked(root, "kitten", "cat"), "kitten is the folder .*cat again"),
    "a pipe": (lambda root: os.mkfifo(root / "cat" / "a.png"), "a.png must be a file"),
    "a device": (lambda root: linked(root, "a.png", "/dev/zero"), "a.png must be a file"),
}


@pytest.mark.parametrize("name", LINKS)
def test_what_leads_nowhere_or_round_is_refused_by_name(tmp_path, name):
    make, message = LINKS[name]
    root = tmp_path / "set"
    fill(root, ["cat/0.png", "cat/1.png"])
    make(root)
    with pytest.raises(ValueError, match=rf"\Adata\.data_dir: .*{message}.*\Z"):
        load(root)


def test_folders_that_links_multiply_are_not_gone_through(tmp_path):
    """Thirty levels with two links to the next make 2^30 ways to the picture."""
    fill(tmp_path, ["set/cat/0.png", "levels/30/1.png"])
    for k in range(30):
        (tmp_path / "levels" / str(k)).mkdir()
        for name in "ab":
            (tmp_path / "levels" / str(k) / name).symlink_to(tmp_path / "levels" / str(k + 1))
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "levels" / "0")
    with pytest.raises(ValueError, match=r"again, through a link"):
        load(tmp_path / "set")


def test_what_is_passed_over_is_counted(tmp_path):
    fill(tmp_path, ["0.png", "1.png", ".hidden.png"])
    for name in ("a.HEIC", "b.heic", "notes"):
        (tmp_path / name).touch()
    told: list[str] = []
    load(tmp_path, told.append)
    assert "skipped 3 files that are not pictures: 2 .heic, 1 without a suffix" in told


def test_of_several_frames_the_first_is_taken_and_that_is_said(tmp_path):
    frames = [Image.new("L", (8, 8), value) for value in (200, 100)]
    for name in ("0.gif", "1.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    told: list[str] = []
    splits = load(tmp_path, told.append)
    assert known(splits.train) | known(splits.test) == {190: None}
    assert "took the first frame of 2 pictures that have several" in told


# Names that are no text --------------------------------------------------------------------------

LATIN = b"caf\xe9"


@pytest.mark.parametrize("cache", [True, False])
def test_names_that_are_not_utf_8_are_read(tmp_path, cache):
    root = os.path.join(os.fsencode(tmp_path), LATIN)
    for k, name in enumerate([b"a/0.png", b"a/" + LATIN + b".png", LATIN + b"/2.png"]):
        os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
        Image.new("L", (8, 8), BLACK + k).save(os.fsdecode(os.path.join(root, name)))
    told: list[str] = []
    for _ in range(2):
        splits = load(os.fsdecode(root), told.append, cache=cache)
        assert known(splits.train) | known(splits.test) == {0: 0, 1: 0, 2: 1}
        assert splits.name == "caf?"
    "\n".join(told).encode()  # every line can be printed
    assert sum("decoding" in line for line in told) == (1 if cache else 2)


def test_an_error_names_such_a_file_in_a_line_that_can_be_printed(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), LATIN + b".png")
    with open(path, "wb") as file:
        file.write(b"no picture")
    with pytest.raises(ValueError, match=r"\A.*caf\?\.png.*\Z") as info:
        load(tmp_path)
    str(info.value).encode()


def test_a_file_that_changes_without_its_name_is_decoded_again(tmp_path):
    fill(tmp_path, [f"{k}.png" for k in range(5)])
    load(tmp_path, cache=True)
    paint(tmp_path / "3.png", 99)
    os.utime(tmp_path / "3.png", (1, 1))
    splits = load(tmp_path, cache=True)
    assert 99 in np.concatenate([splits.train.pixels, splits.test.pixels])
