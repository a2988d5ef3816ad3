"""A trained model in Python: data in, a score out; samples and log-densities of it.

    model = fit(data, condition, workdir="runs/mine")      # or: model = load("runs/mine")
    samples = model.sample(1000, condition=observed)
    log_p = model.log_prob(held_out, condition=others)

A workdir of `--mode train` can be loaded. One of `fit` is that of `--config configs/arrays.py
--config.data.dataset=array` with the same settings, for every mode; those that need the data take
them from the file data.data_dir, in which they must have been saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Shaped
from ml_collections import ConfigDict

import models
from configs import arrays, schema
from configs.changed import with_settings
from configs.kinds import NONE, of_config
from configs.recorded import Recorded
from data_lib import Codec, Images
from data_lib.base import Log, hold_out
from data_lib.captions import numbered
from data_lib.levels import as_numbers
from eval_lib.likelihood import evaluator
from models.pretrained import open_checkpoint, params_of
from modes import measuring, texts
from modes.conditions import check_partial, classes_of, encoded, labels_of, negatives
from modes.experiment import LIKELIHOOD_STREAM, Experiment
from modes.from_data import resolved
from modes.generator import NOTHING, Given
from modes.guides import experiment_of
from modes.images import check_examples
from modes.observed import imputed, refuse_latents
from modes.parts import noted
from modes.problem import Problem, observed
from modes.stages import generator_of, of_arrays
from modes.together import composed
from modes.train import train
from modes.trained import load_weights
from runtime_lib.workdir import WorkdirError, read_config
from sde_lib import Conditional, ModelScore
from sde_lib.measurements.base import Operator
from sde_lib.measurements.own import own_operator
from untrusted import plain


@dataclass(frozen=True)
class Model:
    """A trained score with what it takes to use it; arrays are in the units of the data.

    score: the score of encoded data. codec: between data and encoded data. step: updates made.
    """

    experiment: Experiment
    score: ModelScore
    step: int

    @property
    def codec(self) -> Codec:
        """The map between data and what is diffused."""
        return self.experiment.codec

    def sample(
        self,
        n: int,
        condition: Shaped[np.ndarray, "..."] | None = None,
        labels: Sequence[int] = (),
        *,
        captions: str | Sequence[str] | None = None,
        negative: str | Sequence[str] = (),
        coarse: Float[np.ndarray, "..."] | None = None,
        impute: Shaped[np.ndarray, "..."] | None = None,
        together: bool = False,
        seed: int | None = None,
        batch: int = 0,
    ) -> Float[np.ndarray, "n *d"]:
        """n samples by the config's sampler, given one condition, or n of them.

        labels: classes that samples have in turn; () for all of them. captions: one, or n of them,
        in place of the condition of a model of captions. negative: likewise, of what samples are to
        be unlike, for a model with data.text_encoder. impute: one example, or several in turn, in
        which samples fill in the NaN (`sde_lib.posteriors`). together: the conditions, any number
        of them, are independent observations of one example (`sde_lib.composed`). coarse: for a
        model with a data.coarse, one coarse picture or several in turn, to which the noise of
        `sampling.coarse_level` is added. seed: by default the config's. batch: samples at a time,
        which changes no sample. ValueError for a condition of another shape, and for one that is
        missing.
        """
        if together and np.asarray(condition).ndim == len(of_config(self.experiment.config).stored):
            raise ValueError("together=True needs several conditions, of one example each")
        rows = len(np.asarray(condition)) if together else n
        config = self.experiment.config
        if captions is not None:
            condition = self._said(captions, condition)
        if together and impute is not None:
            raise ValueError("impute must be None with together=True")
        observed = None
        if impute is not None:
            refuse_latents(config, "impute")
            partial = check_partial(as_numbers(np.asarray(impute), "impute"), config, "impute")
            observed = imputed(partial, self.codec, config.sampling.impute_iterations)
        given = Given(
            labels_of(self.experiment.classes, labels), self._conditions(condition, rows), observed,
            negative=self._unlike(negative, n),
        )  # fmt: skip
        pictures = None if coarse is None else of_arrays(self.experiment, np.asarray(coarse))
        generator = generator_of(self.experiment, self.score, given, pictures, n)
        if together and given.conditions is not None:
            whole = composed(self.experiment, self.score, given.conditions, lambda line: None)
            generator = replace(generator, score=whole, given=NOTHING, guidance=Conditional)
        if seed is not None:
            generator = replace(generator, key=jax.random.key(seed))
        size = min(n, batch or config.sampling.batch_size)
        parts = [generator.draw(first, size)["samples"] for first in range(0, n, size)]
        return np.concatenate(parts)[:n]

    def reconstruct(
        self,
        y: Shaped[np.ndarray, "n *m"],
        operator: Operator | Callable[[jax.Array], jax.Array],
        n: int = 1,
        *,
        noise: float = 0.0,
        condition: Shaped[np.ndarray, "..."] | None = None,
        coarse: Float[np.ndarray, "..."] | None = None,
        labels: Sequence[int] = (),
        seed: int | None = None,
    ) -> Float[np.ndarray, "k n *d"]:
        """n samples of the posterior of each of k examples, y = A x + noise N(0, I).

        operator: A, of `sde_lib.measurements` or a function of x [b, ...] in the units of the data,
        which measures each example alone. The method is `inverse.method`: `load(workdir,
        {"inverse.method": "pigdm"})`. labels, condition, coarse: of all the examples or of each.
        ValueError for a method that the operator or the noise does not allow.
        """
        made, shape = self.experiment, self.experiment.example
        known = operator if isinstance(operator, Operator) else own_operator(operator, shape)
        rows = measuring.given(np.asarray(y), known, shape, "y")
        problem = Problem(known, rows, noise, 0.0, None, "y", {})
        given = Given(
            classes_of(made, len(problem), labels),
            self._conditions(condition, len(rows)),
            observed(problem, made),
        )
        total, low = len(rows) * n, None
        if coarse is not None:
            low = of_arrays(made, np.asarray(coarse))
        generator = generator_of(made, self.score, given, low, total)
        generator = replace(generator, denoise=True, frames=0)
        if seed is not None:
            generator = replace(generator, key=jax.random.key(seed))
        size = min(total, made.config.sampling.batch_size)
        parts = [generator.draw(first, size)["samples"] for first in range(0, total, size)]
        x = np.concatenate(parts)[:total]
        return x.reshape(n, len(rows), *shape).swapaxes(0, 1)

    def log_prob(
        self,
        x: Shaped[np.ndarray, "n *d"],
        condition: Shaped[np.ndarray, "..."] | None = None,
        labels: Shaped[np.ndarray, " n"] | None = None,
        levels: int | None = None,
    ) -> Float[np.ndarray, " n"]:
        """The log-density of each x in nats, given one condition or one for each, as `eval.*` says.

        levels: number of gray levels of integer data, whose log-probability it is.
        """
        config = self.experiment.config
        self._check_given(condition)
        rows = None if condition is None else self._rows(condition, len(x))
        images = Images(x if levels else as_numbers(x, "x"), labels, levels, condition=rows)
        check_examples(images, config, "x", levels)
        key = self.experiment.key(LIKELIHOOD_STREAM)
        made = evaluator.build(config, self.score, images, key, self.experiment.guidance)
        size = min(len(x), config.eval.batch_size)
        parts = [
            made.batch(first, min(size, len(x) - first), 0, size)["log_prob"].mean(axis=1)
            for first in range(0, len(x), size)
        ]
        return np.concatenate(parts)

    def _rows(self, condition: Shaped[np.ndarray, "..."], n: int) -> Shaped[np.ndarray, "n *c"]:
        shape = of_config(self.experiment.config).stored
        condition = as_numbers(np.asarray(condition), "condition")
        if condition.shape not in (shape, (n, *shape)):
            raise ValueError(
                f"condition must have shape {shape}, or {(n, *shape)} for one of each, got "
                f"{condition.shape}"
            )
        return np.broadcast_to(condition, (n, *shape))

    def _said(self, captions: str | Sequence[str], condition: Any) -> Shaped[np.ndarray, "..."]:
        """The condition that captions are."""
        config, data = self.experiment.config, self.experiment.config.data
        read = texts.reads_texts(config)
        if not (data.words or read) or condition is not None:
            raise ValueError("captions must be None for a model that was not trained on captions, "
                             "or with a condition")  # fmt: skip
        said = [captions] if isinstance(captions, str) else list(captions)
        rows = (texts.text_rows(config, said) if read
                else numbered(said, data.words, data.condition[0], "captions"))  # fmt: skip
        return rows[0] if isinstance(captions, str) else rows

    def _unlike(self, captions: str | Sequence[str], n: int) -> np.ndarray | None:
        """The conditions of captions of what is not wanted; None without any."""
        if not captions:
            return None
        if not texts.reads_texts(self.experiment.config):
            raise ValueError("negative must be left out for a model without data.text_encoder")
        said = [captions] if isinstance(captions, str) else list(captions)
        return negatives(self.experiment, said, n, "negative")

    def _check_given(self, condition: Any) -> None:
        kinds = of_config(self.experiment.config).words
        if (condition is None) != (kinds == NONE):
            needs = "needs a condition" if condition is None else "takes no condition"
            raise ValueError(f"the model {needs}: model.condition={kinds!r}")

    def _conditions(self, condition: Any, n: int) -> np.ndarray | None:
        self._check_given(condition)
        rows = None if condition is None else self._rows(condition, n)
        return encoded(self.experiment.config, rows)


def load(workdir: Path | str, settings: Mapping[str, Any] | None = None, log: Log = print) -> Model:
    """The newest model of a workdir, `sampling.step` and `sampling.ema` aside.

    settings: other values of sampling and evaluation, as {'sampling.num_steps': 20}. Raises
    WorkdirError for a workdir without a model, CheckpointError if its checkpoints are damaged.
    """
    folder = Path(workdir)
    saved = read_config(folder)
    if saved is None:
        raise WorkdirError(f"{folder} holds no trained model")
    config = with_settings(schema.get_default(), saved, settings or {})
    if models.is_classifier(config):
        raise WorkdirError(
            f"{folder} holds a classifier, which draws no samples: modes.classifier.load_classifier"
        )
    if models.is_autoencoder(config):
        raise WorkdirError(
            f"{folder} holds an autoencoder, which draws no samples: "
            "modes.autoencoders.load_autoencoder"
        )
    experiment = experiment_of(Recorded.of(config), None, folder, log)
    return _trained(experiment, folder, log)


def open_published(
    path: Path | str, settings: Mapping[str, Any] | None = None, log: Log = print
) -> Model:
    """The averaged model of a published checkpoint, such as a diffusers pipeline; no workdir.

    settings: other values than its own, as {'sampling.num_steps': 20}. Raises PretrainedError, a
    ValueError whose first line says why, for what cannot be opened.
    """
    asked = settings or {}

    def override(config: ConfigDict) -> None:
        config.update_from_flattened_dict(dict(asked))

    opened = open_checkpoint(path, None, override, tuple(asked))
    for line in filter(None, (opened.checkpoint.note, opened.left_out)):
        log(line)
    opened = opened._replace(config=noted(opened.config))
    experiment = Experiment.of(Recorded.of(opened.config))
    params = params_of(opened, ema=opened.checkpoint.ema is not None)
    return Model(experiment, experiment.score.with_params(params), opened.checkpoint.step)


def fit(
    data: Shaped[np.ndarray, "n *d"],
    condition: Shaped[np.ndarray, "n *c"] | None = None,
    *,
    workdir: Path | str,
    config: ConfigDict | None = None,
    settings: Mapping[str, Any] | None = None,
    log: Log = print,
) -> Model:
    """Train on arrays, resuming what the workdir holds; the trained model.

    data.test_fraction of the data are held out, by a hash of each row. NaN are missing values.

    Args:
      data: examples of any shape.
      condition: a vector for each, or an array of more axes, which are concatenated to the data.
      config: by default that of `configs/arrays.py`.
      settings: values that replace the config's, as {'training.n_iters': 5000}.

    Raises:
      ValueError, WorkdirError, CheckpointError, Diverged: as `--mode train`.
    """
    folder = Path(workdir)
    values, told = as_numbers(np.asarray(data), "data"), {"data.dataset": "array"}
    if np.isnan(values).any():
        told["data.missing"] = "mask"
    if condition is not None:
        condition = as_numbers(np.asarray(condition), "condition")
        told["model.condition"] = "vector" if condition.ndim == 2 else "image"
    if condition is not None and len(condition) != len(values):
        raise ValueError(f"condition must be one for each of {len(values)} examples, "
                         f"got {len(condition)}")  # fmt: skip
    asked = with_settings(config or arrays.get_config(), told, settings or {})
    images = Images(np.array(values), None, None, condition=condition)
    splits = hold_out(images, asked.data.test_fraction, "data")
    known, _ = resolved(Recorded.of(asked), folder, log, splits)
    experiment = experiment_of(known, splits, folder, log, mode="train")
    train(experiment, folder, log)
    if experiment.told.absent:  # now there may be earlier weights that guide
        experiment = experiment_of(known, splits, folder, log)
    return _trained(experiment, folder, log)


def _trained(experiment: Experiment, folder: Path, log: Log) -> Model:
    sampling = experiment.config.sampling
    average = 0 if sampling.ema else None
    score, step = load_weights(experiment, folder, sampling.step or None, average, log)
    log(f"{plain(str(folder))}: step {step}")
    return Model(experiment, score, step)
