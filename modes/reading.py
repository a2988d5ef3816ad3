"""Settings that each mode reads, and refusal of given settings that have no effect.

Building an `Experiment` reads the settings of its objects, and `configs.recorded` notes them; so
does `rehearse`, which builds the objects of a mode. Settings that a mode reads while it runs are
listed in `READS`. A setting that was given on the command line and is in none of these has no
effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import data_lib
from configs import schema
from configs.recorded import Recorded
from data_lib import codec
from modes.experiment import Experiment

OF_THE_RUN = (
    "seed", "compiled", "cpu_tuned", "mesh.*", "training.batch_size",
    "training.n_iters", "training.n_jitted_steps", "training.log_freq", "training.eval_freq",
    "training.snapshot_freq", "training.snapshot_freq_for_preemption", "training.keep",
    "training.wandb", "training.check_memory", "training.snapshot_sampling",
    "training.profile_steps",
)  # fmt: skip
"""Settings of the machine and of training, which may be given to every mode."""
DRAWING = ("sampling.batch_size", "sampling.noise_removal", "sampling.frames")
STAGES = ("sampling.base", "sampling.base_truncated")
WEIGHTS = ("sampling.step", "sampling.ema")
IMAGES = ("eval.split", "eval.images", "eval.num_images", "eval.range", "eval.batch_size")
FEATURES = (
    "eval.extractor", "eval.weights", "eval.resize", "eval.reference", "eval.quantize",
    "eval.batch_size",
)  # fmt: skip
READS: dict[str, tuple[str, ...]] = {
    "train": ("eval.batch_size", "sampling.num_samples", *DRAWING),
    "profile": (),
    "sample": (
        "sampling.num_samples", "sampling.condition", "sampling.together",
        "sampling.labels", "sampling.impute", "sampling.impute_iterations", "sampling.captions",
        "sampling.negative", "sampling.sizes", "sampling.noise", "data.text_encoder",
        "data.tokenizer", *STAGES, *DRAWING, *WEIGHTS,
    ),
    "samplers": (
        *STAGES, *DRAWING, *WEIGHTS, "eval.samplers", "eval.sampler_nfe", "eval.num_samples",
    ),
    "eval": (
        *STAGES, *DRAWING, *WEIGHTS, *FEATURES, "eval.metrics", "eval.samples", "eval.range",
        "eval.num_samples", "eval.repeats", "eval.checkpoints", "eval.ema_rates", "eval.held_out",
        "eval.eps",
    ),
    "eval of arrays": (
        *STAGES, *DRAWING, *WEIGHTS, "eval.metrics", "eval.num_samples", "eval.conditions",
        "eval.checkpoints", "eval.ema_rates", "eval.held_out",
    ),
    "stats": FEATURES,
    "likelihood": (*WEIGHTS, *IMAGES, "eval.repeats"),
    "encode": (*WEIGHTS, *IMAGES, "eval.eps", "eval.temperature"),
    "interpolate": (*WEIGHTS, *IMAGES, "eval.eps", "eval.temperature", "eval.interpolations"),
    "reconstruct": (
        "sampling.batch_size", "sampling.labels", "sampling.condition", "inverse.input",
        "inverse.truth", "inverse.samples", "inverse.lpips", "inverse.noise", "inverse.rate",
        *STAGES, *WEIGHTS, *IMAGES,
    ),
    "measure": ("inverse.noise", "inverse.rate", "sampling.batch_size"),
    "edit": (
        "sampling.batch_size", "sampling.noise_removal", "sampling.labels", "sampling.condition",
        "sampling.captions", "sampling.negative", "sampling.sizes", "data.text_encoder",
        "data.tokenizer", "edit.input", "edit.samples", "edit.strength", "edit.mask",
        "edit.method", *WEIGHTS, *IMAGES,
    ),
    "export": WEIGHTS,
}  # fmt: skip
"""Mode -> the settings that it reads beside those that building its objects reads."""


OF_CLASSIFIERS = ("train", "profile", "stats", "export", "measure")
"""Modes that a classifier of noisy examples has."""


OF_AUTOENCODERS = ("train", "profile", "eval", "stats", "export", "measure")
"""Modes that an autoencoder has."""


def kind(mode: str, config: Any) -> str:
    """The key of a mode in `READS`, which may depend on the data."""
    arrays = f"{mode} of arrays"
    return arrays if arrays in READS and not codec.of_pictures(config.data) else mode


def _of_samples(experiment: Experiment) -> None:
    config = experiment.config
    if config.data.words and not (config.sampling.captions or config.sampling.condition):
        config.eval["split"]  # whose captions are taken


def _of_samplers(experiment: Experiment) -> None:
    from modes.entries import sampler_entries

    sampler_entries(experiment.config)


def _of_metrics(experiment: Experiment) -> None:
    from modes.evaluation import protocol
    from modes.evaluation.array_data import AskedMetrics
    from modes.evaluation.model_metrics import OF_ARRAYS, OF_THE_MODEL

    config = experiment.config
    of_levels = codec.of_pictures(config.data)
    rows = OF_THE_MODEL if of_levels else OF_ARRAYS
    for name in protocol.asked(config) if of_levels else AskedMetrics.of(experiment).model:
        for key in rows[name].settings if name in rows else ():
            config.eval[key]


def _of_likelihood(experiment: Experiment) -> None:
    from eval_lib.likelihood import estimators

    # Whether the data has levels, and its moments, are known when it has been loaded.
    config, moments = experiment.config, (np.zeros(1), np.ones(1))
    estimators.build(config, experiment.sde, 256, moments)


def _of_codes(experiment: Experiment) -> None:
    from eval_lib.likelihood.estimators import build_flow

    build_flow(experiment.config)


def _of_measurements(experiment: Experiment) -> None:
    from modes.measuring import operator_of

    operator_of(experiment.config)


def _of_reconstruction(experiment: Experiment) -> None:
    from samplers.rules.named import build_method

    build_method(experiment.config.inverse)
    _of_measurements(experiment)


REHEARSALS: dict[str, Callable[[Experiment], None]] = {
    "sample": _of_samples,
    "samplers": _of_samplers,
    "eval": _of_metrics,
    "likelihood": _of_likelihood,
    "encode": _of_codes,
    "interpolate": _of_codes,
    "reconstruct": _of_reconstruction,
    "measure": _of_measurements,
}
"""Mode -> a function that refuses bad settings of the mode, by reading them as the mode does."""


def check(mode: str, experiment: Experiment, given: Iterable[str]) -> None:
    """Refuse settings that `mode` would not read.

    Args:
      given: names of the settings that were given one by one.

    Raises:
      ValueError: one of them has no effect, or a setting of the mode is not allowed.
    """
    for is_one, modes, what in (
        (experiment.classifies, OF_CLASSIFIERS, "a classifier, which can guide one"),
        (experiment.autoencodes, OF_AUTOENCODERS, "an autoencoder, in whose latents one can be "
         "trained (data.codec=autoencoder)"),
    ):  # fmt: skip
        if is_one and mode not in modes:
            raise ValueError(
                f"--mode {mode} needs a model of the data, and model.name="
                f"{experiment.config.model.name!r} is {what}"
            )
    _of_data(experiment.config)
    REHEARSALS.get(mode, lambda experiment: None)(experiment)
    refuse_unread(mode, experiment.config, given)


def _of_data(config: Recorded) -> None:
    for key in data_lib.settings(config.data.dataset):
        config.data[key]


def is_listed(name: str, mode: str) -> bool:
    """True if `mode`, a key of `READS`, reads a setting while it runs."""
    return any(_matches(name, pattern) for pattern in (*OF_THE_RUN, *READS[mode]))


def refuse_unread(mode: str, config: Recorded, given: Iterable[str]) -> None:
    """Raise ValueError for settings among `given` that were not read and are not in `READS`."""
    row = kind(mode, config)
    known = lambda name: name in config.record.names or is_listed(name, row)
    if idle := [name for name in given if not known(name)]:
        flat = schema.flatten(config)
        raise ValueError("; ".join(_told(name, mode, flat, known) for name in idle))


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _told(name: str, mode: str, flat: dict[str, Any], known: Callable[[str], bool]) -> str:
    """'sampling.eta=0.5 has no effect with sampling.predictor='heun''."""
    by = schema.chooser(name)
    why = f"{by}={flat[by]!r}" if by and known(by) else f"--mode {mode}"
    return f"{name}={flat[name]!r} has no effect with {why}: leave it out"
