"""Samples for evaluation, kept as integer levels with the settings that made them.

Drawing is what costs: a finished batch is never drawn twice, neither after a kill nor for another
metric, another extractor or a larger number of samples.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_lib.base import Log, patient
from eval_lib.features.featuring import Featurer, features_of, quantize
from eval_lib.metrics import FeatureSet
from modes.generate import Generator
from runtime_lib.results import Arrays, Identity, Parts, Shapes, plain


def short(identity: Identity) -> str:
    """A name for an identity."""
    text = json.dumps(plain(identity), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Drawn:
    """Samples of one repeat: levels, classes if any, and evaluations of each; how many had NaN."""

    pixels: np.ndarray
    labels: np.ndarray | None
    evaluations: np.ndarray
    not_finite: int


class Store:
    """Draws of one checkpoint and sampler, and features of them, in FOLDER."""

    def __init__(self, folder: Path, identity: Identity, batch: int) -> None:
        self.identity = {**identity, "batch_size": batch}
        self.folder, self.batch = folder / short(self.identity), batch
        self._parts = Parts(self.folder, self.identity)

    def _shapes(self, generator: Generator) -> Shapes:
        of_each = {"finite": (self.batch,), "evaluations": (self.batch,)}
        labels = {"labels": (self.batch,)} if generator.classes else {}
        return {"pixels": (self.batch, *generator.shape), **of_each, **labels}

    def _starts(self, first: int, total: int) -> range:
        return range(first, first + total, self.batch)

    def drawn(
        self, generator: Generator, first: int, total: int, levels: int | None, rule: str, log: Log
    ) -> Drawn:
        """Samples first .. first + total - 1, drawn or read back."""
        starts = self._starts(first, total)
        if done := self._parts.done([_name(start) for start in starts]):
            log(f"{done} of {len(starts)} batches were drawn before")
        tell, found, shapes = patient(log), [], self._shapes(generator)
        bar = tqdm(starts, unit="batch", desc="samples", disable=None)
        for start in bar:
            arrays = self._parts.get(_name(start), shapes)
            if arrays is None:
                arrays = _levels(generator.draw(start, self.batch), levels, rule)
                self._parts.put(_name(start), arrays)
            found.append(arrays)
            if bar.disable:
                tell(f"samples: {min(start - first + self.batch, total)} of {total}")
        join = lambda name: np.concatenate([part[name] for part in found])[:total]
        labels = join("labels") if "labels" in found[0] else None
        lost = int((~join("finite")).sum())
        return Drawn(join("pixels"), labels, join("evaluations"), lost)

    def features(self, featurer: Featurer, drawn: Drawn, first: int, log: Log) -> FeatureSet:
        """Features of samples first, first + 1, ..., made or read back."""
        identity = {"extractor": featurer.extractor.identity, "samples": self.identity}
        parts = Parts(self.folder / f"features_{short(identity)}", identity)
        return features_of(featurer, drawn.pixels, drawn.labels, parts, "features", log, first)


def _name(start: int) -> str:
    return f"{start:08d}"


def _levels(drawn: Arrays, levels: int | None, rule: str) -> Arrays:
    samples = drawn["samples"]
    found: Arrays = {
        "pixels": quantize(samples, levels, rule),
        "finite": np.asarray(np.isfinite(samples.reshape(len(samples), -1)).all(axis=1)),
        "evaluations": drawn["evaluations"],
    }
    return found | ({"labels": drawn["labels"]} if "labels" in drawn else {})
