"""`--mode samplers`: a table of samplers x NFE on one model, to choose from by looking.

`eval.samplers` names them, separated by semicolons, each with settings of its own from the
`sampling` section: "unipc; heun grid=log_snr; euler_maruyama corrector=langevin". Every one is
run at each of `eval.sampler_nfe` evaluations per image; one that says itself how long it takes
(num_steps=..., or a solver that chooses its own steps) is run once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

import samplers
from configs import command_line
from eval_lib import figures
from eval_lib.features.extractors import Components, some
from eval_lib.metrics import Moments, frechet
from modes import sizes
from modes.experiment import Experiment
from modes.generate import STATED, make_generator
from modes.trained import load_score
from runtime_lib import data_record
from runtime_lib.files import Content
from runtime_lib.results import Arrays, Identity, keep, marked, publish, recall
from sde_lib import ModelScore

SHOWN = 16
"""Images of each cell in the picture."""
REFERENCE = 5000
"""Images of the dataset that samples are compared with, at most."""


@dataclass(frozen=True)
class Candidate:
    """A sampler of the table: what the user wrote, and the config that it means."""

    name: str
    config: ConfigDict

    @property
    def has_own_length(self) -> bool:
        """Whether it is run once, and not at every budget."""
        sampling = self.config.sampling
        return bool(samplers.build(sampling).adaptive or sampling.num_steps)


@dataclass(frozen=True)
class Outcome:
    """One sampler at one budget (0: its own length): evaluations per image, distance, speed."""

    sampler: str
    budget: int
    nfe: float
    distance: float
    images_per_second: float | None


def entries(config: ConfigDict) -> list[Candidate]:
    """What `eval.samplers` asks for. Raises ValueError for what cannot be understood."""
    found = [_entry(config, text) for text in config.eval.samplers.split(";") if text.strip()]
    if not found:
        raise ValueError("eval.samplers must name at least one sampler, such as 'unipc; heun'")
    return found


def _entry(config: ConfigDict, text: str) -> Candidate:
    predictor, *others = text.split()
    pairs = [other.partition("=") for other in others]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise ValueError(
            f"eval.samplers must be names with key=value after them, got {wrong[0]!r} in {text!r}"
        )
    own = config.copy_and_resolve_references()
    own.sampling.update({"num_steps": 0, "nfe": 0, "frames": 0, "corrector": "none"})
    settings = {"sampling.predictor": predictor}
    settings |= {f"sampling.{key}": value for key, _, value in pairs}
    command_line.override(own, settings)
    return Candidate(" ".join(text.split()), own)


def _budgets(entry: Candidate, config: ConfigDict) -> tuple[int, ...]:
    return (0,) if entry.has_own_length else tuple(config.eval.sampler_nfe)


def _experiments(config: ConfigDict) -> Iterator[tuple[Candidate, int, Experiment | None]]:
    """Every cell's experiment, None where the budget is too small for the sampler."""
    for entry in entries(config):
        samplers.build(entry.config.sampling)
        for budget in _budgets(entry, config):
            entry.config.sampling.nfe = budget
            try:
                yield entry, budget, Experiment.of(entry.config)
            except samplers.BudgetError:
                yield entry, budget, None
            except ValueError as error:
                raise ValueError(f"eval.samplers, {entry.name!r}: {error}") from error


def _draw(
    experiment: Experiment, score: ModelScore, count: int, batch: int
) -> tuple[np.ndarray, float, float | None]:
    """(images, evaluations per image, images/s without the first batch, which compiles)."""
    generator = make_generator(experiment, score)
    parts, seconds = [], []
    for first in range(0, count, batch):
        start = time.perf_counter()
        parts.append(generator.draw(first, batch))
        seconds.append(time.perf_counter() - start)
    images = np.concatenate([part["samples"] for part in parts])[:count]
    evaluations = np.concatenate([part["evaluations"] for part in parts])[:count]
    speed = batch * (len(seconds) - 1) / sum(seconds[1:]) if len(seconds) > 1 else None
    return images, float(evaluations.mean()), speed


