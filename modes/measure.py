"""`--mode measure`: examples with measurements of them, on which a conditional model is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_lib import Images
from data_lib.base import Log
from modes import texts
from modes.experiment import MEASURE_STREAM, Experiment
from modes.inputs import numbers
from modes.measuring import operator_of
from modes.problem import made_of, noise_in_words, shown
from runtime_lib import workdir
from runtime_lib.results import npz, publish
from sde_lib.measurements.base import Operator

FILE, REPORT = "pairs.npz", "pairs.json"


def measure(experiment: Experiment, folder: Path, log: Log = print) -> int:
    """Write the data and measurements of them, with noise, to FOLDER/pairs.npz; returns 0.

    The file has the names that `--config.data.dataset=array` looks for: data and condition of both
    parts, classes if there are any. The condition is the measurement, NaN where nothing was
    measured; or A^T y, scaled, if that does not look like an example.
    """
    config = experiment.config
    workdir.create(folder)
    splits = texts.load_data(config, folder, log)
    operator, words = operator_of(config)
    arrays: dict[str, np.ndarray] = {}
    for number, (part, images) in enumerate((("train", splits.train), ("test", splits.test))):
        arrays |= _pairs(operator, images, part, experiment, number)
    if splits.train.levels is not None:
        arrays["range"] = np.asarray([0, splits.train.levels - 1], np.float32)
    told = {**words, "noise": config.inverse.noise, "rate": config.inverse.rate,
            "seed": config.seed, "data": splits.name}  # fmt: skip
    with workdir.writing(folder):
        publish(folder, {FILE: npz(arrays)}, REPORT, told, log)
    log(f"measured {len(splits.train):,} and {len(splits.test):,} examples of {splits.name} with "
        f"{noise_in_words(config.inverse)}: wrote {folder / FILE}")  # fmt: skip
    return 0


def _pairs(
    operator: Operator, images: Images, part: str, experiment: Experiment, number: int
) -> dict[str, np.ndarray]:
    """The arrays of one part."""
    config = experiment.config
    key = jax.random.fold_in(experiment.key(MEASURE_STREAM), number)
    batch = config.sampling.batch_size
    y = made_of(operator, numbers(images), config.inverse, key, batch)
    seen = shown(operator, y, experiment.example, batch)
    if seen is None:
        raise ValueError("--mode measure needs a linear measurement, or one of the axes and "
                         "channels of an example")  # fmt: skip
    found: dict[str, Any] = {f"data_{part}": images.pixels[:], f"condition_{part}": seen}
    if images.labels is not None:
        found[f"labels_{part}"] = images.labels
    return found
