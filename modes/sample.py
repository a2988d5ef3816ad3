"""`--mode sample`: samples from a trained workdir, as arrays and as a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

import models
from data_lib.base import Log
from modes import sizes, stages
from modes.array_files import captions_of, read_array
from modes.conditions import of_sampling
from modes.drawing_needs import LARGE, check, drawing_needs
from modes.experiment import Experiment
from modes.generate import generate
from modes.generator import NOTHING, Generator, Given
from modes.observed import sampling_of, told
from modes.together import composed
from modes.trained import load_score
from runtime_lib import data_record, workdir
from runtime_lib.logging import speed
from sde_lib import Conditional, ModelScore


def _told(given: Given, groups: int) -> dict[str, Any]:
    """The conditions and partial examples of samples, for JSON; nothing without any."""
    partial = None if given.observed is None else given.observed.exact
    return told("conditions", given.conditions, groups) | told("partial", partial, groups)


def _beside(given: Given, pictures: stages.Handed | None, total: int) -> dict[str, np.ndarray]:
    """Arrays beside the samples in their file: captions, and coarse pictures."""
    captions = given.captions
    if captions is None and pictures is not None:
        captions = pictures.captions
    said = {} if captions is None else {"captions": np.asarray(captions)}
    return said if pictures is None else {**said, "coarse": pictures.of(total)}


def _together(
    experiment: Experiment, generator: Generator, score: ModelScore, given: Given, log: Log
) -> Generator:
    """A generator of samples given all conditions at once."""
    if given.conditions is None:
        raise ValueError("sampling.together needs a model that is given conditions")
    whole = composed(experiment, score, given.conditions, log)
    return replace(generator, score=whole, given=NOTHING, guidance=Conditional)


def _noise(experiment: Experiment, count: int) -> np.ndarray:
    """The noise of `sampling.noise`; ValueError unless there is some for every sample."""
    path = Path(experiment.config.sampling.noise)
    rows = read_array(path, "sampling.noise", ("latents", "noise"))
    rows = rows[None] if rows.shape == experiment.shape else rows
    if rows.shape[1:] != experiment.shape or len(rows) < count or not np.isfinite(rows).all():
        raise ValueError(
            f"sampling.noise must be finite numbers of shape {(count, *experiment.shape)}, got "
            f"{rows.shape}"
        )
    return rows


def _tell_needs(experiment: Experiment, log: Log) -> None:
    """Say what memory a large model needs; ValueError if that is more than there is."""
    if models.count(experiment.abstract_params()) < LARGE:
        return
    share = -(-experiment.config.sampling.batch_size // jax.device_count())
    needs = drawing_needs(experiment, share)
    log(needs.text())
    check(needs)


def _pace(report: dict[str, Any]) -> str:
    rate = report["images_per_second"]
    if rate is None:
        return ""
    note = " (compilation included)" if report["images_per_second_includes_compilation"] else ""
    return f", {speed(rate)} samples/s{note}"


def sample(experiment: Experiment, folder: Path, log: Log = print) -> int:
    """Draw `sampling.num_samples` into FOLDER/samples; returns 0."""
    config = experiment.config
    sampling = config.sampling
    given, several = of_sampling(experiment, folder, log)
    together = sampling.together
    groups = given.groups if several and not together else 0
    asked = len(captions_of(sampling.captions)) if sampling.captions else 1
    total = sampling.num_samples * (groups or asked)
    sizes.check("sampling.num_samples", total * (1 + sampling.frames), config)
    _tell_needs(experiment, log)
    score, step = load_score(experiment, folder, log)
    pictures = stages.handed(experiment, total, stages.of_stage, folder, log)
    generator = stages.generator_of(experiment, score, given, pictures, total)
    noise = _noise(experiment, total) if sampling.noise else None
    generator = replace(generator, noise=noise)
    if together:
        generator = _together(experiment, generator, score, given, log)
    identity = {
        "step": step,
        "seed": config.seed,
        "sampling": sampling_of(config),
        **_told(given, groups),
        **({} if pictures is None else pictures.identity),
        **told("negative", given.negative, 0),
        **told("noise", noise, 0),
        **experiment.guided_by,
    }
    planned = generator.planned_evaluations
    what = "conditions" if given.observed is None else "partial examples"
    each = f" for each of {groups} {what}" if groups else ""
    log(f"sampling from step {step}: {sampling.num_samples} samples{each}, "
        f"{planned or 'as many as needed'} evaluations per sample, "
        f"{jax.device_count()} {jax.default_backend()} device(s)")  # fmt: skip
    target = folder / "samples"
    with workdir.writing(target, "finished batches"):
        report = generate(
            generator,
            total,
            sampling.batch_size,
            target,
            identity,
            groups=groups,
            names=data_record.names(folder),
            beside=_beside(given, pictures, total),
            log=log,
        )
    log(f"{report['nfe']} evaluations per sample{_pace(report)}")
    log(f"wrote {target / 'samples.npz'} and {target / 'samples.png'}")
    return 0
