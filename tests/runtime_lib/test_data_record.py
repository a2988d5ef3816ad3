"""A run knows its data: what was held out stays so, and other data are refused or said."""

import json
import os
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import data_lib
import main
import models
from data_lib import Images, Splits
from runtime_lib import data_record
from runtime_lib.workdir import WorkdirError
from tests import tiny
from untrusted import read_arrays

QUIET = lambda message: None


def config(changed="refuse", num_classes=0):
    return SimpleNamespace(
        data=SimpleNamespace(changed=changed), model=SimpleNamespace(num_classes=num_classes)
    )


def splits(numbers, labels=None):
    """Training images of these numbers, and two held-out ones."""
    pixels = np.asarray([*numbers, 100, 101], np.uint8)[:, None, None, None]
    images = Images(pixels, labels, 256)
    cut = len(numbers)
    return Splits(images.take(slice(cut)), images.take(slice(cut, None)), "x")


def trained(folder, on):
    """A workdir with a checkpoint, trained on such images."""
    (folder / "checkpoints" / "5").mkdir(parents=True)
    data_record.write(folder, data_record.check(folder, config(), on, QUIET))
    return folder


def test_the_same_data_go_on_without_a_word(tmp_path):
    folder, told = trained(tmp_path, splits([1, 2, 3])), []
    data_record.check(folder, config(), splits([3, 1, 2]), told.append)
    assert not told


def test_other_data_are_refused_in_one_line_with_the_numbers(tmp_path):
    folder = trained(tmp_path, splits([1, 2, 3]))
    with pytest.raises(WorkdirError, match=r"\A.+\Z") as info:
        data_record.check(folder, config(), splits([2, 3, 4, 5]), QUIET)
    assert str(info.value) == (
        f"{folder} was trained on other data than x is now (examples: 2 added, 1 removed): restore "
        "them, use another --workdir, or go on with --config.data.changed=accept"
    )


def test_other_data_that_are_accepted_are_said_and_are_the_runs_from_then_on(tmp_path):
    folder, told = trained(tmp_path, splits([1, 2, 3])), []
    other = splits([1, 2, 3, 4])
    found = data_record.check(folder, config("accept"), other, told.append)
    assert told == ["going on with changed data (examples: 1 added), as data.changed is accept"]
    data_record.write(folder, found)
    data_record.check(folder, config(), other, QUIET)


def test_labels_are_compared_where_the_model_is_told_them(tmp_path):
    labels = np.arange(5, dtype=np.int32)
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    before = splits([1, 2, 3], labels)
    data_record.write(tmp_path, data_record.check(tmp_path, config(num_classes=9), before, QUIET))
    after = splits([1, 2, 3], labels[::-1].copy())
    with pytest.raises(WorkdirError, match="the same examples have other labels"):
        data_record.check(tmp_path, config(num_classes=9), after, QUIET)


def test_before_the_first_checkpoint_any_data_will_do(tmp_path):
    data_record.write(tmp_path, data_record.check(tmp_path, config(), splits([1]), QUIET))
    told: list[str] = []
    data_record.check(tmp_path, config(), splits([2]), told.append)
    assert not told


def test_a_run_without_a_record_goes_on_with_one_line(tmp_path):
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    told: list[str] = []
    data_record.check(tmp_path, config(), splits([1]), told.append)
    assert told == [f"{tmp_path} has no record of its data, so that a change would not be noticed"]
    by_hash = data_lib.base.hold_out(splits(range(9)).train, 0.5, "x")
    data_record.check(tmp_path, config(), by_hash, told.append)
    assert told[1].endswith("; earlier versions held out other examples")


@pytest.mark.parametrize("content", ["cut", "empty", "other", "pipe"])
@pytest.mark.timeout(20)
def test_a_record_that_is_damaged_is_one_line_that_names_it(tmp_path, content):
    folder = trained(tmp_path, splits([1, 2, 3]))
    path = folder / data_record.FILE
    whole = path.read_bytes()
    path.unlink()
    if content == "pipe":
        os.mkfifo(path)
    elif content == "other":
        with path.open("wb") as file:
            np.savez(file, train=np.zeros((2, 2)))
    else:
        path.write_bytes(whole[:100] if content == "cut" else b"")
    for use in (data_record.check, lambda f, c, s, log: data_record._recorded(f)):
        with pytest.raises(WorkdirError, match=rf"\A{path}, .* cannot be read .* delete it.*\Z"):
            use(folder, config("accept"), splits([1, 2, 3]), QUIET)


# A whole run --------------------------------------------------------------------------------------

DIGITS = np.rint(load_digits().images[:80] * 255 / 16).astype(np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one update on a folder of sixty pictures, to which twenty are then added."""
    root = tmp_path_factory.mktemp("grown")
    for k, digit in enumerate(DIGITS):
        folder = root / ("pictures" if k < 60 else "more")
        folder.mkdir(exist_ok=True)
        Image.fromarray(digit).save(folder / f"{79 - k:02d}.png")
    tiny.register()
    assert command(root, "train", 1) == 0
    for path in (root / "more").iterdir():
        shutil.copy(path, root / "pictures")
    yield root
    del models.NETWORKS["tiny"]


def command(root, mode, n_iters, **settings):
    given = {"data__dataset": "folder", "data__data_dir": root / "pictures", "data__cache": False,
             "model__num_classes": 0, "training__n_iters": n_iters}  # fmt: skip
    with jax.numpy_dtype_promotion("standard"):
        return main.main(tiny.arguments(mode, root / "run", **given | settings))


def test_a_folder_that_grows_is_refused_then_accepted_and_said_where_it_is_measured(run, capsys):
    before = read_arrays(run / "run" / data_record.FILE)
    assert command(run, "train", 2) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "examples: 20 added)" in error
    assert "--config.data.changed=accept" in error
    assert json.loads((run / "run" / "config.json").read_text())["training.n_iters"] == 1
    stats = {"eval__extractor": "pixels", "eval__metrics": "sliced", "eval__num_samples": 4}
    assert command(run, "eval", 1, **stats) == 0
    assert "differs from the training data of" in (said := capsys.readouterr().out)
    assert "(examples: 20 added)" in said
    assert command(run, "train", 2, data__changed="accept") == 0
    assert "going on with changed data (examples: 20 added)" in capsys.readouterr().out
    after = read_arrays(run / "run" / data_record.FILE)
    assert set(before["test"]) <= set(after["test"])
    assert set(before["train"]) <= set(after["train"])
    assert command(run, "train", 2) == 0  # another time, without leave
