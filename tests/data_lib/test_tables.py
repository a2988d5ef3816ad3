"""Tables: columns by their uses, and what is wrong with one, in a line."""

from types import SimpleNamespace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import data_lib
from data_lib.tables import listed
from untrusted import read_table

CSV = "a,b,c,kind\n" + "".join(f"{k},{k * k}.5,{-k},{'xyz'[k % 3]}\n" for k in range(40))
"""Values of b tell k, and by it all others."""


def section(path, **keys):
    plain = {"dataset": "table", "image_size": 8, "num_channels": 1, "data_dir": str(path),
             "codec": "standardize", "shape": (0,), "test_fraction": 0.25}  # fmt: skip
    return SimpleNamespace(**plain | keys)


def load(path, said=None, **keys):
    return data_lib.load(section(path, **keys), log=(said if said is not None else []).append)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "t.csv").write_text(CSV)
    return tmp_path / "t.csv"


def test_columns_are_data_condition_or_label_and_stay_together(file):
    said = []
    keys = {"columns": "c, a", "condition_columns": "b", "label_column": "kind"}
    splits = load(file, said, **keys)
    assert len(splits.train) + len(splits.test) == 40
    for images in (splits.train, splits.test):
        k = images.pixels[:, 1]
        assert images.names == ("c", "a")
        np.testing.assert_array_equal(images.pixels, np.stack([-k, k], axis=1))
        np.testing.assert_array_equal(images.condition, (k**2 + 0.5)[:, None])
        np.testing.assert_array_equal(images.labels, k % 3)
    assert said == ["classes of column kind: 0 x, 1 y, 2 z"]


def test_all_columns_that_have_no_other_use_are_the_data(file):
    assert load(file, label_column="kind").train.names == ("a", "b", "c")
    both = load(file, condition_columns="a,b", label_column="kind").train
    assert (both.names, both.condition.shape[1]) == (("c",), 2)


def test_columns_that_are_not_used_are_told(file):
    said = []
    splits = load(file, said, columns="a")
    assert said == [f"data.data_dir={file}: b, c, kind not used"]
    assert splits.train.labels is None
    assert "data.label_column names no column" in splits.train.unlabelled


def test_the_same_table_as_parquet_gives_the_same_splits(file, tmp_path):
    k = np.arange(40)
    columns = {"a": k, "b": k**2 + 0.5, "c": -k.astype(np.float32), "kind": np.array(list("xyz"))}
    columns["kind"] = pyarrow.array(columns["kind"][k % 3]).dictionary_encode()
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet", row_group_size=7)
    one, other = (load(path, label_column="kind") for path in (file, tmp_path / "t.parquet"))
    for images, same in ((one.train, other.train), (one.test, other.test)):
        np.testing.assert_array_equal(images.pixels, same.pixels)
        np.testing.assert_array_equal(images.labels, same.labels)


def test_integer_labels_are_classes_as_they_are(tmp_path):
    (tmp_path / "t.csv").write_text("a,k\n" + "".join(f"{i},{i % 2 * 7}\n" for i in range(9)))
    assert set(load(tmp_path / "t.csv", label_column="k").train.labels) == {0, 7}


def test_semicolons_and_tabs_separate_too_and_quotes_hold_commas(tmp_path):
    for mark in (";", "\t"):
        (tmp_path / "t.csv").write_text(f'"a, b"{mark}c\n1{mark}2\n3{mark}4\n5{mark}7\n')
        splits = load(tmp_path / "t.csv", columns='"a, b", c')
        assert splits.train.names == ("a, b", "c")
        assert splits.train.pixels.sum() + splits.test.pixels.sum() == 22
    assert listed("k", ' x,"y, z" , w') == ("x", "y, z", "w")


@pytest.mark.parametrize("word", ["", "NaN", "NA", " n/a ", "null", "?"])
def test_values_that_are_missing_become_nan_where_they_are_allowed(tmp_path, word):
    path = tmp_path / "t.csv"
    path.write_text(f"a,b,c\n1,2,3\n2,{word},4\n3,5,{word}\n4,8,9\n")
    with pytest.raises(
        ValueError, match=r"\Acolumn 'b' of .*t\.csv has no value in row 2: .*mask.*\Z"
    ):
        load(path, condition_columns="c")
    splits = load(path, missing="mask", condition_columns="c")
    both = [np.concatenate([getattr(splits.train, name), getattr(splits.test, name)])
            for name in ("pixels", "condition")]  # fmt: skip
    order = np.argsort(both[0][:, 0])
    np.testing.assert_array_equal(both[0][order], [[1, 2], [2, np.nan], [3, 5], [4, 8]])
    np.testing.assert_array_equal(both[1][order], [[3], [4], [np.nan], [9]])


