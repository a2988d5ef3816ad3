"""Files of ours are known by what is in them; all others are moved aside at most."""

import os
import stat

import numpy as np
import pytest
from PIL import Image

from eval_lib import array_pictures, figures, pictures
from runtime_lib import results
from runtime_lib.files import atomic_write, atomic_write_json
from untrusted import ours

IMAGES = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype(np.float32)
WRITTEN = {
    "a.npz": results.npz({"x": np.zeros(100_000), "y": np.ones(3)}),
    "a.png": pictures.grid_png(np.random.default_rng(0).uniform(size=(100, 32, 32, 3))),
    "rows.png": pictures.rows_png(IMAGES[None]),
    "a.gif": pictures.animation_gif(np.stack([IMAGES, IMAGES])),
    "curve.png": pictures.loss_curve_png({"loss": ([1.0, 2.0], [3.0, 4.0])}),
    "figure.png": figures.curves_png({"x": ([1.0, 2.0], [3.0, 4.0])}, "x", "y"),
    "fields.png": array_pictures.picture_of(IMAGES),
    "a.md": results.marked("# Evaluation\n" + "text\n" * 50_000),
}
"""Large files of every format that is written: the mark must be found in these, too."""


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_carries_the_mark(tmp_path, name):
    atomic_write(tmp_path / name, WRITTEN[name])
    assert ours.is_ours(tmp_path / name)
    if not name.endswith(".md"):
        head = (tmp_path / name).read_bytes()[:2000]
        (tmp_path / name).write_bytes(head)
        assert ours.is_ours(tmp_path / name)  # of a file that was cut off


def test_arrays_are_read_as_numpy_would(tmp_path):
    arrays = {"x": np.arange(6.0).reshape(2, 3).T, "label": np.asarray("text"), "n": np.int32([1])}
    atomic_write(tmp_path / "a.npz", results.npz(arrays))
    with np.load(tmp_path / "a.npz") as theirs:
        for found in (dict(theirs), results.load_npz(tmp_path / "a.npz")):
            assert found.keys() == arrays.keys()
            assert all(
                (found[k] == v).all() and found[k].dtype == v.dtype for k, v in arrays.items()
            )


def test_a_report_carries_the_mark_and_reads_back_without(tmp_path):
    atomic_write_json(tmp_path / "a.json", {"x": [1, 2]})
    assert ours.is_ours(tmp_path / "a.json")
    assert results.read_own_json(tmp_path / "a.json") == {"x": [1, 2]}


def _savez(path):
    with path.open("wb") as file:
        np.savez(file, samples=np.zeros(3))


THEIRS = {
    "text": lambda path: path.write_text("precious"),
    "empty": lambda path: path.touch(),
    "numpy": lambda path: _savez(path),
    "picture": lambda path: Image.new("L", (8, 8)).save(path, "PNG"),
    "json": lambda path: path.write_text('{"nfe": 5}'),
    "link": lambda path: path.symlink_to("nowhere"),
    "pipe": lambda path: os.mkfifo(path),
    "folder": lambda path: (path.mkdir(), (path / "x").touch()),
}


@pytest.mark.parametrize("kind", THEIRS)
def test_whatever_else_is_there_is_moved_aside_and_said(tmp_path, kind):
    path, told = tmp_path / "samples.npz", []
    THEIRS[kind](path)
    assert not ours.is_ours(path)
    before = path.lstat()
    assert not ours.remove(path)
    atomic_write(path, WRITTEN["a.npz"], log=told.append)
    aside = tmp_path / "samples_1.npz"
    assert (aside.lstat().st_ino, aside.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert ours.is_ours(path)
    assert len(told) == 1
    assert str(aside) in told[0]
    assert ours.remove(path)
    assert ours.remove(path)


def test_no_name_is_used_twice(tmp_path):
    for n in range(3):
        (tmp_path / "a.png").write_text(f"{n}")
        ours.make_way(tmp_path / "a.png", lambda line: None)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"a_1.png": "0", "a_2.png": "1", "a_3.png": "2"}


