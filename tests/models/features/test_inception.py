"""FID's Inception-v3 against torch-fidelity and pytorch-fid, and files that are not its weights."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import random_weights
from models.features import inception, inception_network, load_inception
from models.pretrained import PretrainedError
from tests.models.pretrained import writing
from tests.slow import slow

GOLDEN = Path(__file__).parents[2] / "golden" / "features"


@pytest.fixture(scope="module")
def weights():
    return random_weights.weights(random_weights.torch_shapes(inception.in_file()))


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory):
    content = {name: writing.saved(array, name) for name, array in weights.items()}
    # Newer versions of PyTorch save these too.
    content["Mixed_5b.branch1x1.bn.num_batches_tracked"] = writing.saved(np.zeros(()), "n")
    return writing.write_zip(tmp_path_factory.mktemp("weights") / "inception.pth", content)


@pytest.mark.parametrize("resize", ["tf1", pytest.param("half_pixel", marks=slow)])
def test_features_are_those_of_the_public_implementations(file, resize):
    with pytest.warns(UserWarning, match="6726825d"):
        network, identity = load_inception(file, resize)
    assert identity.startswith("inception-2015-12-05 sha256=")
    assert identity.endswith(f" resize={resize}")
    pixels = random_weights.images(1, 24, 40)

    @jax.jit
    def seen(network, pixels):
        found = network(pixels.astype(jnp.float32) / 255)
        return found._asdict() | {"biased": network.biased(found.logits)}

    traced = seen.trace(network, pixels)
    # Accelerators would otherwise round factors to 10 bits, which no CPU shows.
    assert "precision=None" not in str(traced.jaxpr)
    found = traced.lower().compile()(network, pixels)
    with np.load(GOLDEN / f"inception_{resize}.npz") as golden:
        for name, wanted in golden.items():
            # A hundred float32 layers summed in another order: 4e-6 to 9e-6 was measured.
            error = np.abs(found[name] - wanted).max() / np.sqrt(np.mean(wanted**2))
            assert error < 3e-5, (name, error)


def changed(weights, **tensors):
    return {name: value for name, value in {**weights, **tensors}.items() if value is not None}


@pytest.mark.parametrize(
    "tensors, words",
    [
        ({"fc.bias": None}, r"fc\.bias: missing, the network wants \[1008\]"),
        ({"AuxLogits.fc.bias": np.zeros(3)}, r"AuxLogits\.fc\.bias: \[3\], the network has no"),
        (
            {"fc.weight": np.zeros((1000, 2048), np.float32)},
            r"fc\.weight: \[1000, 2048\], the network wants \[1008, 2048\]",
        ),
        (
            {"Conv2d_1a_3x3.conv.weight": np.zeros((32, 3, 3, 5), np.float32)},
            r"\[32, 3, 3, 5\], the network wants \[32, 3, 3, 3\]",
        ),
    ],
    ids=["missing", "extra", "other classes", "other kernel"],
)
def test_other_networks_weights_are_refused_by_the_tensor_that_differs(weights, tensors, words):
    with pytest.raises(PretrainedError, match=f"(?s)Inception-v3: 1 tensors differ.*{words}"):
        inception.of_weights(changed(weights, **tensors))


def test_negative_variances_are_refused(weights):
    name = "Conv2d_1a_3x3.bn.running_var"
    bad = np.asarray(weights[name]).copy()
    bad[3] = -0.5
    with pytest.raises(PretrainedError, match=r"a variance of its normalizations is -0\.5"):
        inception.of_weights(changed(weights, **{name: bad}))


def test_ways_of_resizing_are_named(tmp_path):
    with pytest.raises(ValueError, match="resize must be one of 'half_pixel', 'tf1', got 'tf2'"):
        load_inception(tmp_path / "none.pth", "tf2")


def test_average_pool_counts_no_padding_and_max_pool_sees_none():
    x = np.random.RandomState(0).normal(-5, 1, (1, 5, 4, 2)).astype(np.float32)
    mean, most = (
        inception_network.average_pool(jnp.asarray(x)),
        inception_network.max_pool_3x3(jnp.asarray(x)),
    )
    for i in range(5):
        for j in range(4):
            window = x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            np.testing.assert_allclose(mean[:, i, j], window.mean((1, 2)), rtol=1e-6)
            np.testing.assert_array_equal(most[:, i, j], window.max((1, 2)))
