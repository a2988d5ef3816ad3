"""Metrics of arrays that are no pictures: each a function and one row."""

from __future__ import annotations

from eval_lib.array_metrics import (
    classifier,
    correlations,
    distances,
    marginals,
    ranks,
    scores,
    spectra,
    tarp,
)
from eval_lib.array_metrics.base import Ensembles, Pair
from eval_lib.metrics.base import Metric


def _both(least: int) -> dict[str, int]:
    return {"samples": least, "held-out arrays": least}


def _each(conditions: int, samples: int) -> dict[str, int]:
    return {"conditions": conditions, "samples of each": samples}


DISTANCES: dict[str, Metric[Pair]] = {
    "sliced": Metric(distances.sliced, ("sliced_wasserstein",), fewest=_both(2)),
    "mmd": Metric(
        distances.mmd, ("mmd2", "mmd2_standard_error"), fewest=_both(2), headline=("mmd2",)
    ),
    "energy": Metric(
        distances.energy,
        ("energy_distance", "energy_distance_standard_error"),
        fewest=_both(2),
        headline=("energy_distance",),
    ),
    "c2st": Metric(
        classifier.c2st,
        ("c2st", "c2st_standard_error"),
        fewest=_both(2 * classifier.FOLDS),
        headline=("c2st",),
    ),
    "marginals": Metric(
        marginals.marginals,
        ("wasserstein_1", "wasserstein_1_worst", "kolmogorov_smirnov", "kolmogorov_smirnov_worst"),
        fewest=_both(2),
        headline=("wasserstein_1",),
    ),
    "channel_marginals": Metric(
        marginals.channel_marginals,
        ("channel_wasserstein_1", "channel_kolmogorov_smirnov"),
        ("arrays.axes",),
        _both(2),
    ),
    "correlations": Metric(correlations.correlations, ("correlation_rms",), fewest=_both(2)),
    "channel_correlations": Metric(
        correlations.channel_correlations,
        ("channel_correlation_rms",),
        ("arrays.axes", "arrays.channels"),
        _both(2),
    ),
    "spectra": Metric(
        spectra.spectra,
        ("log_spectral_distance",),
        ("arrays.axes",),
        _both(2),
        headline=("log_spectral_distance",),
    ),
}
"""Comparisons of samples with held-out data of the same law."""
CALIBRATION: dict[str, Metric[Ensembles]] = {
    "sbc": Metric(
        ranks.sbc,
        ("sbc_chi_squared_p", "sbc_kolmogorov_smirnov_p", "sbc_distance"),
        fewest=_each(2 * ranks.PER_BIN, 1),
        headline=("sbc_chi_squared_p",),
    ),
    "intervals": Metric(
        ranks.intervals,
        tuple(f"interval_{level}" for level in ranks.LEVELS),
        fewest=_each(1, 1),
        headline=("interval_90",),
    ),
    "tarp": Metric(
        tarp.tarp, ("tarp_p", "tarp_gap", "tarp_spread"), fewest=_each(2, 1), headline=("tarp_p",)
    ),
    "crps": Metric(
        scores.continuous_ranked_probability_score,
        ("crps",),
        fewest=_each(1, 2),
        headline=("crps",),
    ),
    "rmse": Metric(scores.rmse, ("rmse",), fewest=_each(1, 1), headline=("rmse",)),
    "spread_skill": Metric(scores.spread_skill, ("spread", "spread_skill"), fewest=_each(1, 2)),
}
"""Comparisons of the samples given each condition with the truth that came with it."""
