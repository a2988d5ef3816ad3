"""Samples for evaluation, kept as integer levels with the settings that made them.

Drawing takes most of the time: a finished batch is never drawn twice, neither after a kill nor for
another metric, another extractor or a larger number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from data_lib.base import Log
from eval_lib.features.featuring import Featurer, features_of, quantize
from eval_lib.metrics import FeatureSet
from modes.generator import Generator
from runtime_lib.results import Arrays, Identity, Part, Parts, Shapes, short


@dataclass(frozen=True)
class Drawn:
    """Samples of one repeat: levels, classes if any, evaluations of each, number that had NaN."""

    pixels: np.ndarray
    labels: np.ndarray | None
    evaluations: np.ndarray
    not_finite: int


class Draws:
    """Draws of one checkpoint and sampler, and their features, in FOLDER."""

    def __init__(self, folder: Path, identity: Identity, batch: int) -> None:
        self.identity = {**identity, "batch_size": batch}
        self.folder, self.batch = folder / short(self.identity), batch
        self._parts = Parts(self.folder, self.identity)

    def _shapes(self, generator: Generator) -> Shapes:
        of_each = {"finite": (self.batch,), "evaluations": (self.batch,)}
        labels = {"labels": (self.batch,)} if generator.classes else {}
        return {"pixels": (self.batch, *generator.example), **of_each, **labels}

    def drawn(
        self, generator: Generator, first: int, total: int, levels: int | None, rule: str, log: Log
    ) -> Drawn:
        """Samples first .. first + total - 1, drawn or read back."""
        shapes, starts = self._shapes(generator), range(first, first + total, self.batch)
        draw = lambda start: _levels(generator.draw(start, self.batch), levels, rule)
        wanted = [Part(f"{start:08d}", shapes, partial(draw, start)) for start in starts]
        found = list(self._parts.each(wanted, "samples", log))
        join = lambda name: np.concatenate([part[name] for part in found])[:total]
        labels = join("labels") if "labels" in found[0] else None
        lost = int((~join("finite")).sum())
        return Drawn(join("pixels"), labels, join("evaluations"), lost)

    def features(self, featurer: Featurer, drawn: Drawn, first: int, log: Log) -> FeatureSet:
        """Features of samples first, first + 1, ..., made or read back."""
        identity = {"extractor": featurer.extractor.identity, "samples": self.identity}
        parts = Parts(self.folder / f"features_{short(identity)}", identity)
        return features_of(featurer, drawn.pixels, drawn.labels, parts, "features", log, first)


def _levels(drawn: Arrays, levels: int | None, rule: str) -> Arrays:
    samples = drawn["samples"]
    found: Arrays = {
        "pixels": quantize(samples, levels, rule),
        "finite": np.asarray(np.isfinite(samples.reshape(len(samples), -1)).all(axis=1)),
        "evaluations": drawn["evaluations"],
    }
    return found | ({"labels": drawn["labels"]} if "labels" in drawn else {})
