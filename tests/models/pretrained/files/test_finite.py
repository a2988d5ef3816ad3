"""Weights that are not finite, or not what was written, are refused by the name of their tensor."""

from __future__ import annotations

import shutil
import struct
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from models.features import files
from models.pretrained import PretrainedError, load, open_checkpoint
from models.pretrained.base import as_params, finite
from tests.models.pretrained import writing

GOLDEN = Path(__file__).parents[3] / "golden"
FAMILIES = {
    "diffusers, safetensors": ("diffusers/ve", "unet/diffusion_pytorch_model.safetensors", False),
    "diffusers, PyTorch": ("diffusers/ddpm", "diffusion_pytorch_model.bin", True),
    "score_sde": ("vp_ddpmpp_continuous.pth", "", True),
    "EDM": ("edm_ddpmpp.pkl", "", True),
}
POISON = {"NaN": float("nan"), "infinity": float("inf"), "minus infinity": float("-inf")}


def place(path: Path, ema: bool) -> tuple[str, Path, int]:
    """(name of the last tensor of floats, its file, the place of its last number in it)."""
    tensors = open_checkpoint(path).checkpoint.weights(ema).tensors
    name = [name for name, tensor in tensors.items() if tensor.size > 8][-1]
    data = tensors[name].storage.read()
    number = np.frombuffer(data, np.uint8)
    start = np.frombuffer(data.obj, np.uint8).ctypes.data
    return name, path, number.ctypes.data - start + len(number) - 4


def put(file: Path, at: int, value: bytes) -> None:
    """Put bytes at a place of a file; the checksums of a zip are made anew."""
    data = bytearray(file.read_bytes())
    data[at : at + len(value)] = value
    file.write_bytes(bytes(data))
    if data[:2] == b"PK":
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            places = [entry.header_offset for entry in entries]
        named = {}
        for entry, start in zip(entries, places, strict=True):
            begin = start + 30 + sum(struct.unpack("<HH", data[start + 26 : start + 30]))
            named[entry.filename] = bytes(data[begin : begin + entry.file_size])
        writing.zip_of(file, named)


@pytest.fixture
def poisoned(tmp_path):
    """poisoned(family, number): (a copy in which one weight is that number, its name)."""

    def make(family: str, number: float) -> tuple[Path, str]:
        source, inner, ema = FAMILIES[family]
        path = tmp_path / Path(source).name
        (shutil.copytree if inner else shutil.copy)(GOLDEN / source, path)
        name, path, at = place(path, ema)
        put(path / inner if inner else path, at, struct.pack("<f", number))
        return path, name

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_a_weight_that_is_not_finite_is_refused_by_its_name(family, poisoned):
    path, name = poisoned(family, float("nan"))
    ema = FAMILIES[family][2]
    with pytest.raises(PretrainedError, match=f"{name} has 1 of .* NaN, infinite") as caught:
        load(path, ema=ema)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_another_finite_weight_is_imported(family, poisoned):
    path, _ = poisoned(family, 0.25)
    load(path, ema=FAMILIES[family][2])


@pytest.mark.parametrize("number", POISON)
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
def test_numbers_of_any_precision_must_be_finite_in_float32(kind, number):
    array = np.ones((2, 3)).astype(jnp.dtype(kind))
    assert finite("w", array).dtype == np.float32
    array[1, 2] = POISON[number]
    with pytest.raises(PretrainedError, match="w has 1 of 6 numbers that are NaN, infinite"):
        as_params({"w": array}, {("a",): (2, 3)}, {("a",): "w"})


def test_numbers_beyond_float32_and_of_other_kinds_are_refused():
    assert finite("w", np.array([1e30]))[0] == np.float32(1e30)
    with pytest.raises(PretrainedError, match="beyond float32"):
        finite("w", np.array([1e39]))
    with pytest.raises(PretrainedError, match="w is of type int32, must be floating-point"):
        finite("w", np.array([1], np.int32))


@pytest.mark.parametrize("kind", ["a.npz", "a.safetensors", "a.pth"])
def test_weights_of_feature_networks_must_be_finite(tmp_path, kind):
    weights = {"w": np.array([1.0, np.nan, np.inf], np.float32)}
    save = {
        "a.npz": lambda path: np.savez(path, **weights),
        "a.safetensors": lambda path: save_file(weights, path),
        "a.pth": lambda path: writing.write_zip(path, {"w": writing.saved(weights["w"], "0")}),
    }[kind]
    save(tmp_path / kind)
    found, _ = files.read(tmp_path / kind)
    with pytest.raises(PretrainedError, match="w has 2 of 3 numbers"):
        files.fitted("it", kind, found, {("a",): (3,)}, names={("a",): "w"})


def test_a_flipped_bit_of_a_tensor_is_found_when_it_is_read_and_not_before(tmp_path):
    arrays = {name: np.arange(50_000, dtype=np.float32) + k for k, name in enumerate("ab")}
    content = {name: writing.saved(array, name) for name, array in arrays.items()}
    path = writing.write_zip(tmp_path / "a.pth", content)
    data = bytearray(path.read_bytes())
    data[data.find(arrays["b"].tobytes()) + 100_001] ^= 1
    path.write_bytes(bytes(data))
    found, _ = files.read(path)
    np.testing.assert_array_equal(found["a"], arrays["a"])
    for _ in range(2):
        with pytest.raises(PretrainedError, match="entry archive/data/b of the zip is damaged"):
            found["b"]
