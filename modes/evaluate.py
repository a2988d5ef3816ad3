"""`--mode eval`: samples measured against a reference, by a stated protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import data_lib
from configs import schema
from data_lib import codec
from data_lib.base import Log
from eval_lib.features import extractors, reference
from eval_lib.features.featuring import QUANTIZE
from models import is_autoencoder
from modes import sizes, texts
from modes.evaluation import array_data, protocol
from modes.evaluation.cells import FOLDER, Cell, Work, given, given_cell, held_out_cell, model_cell
from modes.evaluation.model_metrics import OF_THE_MODEL
from modes.evaluation.reconstructions import reconstructed_cell
from modes.evaluation.report import write
from modes.experiment import Experiment
from runtime_lib import workdir
from runtime_lib.results import read_own_json, same, set_results_aside
from sde_lib import choose

REPORT = "report.json"
DRAWN = ("num_samples", "repeats")
"""Settings that do not matter if the samples come from a file."""


def _protocol(work: Work, skipped: Mapping[str, str], cells: list[Cell]) -> dict[str, Any]:
    """Everything on which the numbers depend."""
    config, listed = work.experiment.config, work.experiment.config.eval.to_dict()
    of_model = [metric for name, metric in OF_THE_MODEL.items() if name in work.metrics]
    return {
        "extractor": work.extractor.identity,
        "reference": work.reference.info,
        "metrics": list(work.metrics),
        "not_computed": dict(skipped),
        **{name: config.eval[name] for name in DRAWN if not config.eval.samples},
        "quantize": config.eval.quantize,
        "levels": work.levels,
        "eps": config.eval.eps,
        "likelihood": {k: listed[k] for metric in of_model for k in metric.settings},
        "config": _training(config),
        "of": [cell.identity for cell in cells],
    }


def _training(config: Any) -> dict[str, Any]:
    """Every setting but those of sampling and evaluation, which the report states elsewhere."""
    flat = schema.flatten(config)
    return {k: v for k, v in flat.items() if not k.startswith(workdir.FREE_SECTIONS)}


def _work(
    experiment: Experiment, splits: data_lib.Splits, folder: Path, log: Log, **samples: bool
) -> tuple[Work, dict[str, str]]:
    """(the shared part of all cells, the metrics left out), after all checks of the settings."""
    config = experiment.config
    extractor = extractors.build(config, splits)
    metrics, skipped = protocol.choose_metrics(config, extractor, splits, **samples)
    ref = reference.obtain(config, extractor, splits, folder, log)
    return Work(experiment, folder, splits, extractor, ref, metrics, log), skipped


def _asked(
    config: Any, splits: data_lib.Splits, folder: Path, log: Log
) -> tuple[Callable[[Work], list[Cell]], dict[str, bool]]:
    """(a function that makes the cells, parts that their samples have), for file or checkpoints."""
    if config.eval.samples:
        drawn = given(config, splits.train.levels, log)
        of_file = {"labelled": drawn.labels is not None, "model": False}
        return lambda work: [given_cell(work, drawn)], of_file
    sizes.check("eval.num_samples", config.eval.num_samples * config.eval.repeats, config, item=1)
    workdir.check_model(folder, config)
    averages, steps = protocol.averages(config), protocol.steps(config, folder, log)
    models = [(step, *average) for step in steps for average in averages]
    row = reconstructed_cell if is_autoencoder(config) else model_cell
    of_model = {"labelled": config.model.num_classes > 0, "model": row is model_cell}
    return lambda work: [row(work, *model) for model in models], of_model


def _of_arrays(experiment: Experiment, folder: Path, log: Log) -> int:
    """`evaluate` for data that are no pictures of gray levels."""
    workdir.check_model(folder, experiment.config)
    splits = texts.load_data(experiment.config, folder, log)
    with workdir.writing(folder / FOLDER, "finished parts"):
        array_data.evaluate(experiment, splits, folder, log)
    log(f"wrote {folder / FOLDER / 'report'}: report.md, report.json and pictures")
    return 0


def evaluate(experiment: Experiment, folder: Path, log: Log = print) -> int:
    """Fill FOLDER/evaluation: report.md, report.json and pictures; returns 0.

    Samples (as levels) and their features are kept in FOLDER/evaluation/draws, so that the same
    command continues after a kill, and other metrics need no new samples.
    """
    config = experiment.config
    choose("eval.quantize", config.eval.quantize, QUANTIZE)
    if not codec.of_pictures(config.data):
        return _of_arrays(experiment, folder, log)
    protocol.asked(config)
    splits = texts.load_data(config, folder, log)
    make, samples = _asked(config, splits, folder, log)
    work, skipped = _work(experiment, splits, folder, log, **samples)
    target = folder / FOLDER / "report"
    with workdir.writing(folder / FOLDER, "finished parts"):
        cells = make(work) + ([held_out_cell(work)] if config.eval.held_out else [])
        told = _protocol(work, skipped, cells)
        old = read_own_json(target / REPORT)
        other = old is not None and not same(old, {"protocol": told})
        set_results_aside(target, "a report made with other settings" if other else None, log)
        target.mkdir(parents=True, exist_ok=True)
        for line in write(target, REPORT, told, cells, work.real("train"), log):
            log(line)
    log(f"wrote {target}: report.md, report.json and pictures")
    return 0
