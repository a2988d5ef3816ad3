"""Metrics of the score itself, without samples: each a function and a row in `OF_THE_MODEL`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import data_lib
from data_lib.base import Log
from data_lib.conditions import rows_of
from data_lib.transforms import to_unit
from eval_lib import noise_error
from eval_lib.likelihood import evaluator
from eval_lib.likelihood.summary import summary
from eval_lib.metrics import Numbers
from modes.autoencoders import LATENT
from modes.experiment import LIKELIHOOD_STREAM, Experiment
from modes.images import chosen, identity
from modes.latent_data import drawn
from runtime_lib.results import Parts
from sde_lib import ModelScore

Curves = Mapping[str, list[float]]
SPLITS = ("held_out", "train")


@dataclass(frozen=True)
class Subject:
    """A trained score, the data, and the workdir, in which finished parts may be kept."""

    experiment: Experiment
    score: ModelScore
    splits: data_lib.Splits
    folder: Path
    log: Log


@dataclass(frozen=True)
class ModelMetric:
    """A metric of a trained score.

    Attributes:
      compute: trained -> (numbers, curves), by name.
      headline: names of numbers that are printed.
      in_all: whether it is part of `eval.metrics=all`; slow ones must be asked for by name.
      settings: settings of the `eval` section on which it depends, for the report.
    """

    compute: Callable[[Subject], tuple[Numbers, Curves]]
    headline: tuple[str, ...] = ()
    in_all: bool = True
    settings: tuple[str, ...] = ()


def _noise_errors(trained: Subject) -> tuple[Numbers, Curves]:
    """Error of the noise predicted by the network, unguided, by log-SNR."""
    config, score = trained.experiment.config, trained.score
    times, log_snr = noise_error.levels(score, config.eval.eps or score.sde.t_min or 1e-5)
    curves = {"log_snr": np.asarray(log_snr, float).tolist()}
    for name, images in (("held_out", trained.splits.test), ("train", trained.splits.train)):
        labels = images.labels if config.model.num_classes else None
        told = trained.experiment.condition(labels, rows_of(config, images))
        x0 = _encoded(trained.experiment, images.take(slice(noise_error.MOST)))
        key = trained.experiment.key(LIKELIHOOD_STREAM)
        errors = noise_error.curve(score, x0, told, times, key, config.eval.batch_size)
        curves[name] = errors.tolist()
    means = {f"noise_error_{name}": float(np.mean(curves[name])) for name in SPLITS}
    return {k: e if np.isfinite(e) else "it is not finite" for k, e in means.items()}, curves


def _encoded(experiment: Experiment, images: data_lib.Images) -> np.ndarray:
    """Examples as they are diffused; latents are drawn."""
    if experiment.config.data.codec == LATENT:
        return drawn(experiment.config, images)
    return experiment.codec.encode(to_unit(images.pixels, images.levels))


def _bits_per_dim(trained: Subject) -> tuple[Numbers, Curves]:
    """Mean bits per dimension of `eval.split`, with its standard error, as in `--mode likelihood`.

    Only parts in FOLDER/likelihood are written.
    """
    told = _log_probs(trained)
    bits, error = told["bits_per_dim"], told["bits_per_dim"]["standard_error"]
    return {
        "bits_per_dim": bits["mean"],
        "bits_per_dim_standard_error": "it needs 2 images" if error is None else error,
        "bits_per_dim_images_not_finite": told["not_finite"],
    }, {}


def _log_prob(trained: Subject) -> tuple[Numbers, Curves]:
    """Mean log-density of `eval.split` in nats, given conditions if the model is given them."""
    told = _log_probs(trained)
    error = told["nats"]["standard_error"]
    return {
        "log_prob": told["nats"]["mean"],
        "log_prob_standard_error": "it needs 2 examples" if error is None else error,
    }, {}


def _log_probs(trained: Subject) -> dict[str, Any]:
    """The summary of the log-probabilities of `eval.split`."""
    experiment, log = trained.experiment, trained.log
    config = experiment.config
    images, name = chosen(config, trained.splits, log)
    key, guidance = experiment.key(LIKELIHOOD_STREAM), experiment.guidance
    built = evaluator.build(config, trained.score, images, key, guidance)
    settings = {**identity(images, name),
                **evaluator.settings(config, experiment.guidance_settings)}  # fmt: skip
    batch = config.eval.batch_size
    parts = Parts(trained.folder / "likelihood", {**settings, "batch_size": batch})
    found = evaluator.evaluate_images(built, config.eval.repeats, batch, parts, log)
    return summary(found, images.pixels[0].size, images.levels)


OF_THE_MODEL: dict[str, ModelMetric] = {
    "noise_error": ModelMetric(_noise_errors),
    "bits_per_dim": ModelMetric(
        _bits_per_dim, headline=("bits_per_dim",), in_all=False, settings=evaluator.SETTINGS
    ),
}
OF_ARRAYS: dict[str, ModelMetric] = {
    "log_prob": ModelMetric(
        _log_prob, headline=("log_prob",), in_all=False, settings=evaluator.SETTINGS
    ),
}
"""Metrics of the score for data that are no pictures of gray levels."""
