"""Statistics of a stranger: those that are none are refused in one line that says why."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from eval_lib.features import reference, statistics
from eval_lib.features.extractors import Extractor, Pixels
from eval_lib.metrics import Moments
from untrusted import limits

RNG = np.random.default_rng(0)
POOL = RNG.standard_normal((30, 4)) @ RNG.standard_normal((4, 4))
MOMENTS = Moments.of(POOL)
INFO = {"extractor": "pixels", "count": 30, "dataset": "digits"}
SOUND = {
    "mu": MOMENTS.mean, "sigma": MOMENTS.covariance, "pool": POOL.astype(np.float32),
    "logits": np.zeros((30, 10)), "labels": np.arange(30), "info": np.asarray(json.dumps(INFO)),
}  # fmt: skip


def told(**changes):
    return np.asarray(json.dumps({**INFO, **changes}))


def deep():
    return np.asarray('{"extractor": "pixels", "count": ' + "[" * 60_000 + "}")


BAD = {
    "no count": ({"info": told(count=None)}, "must say its count"),
    "a count of nothing": ({"info": told(count=0)}, "must say its count"),
    "a count that is true": ({"info": told(count=True)}, "must say its count"),
    "a count of half": ({"info": told(count=1.5)}, "must say its count"),
    "a giant count": ({"info": told(count=2**70)}, "must say its count"),
    "no extractor": ({"info": told(extractor=None)}, "must say its extractor"),
    "an extractor of lists": ({"info": told(extractor=[[[]]])}, "must say its extractor"),
    "no dataset": ({"info": told(dataset=None)}, "must say its dataset"),
    "a dataset of many lines": ({"info": told(dataset="a\nb")}, "must say its dataset"),
    "an endless dataset": ({"info": told(dataset="a" * 10_000)}, "must say its dataset"),
    "more features than images": ({"info": told(count=29)}, "pool is of 30 images"),
    "info that is no object": ({"info": np.asarray("[1]")}, "info: it must be a JSON object"),
    "info that is no JSON": ({"info": np.asarray("{")}, "info: it is no JSON"),
    "deeply nested": ({"info": deep()}, "info: "),
    "info of numbers": ({"info": np.zeros(3)}, "info must be a text"),
    "several infos": ({"info": np.asarray(["{}", "{}"])}, "info must be a text"),
    "not symmetric": ({"sigma": np.triu(np.ones((4, 4)))}, "is no covariance"),
    "negative variances": ({"sigma": -np.eye(4)}, "is no covariance"),
    "beyond the deviations": ({"sigma": 5 - 4 * np.eye(4)}, "is no covariance"),
    "NaN": ({"sigma": np.full((4, 4), np.nan)}, "sigma must be finite"),
    "an infinite mean": ({"mu": np.full(4, np.inf)}, "mu must be finite"),
    "sums that overflow": ({"pool": np.full((30, 4), 1e200)}, "pool must be finite"),
    "a mean of two axes": ({"mu": np.zeros((2, 2))}, "mu must be"),
    "another size": ({"sigma": np.eye(5)}, r"\(5, 5\) of float64"),
    "complex": ({"mu": np.zeros(4, complex)}, "mu must hold numbers"),
    "texts": ({"sigma": np.full((4, 4), "x")}, "sigma must hold numbers"),
    "features of another size": ({"pool": np.zeros((30, 5))}, "pool has 5 features and mu 4"),
    "one feature": ({"pool": np.zeros(30)}, "pool must be"),
    "no images": ({"pool": np.zeros((0, 4))}, "pool must be"),
    "fewer labels": ({"labels": np.arange(3)}, r"of \[3, 30\] images"),
    "labels of halves": ({"labels": np.zeros(30)}, "labels must be integers"),
    "logits of other images": ({"logits": np.zeros((7, 10))}, r"of \[7, 30\] images"),
    "spatial ones that are none": ({"mu_s": np.zeros(3), "sigma_s": -np.eye(3)},
                                   "sigma_s is no covariance"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_statistics_is_refused_in_one_line(tmp_path, case):
    changes, words = BAD[case]
    np.savez(tmp_path / "a.npz", **{**SOUND, **changes})
    with pytest.raises(ValueError, match=words) as caught:
        reference.read(tmp_path / "a.npz", Extractor(Pixels(), "pixels"))
    assert str(caught.value).startswith("eval.reference: a.npz: ")
    assert "\n" not in str(caught.value)


def test_sound_statistics_are_read_and_nothing_else_in_the_file_is(tmp_path, monkeypatch):
    # Images that unpack to a thousand times their size would be refused.
    monkeypatch.setattr(limits, "UNPACKED_BYTES", 0)
    np.savez_compressed(tmp_path / "a.npz", **SOUND, arr_0=np.zeros(10**7, np.uint8))
    found = reference.read(tmp_path / "a.npz", Extractor(Pixels(), "pixels"))
    np.testing.assert_array_equal(found.features.moments.covariance, SOUND["sigma"])
    np.testing.assert_array_equal(found.features.pool, SOUND["pool"])
    assert found.info == INFO
    assert found.features.moments.count == 30


def test_covariances_of_few_vectors_and_of_constants_are_covariances(tmp_path):
    """With two vectors every entry is at its bound; for a constant feature all of its are 0."""
    for pool in (RNG.standard_normal((2, 50)), np.c_[np.ones(9), RNG.standard_normal(9)]):
        moments = Moments.of(pool)
        sigma = moments.covariance.astype(np.float32)
        np.savez(tmp_path / "a.npz", mu=moments.mean, sigma=sigma)
        statistics.read(tmp_path / "a.npz")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["a pipe", "a folder"])
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
    make(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="must be a regular file"):
        reference.read(tmp_path / "a.npz", Extractor(Pixels(), "pixels"))
