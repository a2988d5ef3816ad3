"""The rows of an evaluation: a model at one step, a file of samples, the held-out images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

import data_lib
from data_lib import Images
from data_lib.arrays import IMAGE_KEYS, checked_labels
from data_lib.arrays import read as read_arrays
from data_lib.base import Log
from data_lib.transforms import Scaler, to_unit
from eval_lib import noise_error, protocol, reference
from eval_lib.draws import Drawn, Store, short
from eval_lib.extractors import Extractor
from eval_lib.featuring import LEVELS, Featurer, quantize
from eval_lib.generate import make_generator
from eval_lib.images import fingerprint
from eval_lib.likelihood import bits_per_dim_of
from eval_lib.metrics import METRICS, Compared, FeatureSet, Numbers
from eval_lib.reference import Reference
from eval_lib.results import Identity, read_json, same
from eval_lib.sampling import load_weights
from sde_lib import ModelScore
from train_lib import sharding
from train_lib.experiment import LIKELIHOOD_STREAM, Experiment
from train_lib.files import atomic_write_json

FOLDER = "evaluation"
SHOWN = 64
"""Samples of each cell in a picture."""


@dataclass(frozen=True)
class Cell:
    """One model, or one file of samples, and what was measured of it.

    not_finite: samples, of all sets. repeats: the numbers of each independent set of samples, whose
    first are `samples`. model: those of the score itself.
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
    """What every cell of one evaluation shares."""

    experiment: Experiment
    folder: Path
    splits: data_lib.Splits
    extractor: Extractor
    reference: Reference
    metrics: tuple[str, ...]
    log: Log

    @property
    def levels(self) -> int:
        """Of samples."""
        return self.splits.train.levels or LEVELS

    @property
    def featurer(self) -> Featurer:
        """Of samples and held-out images."""
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
    """Draw, measure, and keep what was found: the next call reads it back."""
    config, log = work.experiment.config, work.log
    score, step = load_weights(work.experiment, work.folder, step, average, log)
    identity = {
        "step": step,
        "ema_rate": rate,
        "weights": _digest(score),
        "seed": config.seed,
        "sampling": protocol.sampling(config),
        "quantize": config.eval.quantize,
        "levels": work.levels,
    }
    name = f"step {step}, " + (f"EMA {rate:g}" if rate else "raw weights")
    log(f"evaluating {name}")
    store = Store(work.folder / FOLDER / "draws", identity, config.sampling.batch_size)
    generator = make_generator(work.experiment, score)
    total, repeats, sets = config.eval.num_samples, [], []
    for k in range(config.eval.repeats):
        first = k * total
        drawn = store.drawn(generator, first, total, work.levels, config.eval.quantize, log)
        sets.append(drawn)
        measure = lambda d=drawn, f=first: work.numbers(store.features(work.featurer, d, f, log))
        repeats.append(_remembered(work, store.folder, {"first": first, "count": total}, measure))
    model, curves = _of_model(work, score, store.folder)
    return _cell(name, identity, sets, repeats, model, curves)


