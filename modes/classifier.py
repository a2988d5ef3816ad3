"""A trained or imported classifier of noisy examples, by its workdir.

    classifier = load_classifier("runs/judge")
    classifier.log_prob(x_t, t, label)          log p(label | x_t), [b]

Its gradient by x_t guides sampling; see `sde_lib.classifier`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import models
from configs import schema
from configs.recorded import Recorded
from configs.shapes import in_words
from modes.experiment import Experiment
from modes.model import with_settings
from modes.trained import load_weights
from runtime_lib.workdir import WorkdirError, read_config
from sde_lib import SDE
from sde_lib.classifier import Classifier
from untrusted import plain


def load_classifier(
    folder: Path | str,
    sde: SDE | None = None,
    *,
    shape: tuple[int, ...] = (),
    classes: int = 0,
    step: int = 0,
    ema: bool = True,
    log: Callable[[str], None] = print,
) -> Classifier:
    """The classifier of a workdir of `--mode train` or `--mode import`.

    Args:
      folder: the workdir.
      sde: that of the examples which it is to classify; None: its own.
      shape: of one such example, () for any.
      classes: fewest classes that it must know.
      step: number of updates of the checkpoint; 0: the newest.
      ema: use the averaged weights.
      log: prints a line.

    Raises:
      WorkdirError: the workdir holds nothing, or a model that is no classifier.
      ValueError: it classifies other examples, or fewer classes.
      CheckpointError: its checkpoints are missing or damaged.
    """
    folder = Path(folder)
    told = plain(str(folder))
    saved = read_config(folder)
    if saved is None:
        raise WorkdirError(f"{told} holds no trained classifier")
    config = with_settings(schema.get_default(), saved)
    if not models.is_classifier(config):
        raise WorkdirError(
            f"{told} holds a model of the data, model.name={config.model.name!r}, and no "
            "classifier, which is trained by training.objective='classification'"
        )
    experiment = Experiment.of(Recorded.of(config))
    if shape and experiment.shape != tuple(shape):
        raise ValueError(
            f"{told} classifies {in_words(experiment.shape)}, and the examples are "
            f"{in_words(tuple(shape))}"
        )
    if config.model.num_classes < classes:
        raise ValueError(
            f"{told} knows {config.model.num_classes} classes, and the model has {classes}"
        )
    model, found = load_weights(experiment, folder, step or None, 0 if ema else None, log)
    log(f"{told}: classifier of {config.model.num_classes} classes, step {found}")
    classifier = Classifier(model)
    return classifier if sde is None else classifier.on(sde)
