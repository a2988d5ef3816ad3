"""The rows of an evaluation: a model at one step, a file of samples, the held-out images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import data_lib
from configs.kinds import coarse_lengths, coarse_shape
from configs.shapes import area_mean
from data_lib import Images
from data_lib.base import Log, fingerprint
from data_lib.transforms import to_unit
from eval_lib.features import reference
from eval_lib.features.extractors import Extractor
from eval_lib.features.featuring import LEVELS, Featurer, quantize
from eval_lib.features.reference import Reference
from eval_lib.metrics import METRICS, Compared, FeatureSet, Numbers
from eval_lib.restoration import psnr
from modes.conditions import of_data
from modes.evaluation import protocol
from modes.evaluation.draws import Drawn, Draws
from modes.evaluation.model_metrics import OF_THE_MODEL, Subject
from modes.experiment import Experiment
from modes.images import of_file
from modes.stages import Handed, generator_of, handed, of_examples
from modes.trained import digest, load_weights
from runtime_lib.results import Identity, keep, recall, short
from sde_lib import ModelScore

FOLDER = "evaluation"
SHOWN = 64
"""Samples of each cell in a picture."""


@dataclass(frozen=True)
class Cell:
    """One model, one file of samples, or the held-out images, with the measured numbers.

    not_finite: number of such samples in all sets. repeats: the numbers of each independent set of
    samples, the first of which is `samples`. model: numbers of the score itself.
    curves: noise errors on held-out and training images by log-SNR. shown: samples in [0, 1].
    """

    name: str
    identity: Identity
    nfe: float | None
    not_finite: int
    repeats: list[Numbers]
    model: Numbers
    curves: dict[str, list[float]]
    shown: np.ndarray
    samples: np.ndarray


@dataclass(frozen=True)
class Work:
    """The shared part of all cells of one evaluation."""

    experiment: Experiment
    folder: Path
    splits: data_lib.Splits
    extractor: Extractor
    reference: Reference
    metrics: tuple[str, ...]
    log: Log

    @property
    def levels(self) -> int:
        """Number of integer levels of samples."""
        return self.splits.train.levels or LEVELS

    @property
    def featurer(self) -> Featurer:
        """The featurer of samples and held-out images."""
        return Featurer(self.extractor, self.experiment.config.eval.batch_size, self.levels)

    def real(self, name: str) -> np.ndarray:
        """Pixels of a split in the levels of samples."""
        rule = self.experiment.config.eval.quantize
        return reference.as_levels(reference.of_split(self.splits, name), rule).pixels

    def numbers(self, samples: FeatureSet) -> Numbers:
        """Every metric of one set."""
        compared = Compared(samples, self.reference.features, self.real("train"), self.real("test"))
        found: dict[str, float | str] = {}
        for name in self.metrics:
            if name in METRICS:
                found |= METRICS[name].compute(compared)
        return found


def model_cell(work: Work, step: int | None, rate: float, average: int | None) -> Cell:
    """Draw, measure, and store the numbers, which the next call reads back."""
    config, log = work.experiment.config, work.log
    score, step = load_weights(work.experiment, work.folder, step, average, log)
    identity = {
        "step": step,
        "ema_rate": rate,
        "weights": digest(score),
        "seed": config.seed,
        "sampling": protocol.sampling(config),
        "quantize": config.eval.quantize,
        "levels": work.levels,
        **work.experiment.guided_by,
    }
    name = f"step {step}, " + (f"EMA {rate:g}" if rate else "raw weights")
    log(f"evaluating {name}")
    total, test = config.eval.num_samples, work.splits.test
    repeats: list[Numbers] = []
    sets: list[Drawn] = []
    count = total * config.eval.repeats
    pictures = handed(work.experiment, count, of_examples(test), work.folder, log)
    given = of_data(work.experiment, test, coarse=pictures is None)
    if given.conditions is not None:
        identity["conditions"] = fingerprint(test)
    identity |= {} if pictures is None else pictures.identity
    store = Draws(work.folder / FOLDER / "draws", identity, config.sampling.batch_size)
    generator = generator_of(work.experiment, score, given, pictures, count)
    for k in range(config.eval.repeats):
        first = k * total
        drawn = store.drawn(generator, first, total, work.levels, config.eval.quantize, log)
        sets.append(drawn)
        measure = lambda d=drawn, f=first: work.numbers(store.features(work.featurer, d, f, log))
        numbers = remembered(work, store.folder, {"first": first, "count": total}, measure)
        repeats.append({**numbers, **_fidelity(work, drawn, first, pictures)})
    model, curves = _of_model(work, score, store.folder)
    return cell_of(name, identity, sets, repeats, model, curves)


def _fidelity(work: Work, drawn: Drawn, first: int, pictures: Handed | None) -> Numbers:
    """Agreement of samples with the coarse pictures that they were given, and, where these are of
    held-out images, with the images; nothing for a model that is given none."""
    config, lengths = work.experiment.config, coarse_shape(work.experiment.config)[:-1]
    if not lengths:
        return {}
    x, at = to_unit(drawn.pixels, work.levels), first + np.arange(len(drawn.pixels))
    if pictures is not None:
        low = np.clip(pictures.pictures[at % len(pictures.pictures)], 0, 1)
        return {"coarse_error": _rms(area_mean(x, lengths) - low)}
    test = work.splits.test
    truth = to_unit(test.take(at % len(test)).pixels, test.levels)
    low = area_mean(truth, coarse_lengths(config))
    return {
        "coarse_error": _rms(area_mean(x, lengths) - low),
        "psnr": float(psnr(x, truth, 1.0).mean()),
    }


def _rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(difference.astype(np.float64) ** 2)))


def cell_of(
    name: str, identity: Identity, sets: list[Drawn], repeats: list[Numbers], model: Numbers,
    curves: dict[str, list[float]],
) -> Cell:  # fmt: skip
    """A row of sets of samples and their numbers."""
    counts = np.concatenate([drawn.evaluations for drawn in sets])
    nfe = float(counts.mean()) if counts.size else None
    pixels = sets[0].pixels
    shown = to_unit(pixels[:SHOWN], identity["levels"])
    lost = sum(drawn.not_finite for drawn in sets)
    return Cell(name, identity, nfe, lost, repeats, model, curves, shown, pixels)


def remembered(work: Work, folder: Path, more: Identity, compute: Callable[[], Numbers]) -> Numbers:
    """`compute()`, or its stored result for the same metrics, reference and samples."""
    identity = {
        "extractor": work.extractor.identity,
        "reference": work.reference.info,
        "metrics": [name for name in work.metrics if name in METRICS],
        "version": 2,  # of the form in which missing numbers are stored
        **more,
    }
    path = folder / f"metrics_{short(identity)}.json"
    found = recall(path, identity)
    if found is not None and _are_numbers(found[0].get("numbers")):
        return found[0]["numbers"]
    numbers = compute()
    keep(path, identity, {"numbers": numbers})
    return json.loads(json.dumps(numbers))


def _are_numbers(found: Any) -> bool:
    return isinstance(found, dict) and all(x is None or type(x) is float for x in found.values())


def _of_model(
    work: Work, score: ModelScore, folder: Path
) -> tuple[Numbers, dict[str, list[float]]]:
    """(numbers, curves) of the score itself."""
    trained = Subject(work.experiment, score, work.splits, folder, work.log)
    numbers: dict[str, float | str] = {}
    curves: dict[str, list[float]] = {}
    for name, metric in OF_THE_MODEL.items():
        if name in work.metrics:
            own_numbers, own_curves = metric.compute(trained)
            numbers |= own_numbers
            curves |= own_curves
    return numbers, curves


def given(config: Any, levels: int | None, log: Log) -> Drawn:
    """The images of `eval.samples` in levels; ValueError for images that are unlike the data's."""
    found, data = of_file(config, "samples", clip=True, log=log), config.data
    wanted = (data.image_size, data.image_size, data.num_channels)
    path, target = config.eval.samples, levels or LEVELS
    if found.pixels.shape[1:] != wanted:
        raise ValueError(
            f"eval.samples: {path} must hold images [n, {', '.join(map(str, wanted))}], got "
            f"{list(found.pixels.shape)}"
        )
    if found.levels == target:
        return Drawn(found.pixels, found.labels, np.zeros(0), 0)
    if found.levels and not config.eval.range:
        raise ValueError(
            f"eval.samples: {path} has {found.levels} levels, the data has {target} levels: set "
            f"eval.range=0,{target - 1} if it has them too, else 0,{found.levels - 1}, or store "
            "floats in [0, 1]"
        )
    x = to_unit(found.pixels, found.levels)
    lost = _tell_outside(x, log)
    pixels = quantize(x, levels, config.eval.quantize)
    return Drawn(pixels, found.labels, np.zeros(0), lost)


