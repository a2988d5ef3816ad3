"""Ranks of truths among samples: simulation-based calibration, coverage of central intervals."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Num

from eval_lib.array_metrics.base import Ensembles, worst
from eval_lib.metrics.base import Numbers

LEVELS = 50, 80, 90, 95
"""Central intervals whose coverage is told, in percent."""
BINS = 20
PER_BIN = 5
"""Fewest truths that a bin of the chi-squared test should hold."""


def ranks(
    samples: Num[np.ndarray, "k s *d"], truths: Num[np.ndarray, "k *d"]
) -> Int[np.ndarray, "k *d"]:
    """Number of samples below each truth, 0 to s; a truth among equals has a random place.

    If samples and truths have one law, given the condition, all s + 1 are equally likely (Talts et
    al. 2018, arXiv:1804.06788, theorem 1). Samples must be independent of one another.
    """
    below = np.sum(samples < truths[:, None], axis=1)
    equal = np.sum(samples == truths[:, None], axis=1)
    return below + np.random.default_rng(0).integers(0, equal + 1)


def places(rank: Int[np.ndarray, "..."], s: int) -> Float[np.ndarray, "..."]:
    """Ranks as numbers in (0, 1), spread evenly within each: uniform exactly if the ranks are."""
    return (rank + np.random.default_rng(1).random(rank.shape)) / (s + 1)


def binned(rank: Int[np.ndarray, " k"], s: int) -> tuple[Int[np.ndarray, " b"], np.ndarray]:
    """(truths in each bin, truths expected) over neighbouring ranks, in at most `BINS` bins.

    Bins are of one size where s + 1 has a divisor that leaves enough of them, else nearly.
    """
    most = max(2, min(BINS, s + 1, len(rank) // PER_BIN))
    count = next((b for b in range(most, most // 2, -1) if (s + 1) % b == 0), most)
    edges = np.rint(np.linspace(0, s + 1, count + 1)).astype(int)
    return np.histogram(rank, edges - 0.5)[0], np.diff(edges) * len(rank) / (s + 1)


def uniformity(rank: Int[np.ndarray, "k d"], s: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(p of a chi-squared test, p of a Kolmogorov-Smirnov test, its distance) of each column."""
    from scipy import stats

    tests = [stats.kstest(column, "uniform") for column in places(rank, s).T]
    chi2 = [float(stats.chisquare(*binned(column, s)).pvalue) for column in rank.T]
    return (
        np.asarray(chi2),
        np.asarray([test.pvalue for test in tests]),
        np.asarray([test.statistic for test in tests]),
    )


def sbc(c: Ensembles) -> Numbers:
    """Tests of the ranks' uniformity, of the entry whose ranks are the least uniform.

    Each p is the least of all e entries' times e (Bonferroni), so that it is below 0.05 in at most
    one of twenty calibrated models. sbc_distance: the largest Kolmogorov-Smirnov distance, which
    unlike p does not shrink as conditions are added.
    """
    samples, truths = c.entries()
    chi2, ks, distance = uniformity(ranks(samples, truths), samples.shape[1])
    at = c.layout.entries.tolist()
    whole = lambda p: float(min(1.0, p.min() * len(p)))
    return {
        "sbc_chi_squared_p": whole(chi2),
        "sbc_chi_squared_p_entry": float(at[int(np.argmin(chi2))]),
        "sbc_kolmogorov_smirnov_p": whole(ks),
        **worst("sbc_distance", "entry", distance.tolist(), at),
    }


def covered(place: Float[np.ndarray, "k *d"], level: float) -> Float[np.ndarray, " *d"]:
    """Share of the truths in the central interval that holds `level` of the samples."""
    return np.asarray((np.abs(place - 0.5) < level / 2).mean(axis=0))


def intervals(c: Ensembles) -> Numbers:
    """Shares of truths within central intervals, over all entries, and the entry furthest off.

    By the places of truths among samples, without the excess that quantiles of few samples have.
    A share p of k truths of one entry errs by (p (1 - p) / k)^1/2.
    """
    samples, truths = c.entries()
    place = places(ranks(samples, truths), samples.shape[1])
    shares = {level: covered(place, level / 100) for level in LEVELS}
    found: dict[str, float | str] = {
        f"interval_{level}": float(share.mean()) for level, share in shares.items()
    }
    gaps = np.max([np.abs(share - level / 100) for level, share in shares.items()], axis=0)
    return found | dict(
        worst("interval_worst_gap", "entry", gaps.tolist(), c.layout.entries.tolist())
    )
