"""Metrics of arrays that are no pictures: vectors, tables, signals, fields, posteriors."""

from eval_lib.array_metrics.base import NamedShape, Scale, complete_rows
from eval_lib.array_metrics.compare import calibration, compare, ensembles, markdown, paired
from eval_lib.array_metrics.table import CALIBRATION, DISTANCES

__all__ = [
    "CALIBRATION", "DISTANCES", "NamedShape", "Scale", "calibration", "compare", "complete_rows",
    "ensembles", "markdown", "paired",
]  # fmt: skip
