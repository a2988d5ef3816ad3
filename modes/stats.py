"""`--mode stats`: statistics of real images, for evaluations to compare samples with."""

from __future__ import annotations

from pathlib import Path

from data_lib.base import Log
from eval_lib.features import extractors, reference
from eval_lib.features.featuring import QUANTIZE
from modes import texts
from modes.experiment import Experiment
from runtime_lib import workdir
from sde_lib import choose


def stats(experiment: Experiment, folder: Path, log: Log = print) -> int:
    """Make reference statistics of `eval.reference` in FOLDER/reference; returns 0."""
    config = experiment.config
    if config.eval.reference not in reference.SPLITS:
        raise ValueError(
            f"eval.reference must be one of {', '.join(reference.SPLITS)} with --mode stats, "
            f"got {config.eval.reference!r}"
        )
    choose("eval.quantize", config.eval.quantize, QUANTIZE)
    workdir.create(folder)
    splits = texts.load_data(config, folder, log)
    found = reference.obtain(config, extractors.build(config, splits), splits, folder, log)
    log(f"{found.path}: {found.info['count']} images of {found.info['dataset']} "
        f"({found.info['split']}), {found.info['extractor']}")  # fmt: skip
    return 0
