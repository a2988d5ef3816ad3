"""Reference statistics: of the images asked for, read again by the path of their file."""

import jax.numpy as jnp
import numpy as np
import pytest

import models
from eval_lib.features import extractors, reference
from tests import tiny
from tests.modes.test_evaluate import config, digits, run


@pytest.fixture(autouse=True)
def tiny_network():
    tiny.register()
    yield
    del models.NETWORKS["tiny"]


def test_stats_are_of_all_images_and_are_read_again(tmp_path, capsys):
    assert run(tmp_path, "stats", eval__reference="all", eval__batch_size=400) == 0
    assert "1797 images of digits (all)" in capsys.readouterr().out
    (file,) = (tmp_path / "reference").glob("*.npz")
    assert not list((tmp_path / "reference").glob("*/"))
    splits = digits()
    pixels = np.concatenate([splits.train.pixels, splits.test.pixels]) / np.float32(16)
    network = extractors.build(config(), splits).network
    pool = np.asarray(network(jnp.asarray(pixels)).pool, np.float64)
    with np.load(file) as arrays:
        np.testing.assert_allclose(arrays["mu"], pool.mean(0), rtol=1e-5)
        np.testing.assert_allclose(
            arrays["sigma"], np.cov(pool, rowvar=False), rtol=1e-3, atol=1e-5
        )
        assert len(arrays["pool"]) == 1797
        np.testing.assert_array_equal(arrays["labels"][1500:], splits.test.labels)
    # By its path it is the same reference; of another extractor it is refused.
    found = reference.read(file, extractors.build(config(), splits))
    assert found.info["count"] == 1797
    with pytest.raises(ValueError, match="another extractor"):
        reference.read(file, extractors.build(config(eval__extractor="pixels"), splits))


def test_features_that_are_not_finite_are_refused(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "import jax\n\ndef log(images):\n    return jax.numpy.log(images[:, 0, :, 0])\n"
    )
    settings = {"eval__extractor": f"{file}:log", "eval__batch_size": 500}
    assert run(tmp_path / "run", "stats", **settings) == 2
    error = capsys.readouterr().err
    assert "pool features that are not finite" in error
    assert error.count("\n") == 1
