"""Trained models in one file: back bitwise, or refused in one line."""

from __future__ import annotations

import json
import stat
import struct
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from models.pretrained import own_format
from models.pretrained.base import by_place
from models.pretrained.files.safetensors_file import create_file, read_tensors, write_tensors
from models.pretrained.files.tensors import PretrainedError
from models.pretrained.own_format import read, save

CONFIG = {"model.name": "ncsnpp", "model.ch_mult": (1, 2), "optim.lr": 2e-4, "seed": 3,
          "data.centered": True}  # fmt: skip


def tree(seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed).standard_normal
    # One of them not contiguous, one empty, one without axes.
    return {
        "stem": {"kernel": draw((3, 5), np.float32).T, "bias": np.float32(draw())},
        "a": {"b": {"c": draw((0, 2), np.float32)}, "d": jnp.asarray(draw(4, np.float32))},
    }


@pytest.mark.parametrize("sets", [("raw",), ("ema",), ("raw", "ema")])
def test_what_is_saved_is_read_again_bitwise(tmp_path, sets):
    given = {name: tree(k) for k, name in enumerate(sets)}
    save(tmp_path / "m.safetensors", CONFIG, 123, **given)
    found = read(tmp_path / "m.safetensors")
    assert (found.settings, found.step) == (CONFIG, 123)
    for name in ("raw", "ema"):
        weights = getattr(found, name)
        assert (weights is not None) == (name in sets)
        if weights is not None:
            expected = by_place(given[name])
            assert sorted(weights) == sorted(expected)
            assert all(weights[k].tobytes() == v.tobytes() for k, v in expected.items())
            assert all(weights[k].shape == v.shape for k, v in expected.items())
            assert unflatten_dict(dict(weights), sep="/").keys() == given[name].keys()
    assert own_format.recognises(tmp_path / "m.safetensors")


def test_nothing_to_save_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="raw or ema"):
        save(tmp_path / "m.safetensors", CONFIG, 1)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path):
    def full_disk(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        create_file(tmp_path / "m.safetensors", full_disk)
    assert not list(tmp_path.iterdir())


def test_a_file_has_the_rights_of_any_new_file(tmp_path):
    save(tmp_path / "m.safetensors", CONFIG, 1, raw=tree(0))
    (tmp_path / "other").touch()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()]
    assert modes[0] == modes[1]


def test_half_precision_is_read(tmp_path):
    for dtype in (jnp.bfloat16, np.float16):
        path = tmp_path / np.dtype(dtype).name
        write_tensors(path, {"a": np.asarray([1.5, -2.0], dtype)}, {})
        assert read_tensors(path)[0]["a"].astype(np.float32).tolist() == [1.5, -2.0]


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def container(header: Any, data: bytes = b"\0" * 8, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


BAD: dict[str, bytes] = {
    "empty": b"",
    "a few bytes": b"\1\2",
    "zip": b"PK\3\4" + b"\0" * 200,
    "huge declared header": container({}, length=1 << 62),
    "header beyond the end": container({"a": entry()}, length=10_000),
    "no JSON": container(b"{nonsense"),
    "nested JSON": container(b"[" * 100_000),
    "truncated": container({"a": entry()}, b"\0" * 5),
    "10 GB declared": container({"a": entry(shape=(5 << 29,), offsets=(0, 5 << 31))}),
    "more than there are numbers": container({"a": entry(shape=(1 << 62, 1 << 62))}),
    "negative shape": container({"a": entry(shape=(-2,))}),
    "shape against offsets": container({"a": entry(shape=(3,))}),
    "overlapping": container(
        {"a": entry(), "b": entry(offsets=(4, 12))}, b"\0" * 12),
    "one array twice": container({"a": entry(), "b": entry()}),
    "backward": container({"a": entry(offsets=(8, 0))}),
    "hidden bytes": container({"a": entry(offsets=(8, 16))}, b"\0" * 16),
    "trailing bytes": container({"a": entry()}, b"\0" * 9),
    "unknown type": container({"a": entry("Q7")}),
    "type without weights": container({"a": entry("F8_E4M3", (8,))}),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_at_once_in_one_line(tmp_path, name):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(BAD[name])
    start = time.process_time()
    with pytest.raises(PretrainedError, match=r"bad\.safetensors") as caught:
        read(path)
    assert time.process_time() - start < 1
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert own_format.recognises(path)
    assert not own_format.recognises(path.rename(tmp_path / "bad"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PretrainedError, match=r"there is no file .*nothing"):
        read(tmp_path / "nothing")
    assert not own_format.recognises(tmp_path / "nothing")
    assert not own_format.recognises(tmp_path)


HEADER = {"format": "score-sde-jax", "version": "1", "step": "7", "config": "{}", "weights": "raw"}
HEADERS: dict[str, tuple[dict[str, str], str]] = {
    "another's": ({"format": "pt"}, "not one of ours"),
    "none": ({}, "not one of ours"),
    "later version": ({**HEADER, "version": "2"}, "must be 1"),
    "no step": ({k: v for k, v in HEADER.items() if k != "step"}, "damaged"),
    "step of words": ({**HEADER, "step": "many"}, "damaged"),
    "negative step": ({**HEADER, "step": "-1"}, "whole number of updates"),
    "config of another kind": ({**HEADER, "config": "[1]"}, "damaged"),
    "config cut off": ({**HEADER, "config": '{"a": '}, "damaged"),
    "endless config": ({**HEADER, "config": "[" * 100_000}, "damaged"),
    "more than there is": ({**HEADER, "weights": "raw,ema"}, "does not agree"),
    "unknown set": ({**HEADER, "weights": "average"}, "does not agree"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_not_ours_is_refused_in_one_line(tmp_path, name):
    texts, word = HEADERS[name]
    write_tensors(tmp_path / "f.safetensors", {"raw/a": np.zeros(2, np.float32)}, texts)
    with pytest.raises(PretrainedError, match=word) as caught:
        read(tmp_path / "f.safetensors")
    assert "\n" not in str(caught.value)
