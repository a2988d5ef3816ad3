"""Metrics of generated images: each a function of features and one row in `METRICS`."""

from eval_lib.metrics.base import Compared, FeatureSet, Metric, Moments, Numbers
from eval_lib.metrics.frechet import class_fid, fid, fid_infinity, frechet, sfid
from eval_lib.metrics.inception_score import inception_score
from eval_lib.metrics.kernel import kid
from eval_lib.metrics.manifold import precision_recall
from eval_lib.metrics.memorisation import authenticity, memorisation
from eval_lib.metrics.sliced import sliced

__all__ = ["METRICS", "Compared", "FeatureSet", "Metric", "Moments", "Numbers", "frechet"]

METRICS: dict[str, Metric] = {
    "fid": Metric(fid, headline=("fid",)),
    "fid_infinity": Metric(fid_infinity),
    "kid": Metric(kid, ("reference.pool",), ("kid",)),
    "inception_score": Metric(inception_score, ("samples.logits",), ("inception_score",)),
    "precision_recall": Metric(precision_recall, ("reference.pool",), ("precision", "recall")),
    "sfid": Metric(sfid, ("samples.spatial", "reference.spatial")),
    "class_fid": Metric(class_fid, ("reference.pool", "samples.labels", "reference.labels")),
    "sliced": Metric(sliced, ("reference.pool",)),
    "memorisation": Metric(memorisation),
    "authenticity": Metric(authenticity, ("reference.pool",)),
}
