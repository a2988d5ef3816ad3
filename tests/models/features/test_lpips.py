"""LPIPS against its definition, computed by NumPy's sums over windows, with small random nets."""

import jax.numpy as jnp
import numpy as np
import pytest

from models.features import lpips
from models.features.lpips import NETS
from models.pretrained.files.tensors import PretrainedError

SIDES = {"alex": (11, 5, 3, 3, 3), "vgg": (3,) * 13}
CHANNELS = {"alex": (4, 5, 6, 5, 4), "vgg": (3, 4, 4, 5, 5, 5, 6, 6, 6, 4, 4, 4, 5)}


def state_dict(net: str) -> dict[str, np.ndarray]:
    """Random weights by the reference implementation's names, of few channels."""
    rng, found, before = np.random.default_rng(0), {}, 3
    slice_, taps = 1, 0
    for layer, side, channels in zip(NETS[net], SIDES[net], CHANNELS[net], strict=True):
        stem = f"net.slice{slice_}.{layer.number}"
        found[f"{stem}.weight"] = rng.normal(size=(channels, before, side, side)) / side
        found[f"{stem}.bias"] = rng.normal(size=channels) / 4
        before = channels
        if layer.tap:
            found[f"lin{taps}.model.1.weight"] = rng.uniform(size=(1, channels, 1, 1))
            slice_, taps = slice_ + 1, taps + 1
    found["scaling_layer.shift"] = np.zeros((1, 3, 1, 1))
    return {name: array.astype(np.float32) for name, array in found.items()}


def windows(x: np.ndarray, side: int, stride: int) -> np.ndarray:
    found = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))
    return found[:, ::stride, ::stride]  # [b, h, w, c, side, side]


def reference(net: str, weights: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The distance as the paper defines it."""
    names = {int(name.split(".")[2]): name for name in weights if name.endswith("weight")
             and name.startswith("net")}  # fmt: skip

    def features(x: np.ndarray) -> list[np.ndarray]:
        x = 2 * np.broadcast_to(x, (*x.shape[:3], 3)).astype(np.float64) - 1
        x = (x - [-0.030, -0.088, -0.188]) / np.asarray([0.458, 0.448, 0.450])
        found = []
        for layer in NETS[net]:
            if layer.pool:
                x = windows(x, *layer.pool).max(axis=(-2, -1))
            kernel = weights[names[layer.number]].astype(np.float64)
            p = layer.padding
            x = windows(np.pad(x, ((0, 0), (p, p), (p, p), (0, 0))), kernel.shape[-1], layer.stride)
            x = np.einsum("bhwcij,ocij->bhwo", x, kernel)
            x = np.maximum(x + weights[names[layer.number].replace("weight", "bias")], 0)
            if layer.tap:
                found.append(x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-10))
        return found

    total = np.zeros(len(x))
    for k, (a, b) in enumerate(zip(features(x), features(y), strict=True)):
        w = weights[f"lin{k}.model.1.weight"].reshape(-1)
        total += ((a - b) ** 2 @ w).mean(axis=(1, 2))
    return total


@pytest.mark.parametrize("net", NETS)
def test_the_distance_is_as_defined(net: str, tmp_path) -> None:
    weights = state_dict(net)
    np.savez(tmp_path / "lpips.npz", **weights)
    distance, digest = lpips.load(tmp_path / "lpips.npz")
    assert (distance.net, len(digest)) == (net, 64)
    rng = np.random.default_rng(1)
    for channels in (3, 1):
        x, y = rng.uniform(size=(2, 2, 33, 35, channels)).astype(np.float32)
        found = distance(jnp.asarray(x), jnp.asarray(y))
        np.testing.assert_allclose(found, reference(net, weights, x, y), rtol=1e-4)
    np.testing.assert_array_equal(distance(jnp.asarray(x), jnp.asarray(x)), 0)


def test_small_pictures_and_other_files_are_refused(tmp_path) -> None:
    weights = state_dict("alex")
    np.savez(tmp_path / "lpips.npz", **weights)
    distance, _ = lpips.load(tmp_path / "lpips.npz")
    with pytest.raises(ValueError, match="31 pixels a side at least"):
        distance(jnp.zeros((1, 30, 40, 3)), jnp.zeros((1, 30, 40, 3)))
    for wrong in (
        {"a": np.zeros(3)},
        {k: v for k, v in weights.items() if not k.startswith("lin2")},
        weights | {"net.slice2.3.bias": np.zeros(2)},
        weights | {"lin0.model.1.weight": np.zeros((1, 2, 1, 1))},
    ):
        np.savez(tmp_path / "wrong.npz", **wrong)
        with pytest.raises(PretrainedError, match=r"wrong\.npz"):
            lpips.load(tmp_path / "wrong.npz")
