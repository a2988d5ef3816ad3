"""Metrics of generated images: each a function of features and one row in `METRICS`."""

from eval_lib.metrics.base import Compared, FeatureSet, Metric, Moments, Numbers, both
from eval_lib.metrics.frechet import BLOCKS, class_fid, fid, fid_infinity, frechet, sfid
from eval_lib.metrics.inception_score import inception_score
from eval_lib.metrics.kernel import kid
from eval_lib.metrics.manifold import precision_recall
from eval_lib.metrics.memorisation import authenticity, memorisation
from eval_lib.metrics.sliced import sliced

__all__ = ["METRICS", "Compared", "FeatureSet", "Metric", "Moments", "Numbers", "frechet"]

METRICS: dict[str, Metric[Compared]] = {
    "fid": Metric(fid, ("fid",), fewest=both(2), headline=("fid",)),
    "fid_infinity": Metric(
        fid_infinity,
        ("fid_infinity", "fid_infinity_fit_error"),
        fewest={"samples": 2 * BLOCKS, "reference images": 2},
    ),
    "kid": Metric(
        kid, ("kid", "kid_standard_error"), ("reference.pool",), both(2), headline=("kid",)
    ),
    "inception_score": Metric(
        inception_score,
        ("inception_score", "inception_score_splits_mean", "inception_score_splits_std"),
        ("samples.logits",),
        {"samples": 2},
        headline=("inception_score",),
    ),
    "precision_recall": Metric(
        precision_recall,
        ("precision", "recall", "density", "coverage"),
        ("reference.pool",),
        both(6),
        headline=("precision", "recall"),
    ),
    "sfid": Metric(sfid, ("sfid",), ("samples.spatial", "reference.spatial"), both(2)),
    "class_fid": Metric(
        class_fid, ("class_fid",), ("reference.pool", "samples.labels", "reference.labels")
    ),
    "sliced": Metric(sliced, ("sliced_wasserstein",), ("reference.pool",), both(2)),
    "memorisation": Metric(memorisation, ("train_close", "train_distance_ratio", "train_copies")),
    "authenticity": Metric(
        authenticity, ("authenticity",), ("reference.pool",), {"reference images": 2}
    ),
}
