"""Tests of accuracy with random points (TARP): expected coverage of whole arrays."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from eval_lib.array_metrics.base import Ensembles
from eval_lib.array_metrics.ranks import places
from eval_lib.metrics.base import Numbers

Truths = Float[np.ndarray, "k *shape"]


def drawn_references(truths: Truths) -> Truths:
    """Points drawn evenly from the smallest box that holds all truths; the same at every call."""
    low, high = truths.min(axis=0), truths.max(axis=0)
    return low + (high - low) * np.random.default_rng(2).random(truths.shape)


def coverage_places(
    samples: Float[np.ndarray, "k s *shape"], truths: Truths, references: Truths
) -> Float[np.ndarray, " k"]:
    """Share of samples nearer to the reference than the truth is, in (0, 1) without ties.

    It is uniform if samples and truths have one law, given the condition, whatever the references
    are as long as they know the truth by the condition alone (Lemos et al. 2023, arXiv:2302.03026,
    theorem 3). Its cumulative distribution is the expected coverage.
    """
    axes = tuple(range(1, samples.ndim - 1))
    nearer, s = [], samples.shape[1]
    for sample, truth, reference in zip(samples, truths, references, strict=True):
        gaps = np.sum((sample.astype(np.float64) - reference) ** 2, axis=axes)
        limit = np.sum((truth.astype(np.float64) - reference) ** 2)
        nearer.append(int(np.sum(gaps < limit)))
    return places(np.asarray(nearer), s)


def tarp(c: Ensembles) -> Numbers:
    """Largest gap of the expected coverage from its level, and the p of that gap.

    tarp_spread: 12 times the variance of the shares; 1 if calibrated, more if samples are too
    narrow or biased, less if they are too wide.
    """
    from scipy import stats

    references = drawn_references(c.truths) if c.references is None else c.references
    place = coverage_places(c.samples, c.truths, references)
    test = stats.kstest(place, "uniform")
    return {
        "tarp_p": float(test.pvalue),
        "tarp_gap": float(test.statistic),
        "tarp_spread": float(12 * np.mean((place - 0.5) ** 2)),
    }
