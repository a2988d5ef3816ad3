"""Means and their errors of log-probabilities, in numbers and in words."""

import math

import numpy as np
import pytest

from eval_lib.likelihood.summary import MEANS, TERMS, UNITS, headline, markdown, summary

FOUND = {
    "log_prob": -np.asarray(
        [[[1.0, 3.0], [2.0, 6.0], [7.0, 5.0]], [[2.0, 0.0], [5.0, 5.0], [3.0, 9.0]]]
    ),
    "evaluations": np.asarray([[7.0, 8.0, 9.0], [7.0, 7.0, 10.0]]),
    "truncation": np.asarray([[0.25, 0.5, 0.75], [0.25, 0.5, 0.0]]),
    "prior_mismatch": np.full((2, 3), -0.125),
}
"""Values for two repeats, three images and two probes."""


def test_a_summary_of_a_few_numbers_is_what_is_worked_out_by_hand() -> None:
    told = summary(FOUND, 4, 17)
    nats, bits = told["nats"], told["bits_per_dim"]
    # Means of the images: -1.5, -4.5, -6; of the repeats of each: -2, -1; -4, -5; -6, -6.
    assert nats["mean"] == pytest.approx(-4)
    assert nats["standard_error"] == pytest.approx((5.25 / 3) ** 0.5)
    # Variances of the two probes: 2, 8, 2, 2, 0, 18, halved for their means, of six.
    assert nats["of_probes"] == pytest.approx(16**0.5 / 6)
    # Variances of the two repeats: 0.5, 0.5, 0, halved, of three.
    assert nats["of_repeats"] == pytest.approx(0.5**0.5 / 3)
    assert nats["terms"] == {"truncation": 0.375, "prior_mismatch": -0.125}
    unit = 4 * math.log(2)
    assert bits["mean"] == pytest.approx(4 / unit)
    for name in ("standard_error", "of_probes", "of_repeats"):
        assert bits[name] == pytest.approx(nats[name] / unit)
    assert bits["terms"]["truncation"] == pytest.approx(-0.375 / unit)
    kept = ("images", "not_finite", "evaluations", "evaluations_max")
    assert [told[name] for name in kept] == [3, 0, 8.0, 10]


def test_one_of_a_kind_has_no_error() -> None:
    one = {name: value[:1, :1] for name, value in FOUND.items()}
    told = summary({**one, "log_prob": one["log_prob"][:, :, :1]}, 4, None)
    errors = ("standard_error", "of_probes", "of_repeats")
    assert [told["nats"][name] for name in errors] == [None] * 3
    assert "bits_per_dim" not in told


REPORT = {
    "eval": {"units": "bits_per_dim", "split": "test"}, "data": "digits (test)", "step": 70,
    "seed": 42, "given_classes": True, "guidance": {"guidance_kind": "classifier_free"},
    "ancestral_variance": "posterior", "prior_mismatch_from": "the covariance of 9 images",
}  # fmt: skip
ROWS = {
    MEANS["mean"]: "1.4427 | -4.000",
    MEANS["standard_error"]: "0.4771 | 1.323",
    MEANS["of_probes"]: "0.2404 | 0.667",
    MEANS["of_repeats"]: "0.0850 | 0.236",
    TERMS["truncation"]: "-0.135253 | 0.37500",
    TERMS["prior_mismatch"]: "0.045084 | -0.12500",
}


def test_a_report_has_every_number_in_its_place() -> None:
    report = {**summary(FOUND, 4, 17), **REPORT}
    lines = markdown(report).splitlines()
    assert headline(report).startswith("1.4427 +- 0.4771 bits/dim over 3 examples, 8 ")
    assert lines[0] == f"{headline(report)}."
    guided = "given the class of each example, guided (classifier_free)."
    assert lines[2] == f"digits (test), step 70, seed 42, {guided}"
    assert lines[4:6] == ["| | bits/dim | nats per example |", "|---|---|---|"]
    assert lines[6:12] == [f"| {words} | {numbers} |" for words, numbers in ROWS.items()]
    assert lines[13].endswith("the covariance of 9 images.")
    assert lines[17:] == [
        "    eval.split = 'test'",
        "    eval.units = 'bits_per_dim'",
        "    sampling.ancestral_variance = 'posterior'",
    ]


def test_a_report_leaves_out_what_there_is_not() -> None:
    told = summary(FOUND, 4, None)
    bare = {**told, **REPORT, "eval": {"units": "nats"}, "given_classes": False, "guidance": None}
    told["nats"]["standard_error"] = None
    del bare["prior_mismatch_from"]
    assert headline(bare).startswith(f"-4.0000 {UNITS['nats'][0]} over 3 examples, 8 ")
    lines = markdown(bare).splitlines()
    assert lines[2] == "digits (test), step 70, seed 42."
    assert f"| {MEANS['standard_error']} |  |" in lines
    assert not any("covariance" in line or "bits" in line for line in lines)


def test_a_term_that_the_table_has_no_words_for_is_told_by_its_name():
    part = {"mean": 1.0, "standard_error": None, "of_probes": None, "of_repeats": None}
    report = {
        "nats": {**part, "terms": {"of_a_new_estimator": 0.25}}, "eval": {"units": "nats"},
        "images": 2, "evaluations": 3.0, "data": "mine", "step": 1, "seed": 0,
        "given_classes": False, "guidance": None, "ancestral_variance": "posterior",
    }  # fmt: skip
    assert "| of a new estimator | 0.25000 |" in markdown(report)


def test_a_summary_gives_every_part_of_the_error_its_own_number():
    """Constructed: variance 4 among probes, 9 among repeats, 1 among images, in bits per dim."""
    rng = np.random.default_rng(0)
    r, n, p = 4, 20_000, 8
    bits = rng.normal(3, 1, (1, n, 1)) + rng.normal(0, 3, (r, n, 1)) + rng.normal(0, 2, (r, n, p))
    d = 64
    found = {
        "log_prob": -bits * d * np.log(2),
        "evaluations": np.full((r, n), 7.0),
        "truncation": np.zeros((r, n)),
    }
    told = summary(found, d, 17)["bits_per_dim"]
    assert told["mean"] == pytest.approx(3, abs=0.05)
    within = {"rel": 0.05}  # chi-square of 20,000 draws and more: 1% is two deviations
    assert told["of_probes"] == pytest.approx(2 / (r * n * p) ** 0.5, **within)
    assert told["of_repeats"] == pytest.approx(((9 + 4 / p) / (r * n)) ** 0.5, **within)
    total = 1 + (9 + 4 / p) / r
    assert told["standard_error"] == pytest.approx((total / n) ** 0.5, **within)
    nats = summary(found, d, None)["nats"]
    for name in ("standard_error", "of_probes", "of_repeats"):
        assert nats[name] == pytest.approx(told[name] * d * np.log(2), rel=1e-9)


def test_images_without_a_finite_number_are_counted_and_left_out():
    found = {"log_prob": np.array([[[1.0], [np.nan], [3.0]]]), "evaluations": np.ones((1, 3))}
    told = summary(found, 1, 17)
    assert (told["images"], told["not_finite"], told["nats"]["mean"]) == (3, 1, 2.0)
    with pytest.raises(ValueError, match="no log-probability is finite"):
        summary({**found, "log_prob": found["log_prob"] * np.nan}, 1, 17)
