"""Metrics of generated images: each a function of features and one line in `METRICS`."""

from eval_lib.metrics.base import WORDS, Compared, FeatureSet, Metric, Moments, Numbers, lacks
from eval_lib.metrics.frechet import class_fid, fid, fid_infinity, frechet, sfid
from eval_lib.metrics.inception_score import inception_score
from eval_lib.metrics.kernel import kid
from eval_lib.metrics.manifold import precision_recall
from eval_lib.metrics.memorisation import authenticity, memorisation
from eval_lib.metrics.sliced import sliced

__all__ = ["Compared", "FeatureSet", "METRICS", "Metric", "Moments", "WORDS", "Numbers", "frechet",
           "lacks"]  # fmt: skip

_POOLS = ("samples.pool", "reference.pool")

METRICS: dict[str, Metric] = {
    "fid": Metric(fid),
    "fid_infinity": Metric(fid_infinity, ("samples.pool",)),
    "kid": Metric(kid, _POOLS),
    "inception_score": Metric(inception_score, ("samples.logits",)),
    "precision_recall": Metric(precision_recall, _POOLS),
    "sfid": Metric(sfid, ("samples.spatial", "reference.spatial")),
    "class_fid": Metric(class_fid, (*_POOLS, "samples.labels", "reference.labels")),
    "sliced": Metric(sliced, _POOLS),
    "memorisation": Metric(memorisation, ("samples.images", "train", "test")),
    "authenticity": Metric(authenticity, _POOLS),
}
