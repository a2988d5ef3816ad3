"""The Inception score: a classifier's certainty on each sample, and the variety of classes."""

from __future__ import annotations

import numpy as np

from eval_lib.metrics.base import Compared, Numbers, Vectors, present, too_few

SPLITS = 10


def score(logits: Vectors) -> float:
    """exp of the mean KL(p(y|x) || p(y)) (Salimans et al. 2016, arXiv:1606.03498, section 4)."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    mean = p.mean(axis=0)
    log_mean = np.log(np.where(mean > 0, mean, 1.0))
    return float(np.exp((p * (log_p - log_mean)).sum(axis=1).mean()))


def inception_score(c: Compared) -> Numbers:
    """The score of all samples at once, as score_sde reports it, and mean and deviation over ten
    splits in the order of drawing, as first published."""
    logits = present(c.samples.logits, "samples.logits")
    whole = {"inception_score": score(logits)}
    names = "inception_score_splits_mean", "inception_score_splits_std"
    lacking = too_few(c, {"samples": 2 * SPLITS})  # the score of one is 1, whatever it is
    if lacking:
        return whole | dict.fromkeys(names, lacking)
    parts = np.array_split(logits, SPLITS)
    values = np.asarray([score(part) for part in parts])
    return whole | dict(zip(names, (float(values.mean()), float(values.std())), strict=True))
