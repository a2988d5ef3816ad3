"""Weight files of three kinds, files that are none, images, and where their pixels lie."""

from __future__ import annotations

import hashlib
import os
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from models.features import files, resizing
from models.features.base import pixel_values
from models.pretrained import PretrainedError
from tests.models.pretrained import writing
from untrusted import limits

TENSORS = {
    "fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fc.bias": np.array([0.5, -1.5], np.float32),
}


def torch_content():
    return {name: writing.saved(array, name) for name, array in TENSORS.items()}


WRITERS = {
    "zip.pth": lambda path: writing.write_zip(path, torch_content()),
    "legacy.pth": lambda path: path.write_bytes(writing.legacy(torch_content())),
    "a.npz": lambda path: np.savez(path, **TENSORS),
    "packed.npz": lambda path: np.savez_compressed(path, **TENSORS),
    "a.safetensors": lambda path: save_file(TENSORS, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_tensors_and_digest_are_those_of_the_file(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    weights, digest = files.read(path)
    assert set(weights) == set(TENSORS)
    for key, array in TENSORS.items():
        np.testing.assert_array_equal(weights[key], array)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("name", ["a.pth", "a.npz", "a.safetensors", "zip.pth", "object.npz"])
def test_hostile_files_are_refused_and_not_executed(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    if name == "zip.pth":
        writing.write_zip(path, Hostile())
    elif name == "object.npz":
        np.savez(path, **{"fc.bias": np.array([Hostile()], object)})
    else:
        path.write_bytes(pickle.dumps(Hostile(), 2))
    with pytest.raises(PretrainedError, match=name):
        files.read(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [{}, [1.0], {"model": {"fc.bias": 1.0}}, {"epoch": 3}])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    with pytest.raises(PretrainedError, match=r"a\.pth: .*is no tensor|holds no dictionary"):
        files.read(writing.write_zip(tmp_path / "a.pth", content))


@pytest.mark.parametrize("name", ["a.pth", "a.npz", "a.safetensors"])
def test_files_that_are_not_there_or_cut_off_are_told(tmp_path, name):
    with pytest.raises(PretrainedError, match=f"there is no file .*{name}"):
        files.read(tmp_path / name)
    whole = tmp_path / f"whole{(tmp_path / name).suffix}"
    WRITERS["zip.pth" if name == "a.pth" else name](whole)
    (tmp_path / name).write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(PretrainedError, match=name):
        files.read(tmp_path / name)


def test_archives_that_claim_too_much_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UNPACKED_BYTES", 100)
    np.savez_compressed(tmp_path / "bomb.npz", zeros=np.zeros(10_000))
    with pytest.raises(PretrainedError, match=r"bomb\.npz: its arrays unpack to 80,"):
        files.read(tmp_path / "bomb.npz")


@pytest.mark.parametrize("size", [(5, 7), (32, 32), (299, 299), (300, 640)])
@pytest.mark.parametrize("way", ["corner", "centre"])
def test_a_plane_is_resized_to_where_the_pixels_lie(size, way):
    """a + b row + c column, being linear, must come out as itself at the pixels' places."""
    (h, w), (p, q) = size, (299, 200)
    place = {
        "corner": lambda i, n, m: i * n / m,
        "centre": lambda i, n, m: (i + 0.5) * n / m - 0.5,
    }[way]
    rows, columns = (
        np.clip(place(np.arange(m), n, m), 0, n - 1) for n, m in ((h, p), (w, q))
    )  # beyond the last pixel its value goes on
    plane = 3 + 0.25 * np.arange(h)[:, None] - 0.125 * np.arange(w)
    wanted = 3 + 0.25 * rows[:, None] - 0.125 * columns
    positions = getattr(resizing, f"{way}_positions")
    image = jnp.asarray(plane[None, :, :, None], jnp.float32)
    found = resizing.resize_bilinear(image, p, q, positions)
    # Places are kept in float32, as the originals keep them: 640 pixels to within 6e-5.
    np.testing.assert_allclose(found[0, :, :, 0], wanted, atol=3e-5)


def test_images_become_whole_numbers_of_three_channels():
    values = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
    found = pixel_values(jnp.asarray(values / np.float32(255)))
    np.testing.assert_array_equal(found, np.repeat(values, 3, -1))


@pytest.mark.parametrize("shape", [(1, 4, 4, 2), (4, 4, 3)])
def test_images_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"1 or 3 channels\], got \("):
        pixel_values(jnp.zeros(shape))
