"""`--mode eval` of vectors, signals, fields and posteriors: data that are no gray levels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_lib import Images, Splits
from data_lib.base import Log
from eval_lib import array_metrics
from eval_lib.array_metrics import CALIBRATION, DISTANCES, NamedShape
from eval_lib.array_pictures import coverage_png, picture_of, ranks_png, spectra_png
from modes.conditions import of_data
from modes.evaluation import protocol
from modes.evaluation.model_metrics import OF_ARRAYS, Subject
from modes.experiment import Experiment
from modes.generate import collected
from modes.images import complete, identity
from modes.stages import generator_of, handed, of_examples
from modes.trained import digest, load_weights
from runtime_lib.files import Content
from runtime_lib.results import (
    Identity,
    Parts,
    marked,
    publish,
    read_own_json,
    same,
    set_results_aside,
    short,
)

FOLDER, REPORT = "evaluation", "report.json"
SHOWN = 2000
"""Most samples, and most held-out examples, in a picture."""

Rows = dict[str, float | str]


@dataclass(frozen=True)
class AskedMetrics:
    """Names of metrics: comparisons of sets, of ensembles with truths, and of the score itself."""

    distances: tuple[str, ...]
    calibration: tuple[str, ...]
    model: tuple[str, ...]

    @classmethod
    def of(cls, experiment: Experiment) -> AskedMetrics:
        """The metrics of `eval.metrics`. ValueError for one that does not fit the data."""
        config = experiment.config
        layout = NamedShape(experiment.shape, ())
        conditional = config.model.condition != "none"
        fitting = {name: row.lacking(layout.has) for name, row in DISTANCES.items()}
        fitting |= dict.fromkeys(
            CALIBRATION, "" if conditional else "the model is given no conditions"
        )
        names = protocol.asked(config, (*DISTANCES, *CALIBRATION), OF_ARRAYS)
        if config.eval.metrics.strip() != "all" and (
            wrong := [name for name in names if fitting.get(name)]
        ):
            raise ValueError(f"eval.metrics: {wrong[0]} cannot be computed, {fitting[wrong[0]]}")
        kept = [name for name in names if not fitting.get(name)]
        pick = lambda table: tuple(name for name in kept if name in table)
        return cls(pick(DISTANCES), pick(CALIBRATION), pick(OF_ARRAYS))


def evaluate(experiment: Experiment, splits: Splits, folder: Path, log: Log) -> None:
    """Fill FOLDER/evaluation/report: report.md, report.json, pictures of samples and of ranks.

    Samples are kept in FOLDER/evaluation/draws, so that the same command continues after a kill.
    A conditional model is measured given conditions of held-out examples: `eval.conditions` of
    them, `eval.num_samples` / `eval.conditions` samples of each.
    """
    config = experiment.config
    asked, test = AskedMetrics.of(experiment), complete(splits.test, "the held-out data", log)
    columns: dict[str, Rows] = {}
    cells: list[Identity] = []
    files: dict[str, Content | None] = {}
    data = identity(test, splits.name)
    for step in protocol.steps(config, folder, log):
        for rate, average in protocol.averages(config):
            score, found = load_weights(experiment, folder, step, average, log)
            name = f"step {found}, " + (f"EMA {rate:g}" if rate else "raw weights")
            log(f"evaluating {name}")
            told = {"step": found, "ema_rate": rate, "weights": digest(score), "seed": config.seed,
                    "sampling": protocol.sampling(config), **experiment.guided_by,
                    **data}  # fmt: skip
            cell = _Cell(experiment, folder, test, log)
            columns[name] = cell.numbers(score, told, asked)
            subject = Subject(experiment, score, splits, folder / FOLDER / "model", log)
            for metric in asked.model:
                columns[name] |= OF_ARRAYS[metric].compute(subject)[0]
            cells.append(told)
            files = files or cell.files
    if config.eval.held_out:
        train = complete(splits.train, "the training data", log)
        few = train.take(np.arange(min(len(train), config.eval.num_samples)))
        columns["training data"] = array_metrics.compare(
            few.pixels, test.pixels, names=test.names, metrics=asked.distances,
            periodic=_periodic(experiment),
        )  # fmt: skip
    settings = {
        "of": cells,
        "metrics": [*asked.distances, *asked.calibration, *asked.model],
        "num_samples": config.eval.num_samples,
        "conditions": config.eval.conditions,
    }
    table = array_metrics.markdown(columns, experiment.shape, test.names)
    files["report.md"] = marked(f"{len(test)} held-out examples of {splits.name}\n\n{table}")
    target = folder / FOLDER / "report"
    old = read_own_json(target / REPORT)
    other = old is not None and not same(old, settings)
    set_results_aside(target, "a report made with other settings" if other else None, log)
    target.mkdir(parents=True, exist_ok=True)
    publish(target, files, REPORT, {**settings, "numbers": columns}, log)
    for line in table.splitlines()[2:]:
        log(line)


class _Cell:
    """One model: its samples, what is measured of them, and their pictures."""

    def __init__(self, experiment: Experiment, folder: Path, test: Images, log: Log) -> None:
        self._experiment, self._folder, self._log = experiment, folder, log
        self._test = test
        self.files: dict[str, Content | None] = {}

    def numbers(self, score: Any, told: Identity, asked: AskedMetrics) -> Rows:
        """Every metric of the model's samples; pictures are left in `files`."""
        if self._experiment.config.model.condition == "none":
            samples = self._drawn(score, told, self._test, self._experiment.config.eval.num_samples)
            return self._compared(samples, asked)
        return self._calibrated(score, told, asked)

    def _drawn(self, score: Any, told: Identity, of: Images, total: int) -> np.ndarray:
        """Samples 0 .. total - 1."""
        pictures = handed(self._experiment, total, of_examples(of), self._folder, self._log)
        given = of_data(self._experiment, of, coarse=pictures is None)
        generator = generator_of(self._experiment, score, given, pictures, total)
        batch = self._experiment.config.sampling.batch_size
        own = {**told, "batch_size": batch, "conditions": len(of)}
        own |= {} if pictures is None else pictures.identity
        kept = Parts(self._folder / FOLDER / "draws" / short(own), own, self._log)
        return collected(generator, total, batch, kept, self._log)[0]["samples"]

    def _compared(self, samples: np.ndarray, asked: AskedMetrics) -> Rows:
        finite = np.isfinite(samples.reshape(len(samples), -1)).all(axis=1)
        if lost := int((~finite).sum()):
            self._log(f"{lost} of {len(samples)} samples are not finite and are left out")
        samples, test = samples[finite], self._test
        found = array_metrics.compare(
            samples, test.pixels, names=test.names, metrics=asked.distances,
            periodic=_periodic(self._experiment),
        )  # fmt: skip
        self.files["samples.png"] = picture_of(samples[:SHOWN], test.pixels[:SHOWN], test.names)
        if "spectra" in asked.distances:
            pair = array_metrics.paired(
                samples, test.pixels, test.names, periodic=_periodic(self._experiment)
            )
            self.files["spectra.png"] = spectra_png(pair)
        return {**found, "not_finite": float(lost)}

    def _calibrated(self, score: Any, told: Identity, asked: AskedMetrics) -> Rows:
        config = self._experiment.config
        k = min(config.eval.conditions, len(self._test))
        each = config.eval.num_samples // k
        if not each:
            raise ValueError(
                f"eval.num_samples must be at least eval.conditions, got {config.eval.num_samples} "
                f"for {k} conditions"
            )
        of = self._test.take(np.arange(k))
        flat = self._drawn(score, told, of, k * each)
        ensembles = flat.reshape(each, k, *flat.shape[1:]).swapaxes(0, 1)
        found = self._compared(flat[:k], asked)
        finite = np.isfinite(ensembles.reshape(k, -1)).all(axis=1)
        posterior = array_metrics.ensembles(ensembles[finite], of.pixels[finite], of.names)
        found |= array_metrics.calibration(
            ensembles[finite], of.pixels[finite], names=of.names, metrics=asked.calibration
        )
        self.files["ranks.png"] = ranks_png(posterior)
        self.files["coverage.png"] = coverage_png(posterior)
        return found


def _periodic(experiment: Experiment) -> list[bool]:
    axes = range(len(experiment.shape) - 1)
    return [axis in tuple(experiment.config.model.periodic) for axis in axes]
