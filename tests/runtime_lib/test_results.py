"""Finished parts and results: made once, read back whole, and never those of other settings."""

import contextlib

import numpy as np

from runtime_lib.results import Part, Parts, keep, recall

SHAPES = {"x": (2, None)}


def wanted(made, count=3):
    def make(k):
        made.append(k)
        return {"x": np.full((2, 1), k)}

    return [Part(str(k), SHAPES, lambda k=k: make(k)) for k in range(count)]


def values(parts, made, count=3):
    return [int(arrays["x"][0, 0]) for arrays in parts.each(wanted(made, count), "x", print)]


def test_every_part_is_made_once_and_again_where_it_is_damaged_or_of_other_settings(tmp_path):
    made = []
    assert values(Parts(tmp_path, {"seed": 0}), made, 2) == [0, 1]
    assert values(Parts(tmp_path, {"seed": 0}), made) == [0, 1, 2]
    assert made == [0, 1, 2]
    whole = (tmp_path / "parts" / "1.npz").read_bytes()
    (tmp_path / "parts" / "1.npz").write_bytes(whole[:-50])
    assert values(Parts(tmp_path, {"seed": 0}), made) == [0, 1, 2]
    assert made == [0, 1, 2, 1]
    assert values(Parts(tmp_path, {"seed": 1}), made, 1) == [0]
    assert made == [0, 1, 2, 1, 0]


def test_a_kept_result_is_that_of_its_identity_and_whole(tmp_path):
    path, x = tmp_path / "cell.json", {"x": np.ones((2, 4))}
    assert recall(path, {"rho": (7,)}, SHAPES) is None
    keep(path, {"rho": (7,)}, {"nfe": 5}, x)
    told, arrays = recall(path, {"rho": (7,)}, SHAPES)
    assert told["nfe"] == 5
    np.testing.assert_array_equal(arrays["x"], x["x"])
    assert recall(path, {"rho": (5,)}, SHAPES) is None
    assert recall(path, {"rho": (7,)}, {"x": (3, None)}) is None
    path.with_suffix(".npz").write_bytes(path.with_suffix(".npz").read_bytes()[:-50])
    assert recall(path, {"rho": (7,)}, SHAPES) is None


def test_arrays_that_a_kill_left_without_their_table_belong_to_none(tmp_path, monkeypatch):
    path = tmp_path / "cell.json"
    keep(path, {"rho": 7}, {}, {"x": np.ones((2, 1))})

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("runtime_lib.results.atomic_write_json", killed)
    with contextlib.suppress(KeyboardInterrupt):
        keep(path, {"rho": 5}, {}, {"x": np.zeros((2, 1))})
    assert recall(path, {"rho": 7}, SHAPES) is None