def _tell_outside(x: np.ndarray, log: Log) -> int:
    """Log how many values will be clipped; returns the number of images that are not finite."""
    outside = float(((x < 0) | (x > 1)).mean())
    if outside:
        log(f"eval.samples: {outside:.2%} of the values lie outside of their range and are clipped")
    lost = int((~np.isfinite(x.reshape(len(x), -1)).all(axis=1)).sum())
    if lost:
        log(f"eval.samples: {lost} of {len(x)} images are not finite")
    return lost


def given_cell(work: Work, drawn: Drawn) -> Cell:
    """The row of `eval.samples`."""
    config, digest = (
        work.experiment.config,
        fingerprint(Images(drawn.pixels, drawn.labels, work.levels)),
    )
    name = Path(config.eval.samples).name
    identity = {"samples": name, "sha256": digest, "levels": work.levels}
    store = Draws(work.folder / FOLDER / "draws", identity, config.eval.batch_size)
    measure = lambda: work.numbers(store.features(work.featurer, drawn, 0, work.log))
    repeats = [remembered(work, store.folder, {"count": len(drawn.pixels)}, measure)]
    return cell_of(name, identity, [drawn], repeats, {}, {})


def held_out_cell(work: Work) -> Cell:
    """The row of held-out images in place of samples, as a yardstick."""
    images = work.splits.test
    pixels = work.real("test")
    labels = images.labels if work.experiment.config.model.num_classes else None
    digest = fingerprint(Images(pixels, labels, work.levels))
    identity = {"samples": "held-out images", "sha256": digest, "levels": work.levels}
    store = Draws(work.folder / FOLDER / "draws", identity, work.featurer.size)
    drawn = Drawn(pixels, labels, np.zeros(0), 0)
    measure = lambda: work.numbers(store.features(work.featurer, drawn, 0, work.log))
    more = {"count": len(images), "labelled": labels is not None}
    repeats = [remembered(work, store.folder, more, measure)]
    return cell_of("held-out images", identity, [drawn], repeats, {}, {})