BAD = {
    "text": ("a,b\n1,2\n3,red\n", {}, "column 'b' must be of numbers, it has 'red' in row 2"),
    "decimal comma": ("a;b\n1,5;2\n", {}, "column 'a' must be of numbers, it has '1,5' in row 1"),
    "infinite": ("a,b\n1,2\n3,inf\n", {}, "column 'b' of {} must be finite, row 2 has inf"),
    "constant": ("a,b\n1,2\n3,2\n", {}, "column 'b' of {} must vary, from row 1 on it is always 2"),
    "constant condition": ("a,b\n1,2\n3,2\n", {"condition_columns": "b"}, "'b' of {} must vary"),
    "empty column": ("a,b\n1,\n3,\n", {"missing": "mask"}, "column 'b' of {} has no values"),
    "unknown": ("alpha,b\n1,2\n", {"columns": "alhpa"}, "data.columns must name columns of {}, "
                "which are alpha, b, got 'alhpa' (did you mean 'alpha'?)"),
    "unknown label": ("a,b\n1,2\n", {"label_column": "c"}, "data.label_column must name columns"),
    "twice": ("a,b,a\n1,2,3\n", {}, "{} must name each column once, it has two called 'a'"),
    "two uses": ("a,b\n1,2\n", {"columns": "a", "condition_columns": "a"}, "must have one use"),
    "nothing left": ("a,b\n1,2\n", {"condition_columns": "a,b"}, "must have a column for the data"),
    "no name": ("a,\n1,2\n", {}, "{} must name every column in its first line, column 2 has no"),
    "no names": ("1,2\n3,4\n", {}, "{} must name its columns in its first line, which has the "
                 "numbers 1, 2"),
    "no rows": ("a,b\n", {}, "{} must have rows below the names of its columns"),
    "short row": ("a,b\n1,2\n3\n", {}, "row 2: Expected 2 columns, got 1"),
    "no label": ("a,k\n1,x\n2,\n", {"label_column": "k"}, "'k' of {} must have a label in row 2"),
    "one row": ("a,b\n1,2\n", {}, "must vary"),
    "no shape": ("a,b\n1,2\n3,4\n", {"shape": ()}, "data.shape must be given, or auto"),
    "other shape": ("a,b\n1,2\n3,4\n", {"shape": (3,)}, "data.shape must be 2 as in"),
    "not UTF-8": ("a,b\n1,\udcff\n", {}, "invalid UTF8"),
    "nothing": ("", {}, "t.csv is empty"),
    "binary": ("\0\1\2", {}, "it is neither a CSV nor a Parquet file"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_refused_in_a_line_that_names_file_column_and_row(tmp_path, case):
    content, keys, words = BAD[case]
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"\A.+\Z") as error:
        load(path, **keys)
    assert words.format(f"data.data_dir={path}") in str(error.value)
    assert "t.csv" in str(error.value)


PARQUET_BAD = {
    "dates": (pyarrow.array([1, 2], pyarrow.date32()), "'b' must be of numbers, it is of date32"),
    "lists": (pyarrow.array([[1], [2]]), "'b' must be of numbers, it is of list<"),
    "texts": (pyarrow.array(["1", "x"]), "'b' must be of numbers, it has 'x' in row 2"),
}


@pytest.mark.parametrize("case", PARQUET_BAD)
def test_a_parquet_file_of_other_kinds_is_refused(tmp_path, case):
    column, words = PARQUET_BAD[case]
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2], "b": column}), path)
    with pytest.raises(ValueError, match=r"\A.+\Z") as error:
        load(path)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([True, False, True]),
        pyarrow.array([1, None, 3], pyarrow.int8()),
        pyarrow.array([1, 2, 3], pyarrow.float16()),
        pyarrow.array(["1", " 2", "3e0"]),
        pyarrow.array([1, 2, 1]).dictionary_encode(),
        pyarrow.array([1, 2, 3]).cast(pyarrow.decimal128(30, 2)),
    ],
)
def test_every_kind_of_number_is_read(tmp_path, column):
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"b": column}), path)
    splits = load(path, missing="mask")
    both = np.concatenate([splits.train.pixels, splits.test.pixels])[:, 0]
    wanted = [np.nan if x is None else float(x) for x in column.to_pylist()]
    np.testing.assert_array_equal(np.sort(both), np.sort(wanted))


def test_every_nan_and_both_zeros_have_the_same_bits(tmp_path):
    signalling = np.array([0x7FF0000000000001, 0xFFF8000000000007, 0, 1 << 63], np.uint64)
    column = pyarrow.array(signalling.view(np.float64))
    pyarrow.parquet.write_table(pyarrow.table({"b": column, "c": range(4)}), tmp_path / "t.parquet")
    numbers = read_table(tmp_path / "t.parquet", ["b"]).numbers
    assert len(set(numbers[:2, 0].view(np.uint64))) == 1
    assert list(numbers[2:, 0].view(np.uint64)) == [0, 0]
