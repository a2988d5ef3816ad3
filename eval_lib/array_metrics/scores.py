"""Scores of ensembles: CRPS, the error of their mean, and their spread."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from eval_lib.array_metrics.base import Ensembles, named, worst
from eval_lib.metrics.base import Numbers

EnsembleDraws = Float[np.ndarray, "s *shape"]
Truth = Float[np.ndarray, "*shape"]


def crps(samples: EnsembleDraws, truth: Truth) -> Truth:
    """E|x - truth| - E|x - x'| / 2, fair: without bias for any number s >= 2 of samples.

    (Ferro 2014, eq. 3; the continuous ranked probability score as s grows.) The sum over pairs is
    taken in order: sum_{i<j} |x_i - x_j| = sum_i (2 i - s + 1) x_(i), i from 0.
    """
    s = len(samples)
    ordered = np.sort(samples, axis=0)
    between = np.tensordot(2.0 * np.arange(s) - s + 1, ordered, axes=1) / (s * (s - 1))
    return np.asarray(np.abs(samples - truth).mean(axis=0) - between)


def continuous_ranked_probability_score(c: Ensembles) -> Numbers:
    """Mean CRPS in standard deviations, the worst channel, and each channel's in its own units.

    A forecast by the truths' own mean and spread, whatever the condition, has 0.56 if they are
    Gaussian; a single sample that is always right has 0.
    """
    found = c.by_channel(crps)
    return {
        "crps": float(found.mean()),
        **worst("crps_worst", "channel", found.tolist(), range(len(found))),
        **named("crps", found * c.unit, c.layout),
    }


def rmse(c: Ensembles) -> Numbers:
    """Root mean squared error of the samples' mean, as `crps` is told."""
    squares = c.by_channel(lambda samples, truth: (samples.mean(axis=0) - truth) ** 2)
    return {
        "rmse": float(np.sqrt(squares.mean())),
        **worst("rmse_worst", "channel", np.sqrt(squares).tolist(), range(len(squares))),
        **named("rmse", np.sqrt(squares) * c.unit, c.layout),
    }


def spread_skill(c: Ensembles) -> Numbers:
    """Root mean variance of the samples, and its ratio to the error of their mean.

    The ratio has the factor ((s + 1) / s)^1/2 (Fortin et al. 2014, eq. 15), so that it is 1 for any
    number s of samples if truths are one more; it is less if samples are too narrow.
    """
    s = c.samples.shape[1]
    variance = c.by_channel(lambda samples, _: samples.var(axis=0, ddof=1))
    squares = c.by_channel(lambda samples, truth: (samples.mean(axis=0) - truth) ** 2)
    ratio = lambda v, e: np.sqrt((s + 1) / s * v / e) if np.all(e > 0) else np.inf
    return {
        "spread": float(np.sqrt(variance.mean())),
        "spread_skill": float(ratio(variance.mean(), squares.mean())),
        **named("spread_skill", ratio(variance, squares) * np.ones(len(squares)), c.layout),
    }
