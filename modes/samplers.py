"""`--mode samplers`: a table of samplers x NFE on one model, for choosing one by eye.

`eval.samplers` names them (`modes.entries`). Each is run at every `eval.sampler_nfe`, network
evaluations per image; an entry with a length of its own (num_steps=..., nfe=..., or an adaptive
solver) is run once.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from data_lib import Codec
from eval_lib import figures
from eval_lib.features.extractors import Components, some
from eval_lib.metrics import Moments, frechet
from modes import sizes, texts
from modes.conditions import of_data
from modes.entries import Planned, planned
from modes.experiment import Experiment
from modes.generate import STATED
from modes.generator import Given
from modes.stages import Handed, generator_of, handed, of_examples
from modes.trained import load_score
from runtime_lib import workdir
from runtime_lib.files import Content
from runtime_lib.results import Arrays, Identity, keep, marked, publish, recall
from sde_lib import ModelScore

SHOWN = 16
"""Images of each cell in the picture."""
REFERENCE = 5000
"""Most images of the dataset with which samples are compared."""
KEPT, LONGEST = "=.+-", 150
"""Characters, beside letters and digits, that names of files keep, and their greatest length."""


@dataclass(frozen=True)
class Outcome:
    """One sampler at one budget (0: its own length): evaluations per sample, distance, speed, and
    how many images are not finite."""

    sampler: str
    budget: int
    nfe: float
    distance: float
    images_per_second: float | None
    not_finite: int


def _draw(
    experiment: Experiment,
    score: ModelScore,
    given: Given,
    count: int,
    batch: int,
    pictures: Handed | None = None,
) -> tuple[np.ndarray, float, float | None]:
    """(images, evaluations per image, images/s without the first batch, which compiles)."""
    generator = generator_of(experiment, score, given, pictures, count)
    parts, seconds = [], []
    for first in range(0, count, batch):
        start = time.perf_counter()
        parts.append(generator.draw(first, batch))
        seconds.append(time.perf_counter() - start)
    images = np.concatenate([part["samples"] for part in parts])[:count]
    evaluations = np.concatenate([part["evaluations"] for part in parts])[:count]
    speed = batch * (len(seconds) - 1) / sum(seconds[1:]) if len(seconds) > 1 else None
    return images, float(evaluations.mean()), speed


def _path(folder: Path, plan: Planned) -> Path:
    """The file of a cell."""
    name = f"{plan.entry.name} {plan.budget}"
    slug = "".join(c if c.isalnum() or c in KEPT else "_" for c in name)
    if len(slug) > LONGEST:
        slug = f"{slug[:LONGEST]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return folder / f"{slug}.json"


def _recalled(path: Path, identity: Identity, rank: int) -> tuple[Outcome, np.ndarray] | None:
    """The cell of `path` and its images, if it was finished with the same identity."""
    found = recall(path, identity, {"samples": (None,) * rank})
    cell = None if found is None else _as_cell(found[0].get("cell"))
    return None if found is None or cell is None else (cell, found[1]["samples"])


def _as_cell(told: Any) -> Outcome | None:
    try:
        name, *numbers, speed, lost = astuple(cell := Outcome(**told))
    except TypeError:
        return None
    known = all(isinstance(number, int | float) for number in (*numbers, speed or 0, lost))
    return cell if known and isinstance(name, str) else None


def compare(experiment: Experiment, folder: Path, log: Callable[[str], None] = print) -> int:
    """Fill FOLDER/comparison: table.md, table.json, quality.png, pictures.png; returns 0.

    cells/*.npz have the samples of every cell, for other measures. They are kept, so that the same
    command continues after a kill.
    """
    config, count = experiment.config, experiment.config.eval.num_samples
    if count < 2:
        raise ValueError(
            "eval.num_samples must be at least 2 with --mode samplers: one sample has no "
            "covariance, and so no Frechet distance"
        )
    sizes.check("eval.num_samples", count, config)
    workdir.check_model(folder, config)
    plans = list(planned(config, experiment.told))
    if all(plan.experiment is None for plan in plans):
        raise ValueError(
            f"eval.sampler_nfe={config.eval.sampler_nfe} is too few for each of eval.samplers"
        )
    score, step = load_score(experiment, folder, log)
    splits = texts.load_data(config, folder, log)
    if len(splits.train) < 2:
        raise ValueError("--mode samplers needs two training examples or more to compare with")
    pictures = handed(experiment, count, of_examples(splits.test), folder, log)
    given = of_data(experiment, splits.test, coarse=pictures is None)
    made = experiment.codec
    distance = _distance(some(splits.train, REFERENCE), made)
    held_out = some(splits.test, REFERENCE)
    floor = distance(held_out) if len(held_out) > 1 else None
    identity = {
        "step": step,
        "seed": config.seed,
        "num_samples": count,
        "distance": "frechet in principal components, 2",
        **({} if pictures is None else pictures.identity),
        **experiment.guided_by,
    }
    cells = folder / "comparison" / "cells"
    cells.mkdir(parents=True, exist_ok=True)
    log(f"comparing samplers on step {step}: {len(plans)} cells of {count} samples")
    done: list[tuple[Outcome, np.ndarray]] = []
    for plan in tqdm(plans, unit="cell", desc="samplers", disable=None):
        name, budget = plan.entry.name, plan.budget
        if plan.experiment is None:
            log(f"{name}: {budget} evaluations per sample are too few")
            continue
        path = _path(cells, plan)
        own = {**identity, "sampling": plan.experiment.config.sampling.to_dict()}
        found = _recalled(path, own, 1 + len(experiment.shape))
        if found is None:
            batch = min(config.sampling.batch_size, count)
            images, nfe, speed = _draw(plan.experiment, score, given, count, batch, pictures)
            cell = Outcome(name, budget, nfe, distance(images), speed, _not_finite(images))
            found = cell, images
            half: Arrays = {"samples": images.astype(np.float16), **STATED}
            half = half if made.of_levels else {"samples": images}
            keep(path, own, {"cell": asdict(cell)}, half)
        log(_line(found[0], count))
        done.append((found[0], found[1][:SHOWN].astype(np.float32)))
    _write(folder / "comparison", identity, floor, done, made.of_levels, log)
    log(f"wrote {folder / 'comparison'}: table.md, quality.png, pictures.png")
    return 0


def _not_finite(images: np.ndarray) -> int:
    return int((~np.isfinite(images.reshape(len(images), -1)).all(axis=1)).sum())


def _line(cell: Outcome, count: int) -> str:
    lost = f", {cell.not_finite} of {count} samples not finite" if cell.not_finite else ""
    return (
        f"{cell.sampler}: {cell.nfe:g} evaluations per sample, distance {cell.distance:.3f}{lost}"
    )


def _distance(reference: np.ndarray, made: Codec) -> Callable[[np.ndarray], float]:
    """The Frechet distance to `reference` in its own principal components.

    Pictures are as they would be saved, clipped to [0, 1]; other data are encoded. NaN are 0.

    It depends on means and covariances only, which shows whether a solver has converged, but does
    not rank models. Two sets of n images of one law are about d (d + 3) / (2 n) apart in d
    components.
    """
    clipped = lambda x: np.clip(np.nan_to_num(x), 0, 1)
    encoded = lambda x: np.nan_to_num(made.encode(x))
    as_saved = clipped if made.of_levels else encoded
    network = Components.of(as_saved(reference))
    moments = lambda images: Moments.of(np.asarray(network(jnp.asarray(images)).pool))
    own = moments(as_saved(reference))
    return lambda images: frechet(own, moments(as_saved(images)))


def _write(
    folder: Path,
    identity: dict[str, Any],
    floor: float | None,
    done: list[tuple[Outcome, np.ndarray]],
    pictured: bool,
    log: Callable[[str], None],
) -> None:
    cells = [cell for cell, _ in done]
    report = {**identity, "held_out_distance": floor, "cells": [asdict(c) for c in cells]}
    curves = {
        name: ([c.nfe for c in group], [c.distance for c in group])
        for name, group in _by_sampler(cells).items()
    }
    shown = {(cell.sampler, cell.budget): images for cell, images in done}
    label = "Frechet distance in principal components"
    files: dict[str, Content | None] = {
        "table.md": marked(_markdown(identity, floor, cells)),
        "quality.png": figures.quality_png(curves, floor, label),
        "pictures.png": figures.table_png(shown) if pictured else None,
    }
    publish(folder, files, "table.json", report, log)


def _by_sampler(cells: list[Outcome]) -> dict[str, list[Outcome]]:
    groups = itertools.groupby(cells, key=lambda cell: cell.sampler)
    return {name: list(group) for name, group in groups}


def _markdown(identity: dict[str, Any], floor: float | None, cells: list[Outcome]) -> str:
    best = "none, since there are fewer than two" if floor is None else f"{floor:.3f}"
    lines = [
        f"Step {identity['step']}, seed {identity['seed']}, {identity['num_samples']} samples per "
        "cell; NaN in them count as 0. NFE: network evaluations per sample. Distance: Frechet "
        "distance in the training examples' principal components; that of held-out examples: "
        f"{best}.",
        "",
        "| sampler | NFE | distance | not finite | samples/s |",
        "|---|---|---|---|---|",
    ]
    for cell in cells:
        speed = f"{cell.images_per_second:.1f}" if cell.images_per_second else ""
        told = cell.sampler, f"{cell.nfe:g}", f"{cell.distance:.3f}", str(cell.not_finite), speed
        lines.append(f"| {' | '.join(told)} |")
    return "\n".join(lines) + "\n"
