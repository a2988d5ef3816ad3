"""Tables that scikit-learn ships: real measurements, no download."""

from collections.abc import Callable
from typing import Any

import numpy as np

from data_lib.base import Images, Log, Splits, hold_out
from data_lib.config import DataConfig

Loader = Callable[[DataConfig, Log], Splits]


def _classified(name: str, read: Callable[[Any], Any]) -> Loader:
    """A table of features, with a class for each row."""

    def load(config: DataConfig, log: Log) -> Splits:
        # Seconds to import, which other datasets need not wait for.
        from sklearn import datasets

        found = read(datasets)
        images = Images(
            found.data.astype(np.float64),
            found.target.astype(np.int32),
            None,
            names=tuple(map(str, found.feature_names)),
        )
        return hold_out(images, config.test_fraction, name)

    return load


wine = _classified("wine", lambda datasets: datasets.load_wine())
"""178 wines of three growers by 13 chemical measurements."""
breast_cancer = _classified("breast_cancer", lambda datasets: datasets.load_breast_cancer())
"""569 tumours, malignant (0) or benign (1), by 30 measurements of cell nuclei."""


def diabetes(config: DataConfig, log: Log) -> Splits:
    """Progression of diabetes in 442 patients after a year, given ten measurements at its start."""
    from sklearn import datasets

    found = datasets.load_diabetes(scaled=False)
    target, features = found.target.astype(np.float64)[:, None], found.data.astype(np.float64)
    images = Images(target, None, None, condition=features, names=("progression",))
    return hold_out(images, config.test_fraction, "diabetes")