def _recalled(path: Path, identity: Identity) -> tuple[Outcome, np.ndarray] | None:
    """The cell of `path` and its images, if it was finished under the same identity."""
    found = recall(path, identity, {"samples": (None,) * 4})
    cell = None if found is None else _as_cell(found[0].get("cell"))
    return None if found is None or cell is None else (cell, found[1]["samples"])


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _as_cell(told: Any) -> Outcome | None:
    try:
        name, *numbers, speed = astuple(cell := Outcome(**told))
    except TypeError:
        return None
    known = all(isinstance(number, int | float) for number in (*numbers, speed or 0))
    return cell if known and isinstance(name, str) else None


def compare(experiment: Experiment, folder: Path, log: Callable[[str], None] = print) -> int:
    """Fill FOLDER/comparison: table.md, table.json, quality.png, pictures.png; returns 0.

    cells/*.npz have the samples of every cell, for a measure of one's own. They are kept, so that
    the same command after a kill goes on where it was.
    """
    config = experiment.config
    sizes.check("eval.num_samples", config.eval.num_samples, config)
    plans = list(_experiments(config))
    score, step = load_score(experiment, folder, log)
    splits = data_record.load(config, folder, log)
    distance = _distance(some(splits.train, REFERENCE))
    floor = distance(some(splits.test, REFERENCE))
    identity = {
        "step": step,
        "seed": config.seed,
        "num_samples": config.eval.num_samples,
        "distance": "frechet in principal components, 2",
    }
    cells = folder / "comparison" / "cells"
    cells.mkdir(parents=True, exist_ok=True)
    count = config.eval.num_samples
    log(f"comparing samplers on step {step}: {len(plans)} cells of {count} images")
    done: list[tuple[Outcome, np.ndarray]] = []
    for entry, budget, plan in tqdm(plans, unit="cell", desc="samplers", disable=None):
        entry.config.sampling.nfe = budget
        if plan is None:
            log(f"{entry.name}: {budget} evaluations are too few")
            continue
        path = cells / f"{_slug(entry.name)}_{budget}.json"
        own = {**identity, "sampling": entry.config.sampling.to_dict()}
        found = _recalled(path, own)
        if found is None:
            batch = min(config.sampling.batch_size, count)
            images, nfe, speed = _draw(plan, score, count, batch)
            cell = Outcome(entry.name, budget, nfe, distance(images), speed)
            found = cell, images
            half: Arrays = {"samples": images.astype(np.float16), **STATED}
            keep(path, own, {"cell": asdict(cell)}, half)
        log(f"{found[0].sampler}: {found[0].nfe:g} evaluations, distance {found[0].distance:.3f}")
        done.append((found[0], found[1][:SHOWN].astype(np.float32)))
    _write(folder / "comparison", identity, floor, done, log)
    log(f"wrote {folder / 'comparison'}: table.md, quality.png, pictures.png")
    return 0


def _distance(reference: np.ndarray) -> Callable[[np.ndarray], float]:
    """The Frechet distance to `reference` in its own principal components, of images as they would
    be saved: clipped to [0, 1], NaN black.

    It sees means and covariances only: good for telling which solver has converged, not for
    comparing models; two sets of n images of one law are about d (d + 3) / (2 n) apart in d
    components.
    """
    network = Components.of(reference)
    moments = lambda images: Moments.of(np.asarray(network(images).pool))
    own = moments(reference)
    return lambda images: frechet(own, moments(np.clip(np.nan_to_num(images), 0, 1)))


def _write(
    folder: Path,
    identity: dict[str, Any],
    floor: float,
    done: list[tuple[Outcome, np.ndarray]],
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
        "pictures.png": figures.table_png(shown),
    }
    publish(folder, files, "table.json", report, log)


def _by_sampler(cells: list[Outcome]) -> dict[str, list[Outcome]]:
    groups = itertools.groupby(cells, key=lambda cell: cell.sampler)
    return {name: list(group) for name, group in groups}


def _markdown(identity: dict[str, Any], floor: float, cells: list[Outcome]) -> str:
    lines = [
        f"Step {identity['step']}, seed {identity['seed']}, {identity['num_samples']} images a "
        "cell. Distance: Frechet, in the training images' principal components; held-out images: "
        f"{floor:.3f}.",
        "",
        "| sampler | NFE | distance | images/s |",
        "|---|---|---|---|",
    ]
    for cell in cells:
        speed = f"{cell.images_per_second:.1f}" if cell.images_per_second else ""
        lines.append(f"| {cell.sampler} | {cell.nfe:g} | {cell.distance:.3f} | {speed} |")
    return "\n".join(lines) + "\n"
