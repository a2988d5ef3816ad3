"""DINOv2 against the original, and files that are not its weights."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import random_weights
from models.features import dinov2, load_dinov2
from models.pretrained import PretrainedError
from tests.slow import slow

GOLDEN = Path(__file__).parents[2] / "golden" / "features"
TINY = dinov2.Size(128, 2)


@pytest.fixture(scope="module")
def weights():
    shapes = random_weights.torch_shapes(dinov2.in_file(TINY))
    return random_weights.weights(shapes | {"mask_token": (1, TINY.width)})


def test_features_are_those_of_the_original(weights, tmp_path):
    np.savez(tmp_path / "tiny.npz", **weights)
    network, identity = load_dinov2(tmp_path / "tiny.npz")
    assert identity.startswith("dinov2-width128-depth2 sha256=")
    pixels = random_weights.images(1, 24, 40)

    @jax.jit
    def seen(network, pixels):
        return network(pixels.astype(jnp.float32) / 255)

    traced = seen.trace(network, pixels)
    # Accelerators would otherwise round factors to 10 bits, which no CPU shows.
    assert "precision=None" not in str(traced.jaxpr)
    found = traced.lower().compile()(network, pixels)
    assert found.logits is None
    assert found.spatial is None
    with np.load(GOLDEN / "dinov2_tiny.npz") as golden:
        wanted = golden["pool"]
    # Float32 sums in another order: 3e-6 was measured.
    error = np.abs(found.pool - wanted).max() / np.sqrt(np.mean(wanted**2))
    assert error < 1e-5, error


@pytest.mark.parametrize(
    "size, name, count",
    [
        pytest.param(dinov2.Size(384, 12), "vits14", 22_056_576, marks=slow),
        pytest.param(dinov2.Size(768, 12), "vitb14", 86_580_480, marks=slow),
        (dinov2.Size(1024, 24), "vitl14", 304_368_640),
    ],
)
def test_published_sizes_have_the_published_numbers_of_parameters(size, name, count):
    """Counts of the original's modules, the mask token included."""
    shapes = dinov2.in_file(size).values()
    assert sum(int(np.prod(shape)) for shape in shapes) + size.width == count
    assert size.name == name


def test_constant_positions_stay_constant_and_the_class_token_as_it_is():
    """The four taps of a cubic kernel sum to one wherever they are."""
    positions = np.full((1, 1 + dinov2.TRAINED_GRID**2, 2), 0.75, np.float32)
    positions[:, 0] = 3
    found = dinov2.interpolated(positions)
    np.testing.assert_array_equal(found[:, 0], [[3, 3]])
    np.testing.assert_allclose(found[:, 1:], 0.75, rtol=1e-6)


@pytest.mark.parametrize(
    "tensors, words",
    [
        (
            {"blocks.1.ls2.gamma": None},
            r"blocks\.1\.ls2\.gamma: missing, the network wants \[128\]",
        ),
        ({"register_tokens": np.zeros((1, 4, 128))}, r"register_tokens: .* no such tensor"),
        ({"pos_embed": np.zeros((1, 257, 128))}, r"\[1, 257, 128\], the network wants \[1, 1370,"),
        ({"cls_token": np.zeros((1, 1, 100))}, "no cls_token of a multiple of 64 numbers"),
    ],
    ids=["missing", "extra", "other grid", "other width"],
)
def test_other_networks_weights_are_refused_in_words(weights, tensors, words):
    changed = {k: v for k, v in {**weights, **tensors}.items() if v is not None}
    with pytest.raises(PretrainedError, match=f"(?s)the weights of DINOv2.*{words}"):
        dinov2.of_weights(changed)


@pytest.mark.parametrize(
    "tensors",
    [{f"blocks.{k}.x": np.zeros(1) for k in range(5000)}, {"cls_token": np.zeros((1, 1, 64_000))}],
    ids=["blocks", "width"],
)
def test_a_network_beyond_any_is_not_traced(weights, tensors, monkeypatch):
    monkeypatch.setattr(dinov2, "in_file", lambda size: pytest.fail("traced"))
    with pytest.raises(PretrainedError, match="DINOv2 has at most 40 of 1,536: refused"):
        dinov2.of_weights({**weights, **tensors})
