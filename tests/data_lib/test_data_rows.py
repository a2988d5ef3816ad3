"""Large arrays stay in their files, from loading to batches."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

import data_lib
from data_lib import codec
from data_lib.rows import Rows
from untrusted import limits

MIB = 2**20


def load(path, **keys):
    plain = {"dataset": "array", "image_size": 8, "num_channels": 1, "data_dir": str(path),
             "codec": "standardize", "shape": (0,), "test_fraction": 0.02}  # fmt: skip
    return data_lib.load(SimpleNamespace(**plain | keys), log=lambda message: None)


def batch(images):
    return next(data_lib.Batches(images, batch_size=16, seed=0, flip=False, dequantize=False,
                                 codec=codec.AsGiven()))["image"]  # fmt: skip


def test_a_large_file_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(codec, "BLOCK_VALUES", 2**18)  # so that blocks are small beside the file
    x = np.random.default_rng(0).standard_normal((3000, 4096, 2), dtype=np.float32)
    assert x.nbytes > 1.4 * limits.MAPPED_BYTES
    np.save(tmp_path / "x.npy", x)
    tracemalloc.start()
    try:
        train = load(tmp_path / "x.npy").train
        batch(train)
        codec.moments(train.pixels, "data")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert train.pixels.shape[1:] == (4096, 2)
    assert peak < 45 * MIB  # of 94: blocks that are looked at or hashed, and the held-out fiftieth


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(7,), (5, 3)])
def test_mapped_data_give_what_data_in_memory_give(tmp_path, monkeypatch, order, shape):
    x = np.random.default_rng(0).standard_normal((500, *shape))
    x = np.asarray(x, order=order)
    np.save(tmp_path / "x.npy", x)
    keys = {"test_fraction": 0.2, "shape": (*shape, 1)}
    read = load(tmp_path / "x.npy", **keys)
    monkeypatch.setattr(limits, "MAPPED_BYTES", 1000)
    mapped = load(tmp_path / "x.npy", **keys)
    assert isinstance(mapped.train.pixels, Rows)
    assert isinstance(read.train.pixels, np.ndarray)
    for one, other in ((read.train, mapped.train), (read.test, mapped.test)):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.content(), other.content())
    np.testing.assert_array_equal(batch(read.train), batch(mapped.train))
    assert codec.moments(read.train.pixels, "x") == codec.moments(mapped.train.pixels, "x")


def test_pictures_of_gray_levels_are_read_as_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAPPED_BYTES", 1000)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), np.uint8))
    assert isinstance(load(tmp_path / "x.npy", codec="levels", shape=()).train.pixels, np.ndarray)


def test_rows_are_indexed_and_computed_with_like_an_array():
    whole = np.random.default_rng(0).standard_normal((9, 4, 3))
    rows, x = Rows(whole, np.array([7, 2, 5])), whole[[7, 2, 5]]
    keys = [0, -1, slice(1), slice(None, None, -1), [2, 0], x[:, 0, 0] > 0, (1, 2), (..., 0),
            (slice(None), slice(2)), (..., None)]  # fmt: skip
    for key in keys:
        np.testing.assert_array_equal(rows[key], x[key])
    assert isinstance(rows[..., None], Rows)
    assert (rows.shape, rows.ndim, rows.size, rows.dtype, len(rows)) == (
        (x.shape, x.ndim, x.size, x.dtype, len(x))
    )
    np.testing.assert_array_equal(2 * rows - x, x)
    np.testing.assert_array_equal(np.isfinite(rows), True)
    np.testing.assert_array_equal(np.concatenate([rows, rows]), np.concatenate([x, x]))
    np.testing.assert_array_equal(rows.reshape(3, -1).mean(axis=1), x.reshape(3, -1).mean(axis=1))
    assert rows.astype(np.float32).dtype == np.float32
    with pytest.raises(IndexError):
        rows[3]
    with pytest.raises(AttributeError):
        _ = rows.nothing