def test_a_temporary_name_is_known_and_no_other_is(tmp_path):
    names = [".a.tmp", ".config.json.x1y2z3a4.tmp", f".a.{'0' * 32}.tmp", "a", ".tmp", "..tmp"]
    assert not any(ours.is_temporary(tmp_path / name) for name in names)
    for name in ("config.json", "caf\udce9", "a" * 255, "a\nb", "x.tmp"):
        made = ours.temporary(tmp_path / name)
        os.close(ours.create(made))
        assert ours.is_temporary(made)
        assert not ours.is_temporary(made.with_name(made.name.replace(".tmp", "0.tmp")))
        assert ours.remove(made)


def test_a_folder_is_removed_with_what_is_ours_and_stays_for_anything_else(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for name in ("1.npz", "2.npz"):
        atomic_write(folder / name, WRITTEN["a.npz"])
    os.close(ours.create(ours.temporary(folder / "3.npz")))
    (folder / "notes").write_text("precious")
    assert not ours.remove_all(folder)
    assert [path.name for path in folder.iterdir()] == ["notes"]
    (folder / "notes").unlink()
    assert ours.remove_all(folder)
    assert ours.remove_all(folder)
    (tmp_path / "other").mkdir()
    folder.symlink_to(tmp_path / "other")
    assert not ours.remove_all(folder)
    assert (tmp_path / "other").exists()


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_new_file_takes_the_place_of_nothing(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *a: (_ for _ in ()).throw(PermissionError(1, "x")))
    finished = tmp_path / "finished"
    for kind, make in THEIRS.items():
        finished.write_text("new")
        make(tmp_path / kind)
        with pytest.raises(FileExistsError):
            ours.put_new(finished, tmp_path / kind)
        assert finished.exists()
    ours.put_new(finished, tmp_path / "free")
    assert (tmp_path / "free").read_text() == "new"
    assert not finished.exists()


def test_a_new_folder_takes_the_place_of_an_empty_one_at_most(tmp_path):
    finished = tmp_path / "finished"
    finished.mkdir()
    (finished / "new").touch()
    for kind, make in THEIRS.items():
        make(tmp_path / kind)
        with pytest.raises(FileExistsError):
            ours.put_new_folder(finished, tmp_path / kind)
        assert ours.is_taken(tmp_path / kind)
    (tmp_path / "free").mkdir()
    assert not ours.is_taken(tmp_path / "free")
    ours.put_new_folder(finished, tmp_path / "free")
    assert stat.S_ISDIR((tmp_path / "free").stat().st_mode)
    assert (tmp_path / "free" / "new").exists()


# Parts of results --------------------------------------------------------------------------------


def parts(folder, identity, told):
    return results.Parts(folder, identity, told.append)


def test_parts_of_another_identity_go_and_files_of_the_users_stay(tmp_path):
    told: list[str] = []
    parts(tmp_path, {"seed": 1}, told).put("0", {"x": np.zeros(2)})
    assert parts(tmp_path, {"seed": 2}, told).get("0", {"x": (2,)}) is None
    assert not told
    np.savez(tmp_path / "parts" / "1.npz", x=np.zeros(2))
    assert parts(tmp_path, {"seed": 2}, told).get("1", {"x": (2,)}) is None
    parts(tmp_path, {"seed": 3}, told)
    assert [path.name for path in (tmp_path / "parts_1").iterdir()] == ["1.npz"]
    assert len(told) == 1
    assert "parts_1" in told[0]


@pytest.mark.parametrize("shapes", [{"y": (2,)}, {"x": (3,)}, {"x": (2, 1)}, {"s": ()}])
def test_a_part_of_other_arrays_is_made_anew(tmp_path, shapes):
    kept = parts(tmp_path, {}, [])
    kept.put("0", {"x": np.zeros(2), "s": np.asarray("text")})
    assert kept.get("0", shapes) is None
    assert kept.get("0", {"x": (None,)}) is not None


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_pipe_or_a_link_in_the_place_of_a_part_is_not_opened(tmp_path, make):
    kept = parts(tmp_path, {}, [])
    make(tmp_path / "parts" / "0.npz")
    assert kept.get("0", {}) is None