def _digest(score: ModelScore) -> str:
    """Of the parameters: another training that made as many updates is another model."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves((score.params, score.sde)):
        found.update(np.ascontiguousarray(sharding.collect(leaf)).tobytes())
    return found.hexdigest()[:16]


def _cell(
    name: str, identity: Identity, sets: list[Drawn], repeats: list[Numbers], model: Numbers,
    curves: dict[str, list[float]],
) -> Cell:  # fmt: skip
    counts = np.concatenate([drawn.evaluations for drawn in sets])
    nfe = float(counts.mean()) if counts.size else None
    pixels = sets[0].pixels
    shown = to_unit(pixels[:SHOWN], identity["levels"])
    lost = sum(drawn.not_finite for drawn in sets)
    return Cell(name, identity, nfe, lost, repeats, model, curves, shown, pixels)


def _remembered(
    work: Work, folder: Path, more: Identity, compute: Callable[[], Numbers]
) -> Numbers:
    """`compute()`, or what it gave before for the same metrics, reference and samples."""
    identity = {
        "extractor": work.extractor.identity,
        "reference": work.reference.info,
        "metrics": [name for name in work.metrics if name in METRICS],
        "version": 2,  # of how numbers are told that there are none of
        **more,
    }
    path = folder / f"metrics_{short(identity)}.json"
    kept = read_json(path)
    if kept is not None and same(kept, identity):
        return kept["numbers"]
    numbers = compute()
    atomic_write_json(path, {**identity, "numbers": numbers})
    return json.loads(json.dumps(numbers))


def _of_model(
    work: Work, score: ModelScore, folder: Path
) -> tuple[Numbers, dict[str, list[float]]]:
    """(numbers, curves) of the score itself."""
    numbers: dict[str, float | str] = {}
    curves: dict[str, list[float]] = {}
    if "noise_error" in work.metrics:
        curves = _noise_errors(work, score)
        for split in ("held_out", "train"):
            error = float(np.mean(curves[split]))
            numbers[f"noise_error_{split}"] = error if np.isfinite(error) else "it is not finite"
    if "bits_per_dim" in work.metrics:
        numbers |= bits_per_dim_of(work.experiment, score, work.splits, folder, work.log)
    return numbers, curves


def _noise_errors(work: Work, score: ModelScore) -> dict[str, list[float]]:
    config = work.experiment.config
    scaler = Scaler(config.data.centered)
    times, log_snr = noise_error.levels(score, config.eval.eps or score.sde.t_min or 1e-5)
    found = {"log_snr": np.asarray(log_snr, float).tolist()}
    for name, images in (("held_out", work.splits.test), ("train", work.splits.train)):
        labels = images.labels if config.model.num_classes else None
        x0 = scaler(to_unit(images.pixels[: noise_error.MOST], images.levels))
        key = work.experiment.key(LIKELIHOOD_STREAM)
        errors = noise_error.curve(score, x0, labels, times, key, config.eval.batch_size)
        found[name] = errors.tolist()
    return found


def given(config: Any, levels: int | None) -> tuple[Images, str, int]:
    """(the images of `eval.samples` in levels, sha256 of them, how many are not finite)."""
    path = Path(config.eval.samples)
    arrays = read_arrays(path, "eval.samples")
    key = next((key for key in IMAGE_KEYS if key in arrays), None)
    data = config.data
    wanted = (data.image_size, data.image_size, data.num_channels)
    pixels = arrays[key] if key else np.zeros(0)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    if pixels.shape[1:] != wanted or not len(pixels):
        raise ValueError(
            f"eval.samples: {path} must hold images [n, {', '.join(map(str, wanted))}] under one "
            f"of {', '.join(IMAGE_KEYS)}, got {list(pixels.shape)}"
        )
    labels = checked_labels(arrays.get("labels"), len(pixels), str(path))
    if np.issubdtype(pixels.dtype, np.floating):
        found = Images(quantize(pixels, levels, config.eval.quantize), labels, levels or LEVELS)
    elif pixels.dtype == np.uint8 and levels in (None, 256):
        found = Images(pixels, labels, 256)
    else:
        raise ValueError(
            f"eval.samples: {path} must be float in [0, 1]"
            + (" or uint8" if levels in (None, 256) else f": the data has {levels} levels")
            + f", got {pixels.dtype}"
        )
    lost = int((~np.isfinite(pixels.reshape(len(pixels), -1)).all(axis=1)).sum())
    return found, fingerprint(found), lost


def given_cell(work: Work, images: Images, digest: str, not_finite: int) -> Cell:
    config = work.experiment.config
    name = Path(config.eval.samples).name
    identity = {"samples": name, "sha256": digest, "levels": work.levels}
    store = Store(work.folder / FOLDER / "draws", identity, config.eval.batch_size)
    drawn = Drawn(images.pixels, images.labels, np.zeros(0), not_finite)
    measure = lambda: work.numbers(store.features(work.featurer, drawn, 0, work.log))
    repeats = [_remembered(work, store.folder, {"count": len(images)}, measure)]
    return _cell(name, identity, [drawn], repeats, {}, {})


def held_out_cell(work: Work) -> Cell:
    """Held-out images in the place of samples: what to hope for."""
    images = work.splits.test
    pixels = work.real("test")
    labels = images.labels if work.experiment.config.model.num_classes else None
    digest = fingerprint(Images(pixels, labels, work.levels))
    identity = {"samples": "held-out images", "sha256": digest, "levels": work.levels}
    store = Store(work.folder / FOLDER / "draws", identity, work.featurer.size)
    drawn = Drawn(pixels, labels, np.zeros(0), 0)
    measure = lambda: work.numbers(store.features(work.featurer, drawn, 0, work.log))
    more = {"count": len(images), "labelled": labels is not None}
    repeats = [_remembered(work, store.folder, more, measure)]
    return _cell("held-out images", identity, [drawn], repeats, {}, {})
