"""Several observations of one example, by composition of the score given each of them."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from modes.experiment import Experiment
from modes.generator import Given, make_generator
from sde_lib import ModelScore
from sde_lib.composed import Composed

SAMPLES = 1000
"""Samples given each observation, of which the covariance is estimated."""


def composed(
    experiment: Experiment,
    score: ModelScore,
    conditions: Float[np.ndarray, "n *c"],
    log: Callable[[str], None],
) -> Composed:
    """The score given all of the encoded conditions, with covariances of `SAMPLES` samples each.

    Raises ValueError for a model that cannot say what it knows without an observation.
    """
    config = experiment.config
    if not config.model.condition_dropout:
        raise ValueError(
            "sampling.together needs a model trained with model.condition_dropout above 0: the law "
            "without an observation is a part of that given several"
        )
    if experiment.recipe.coarse is not None:
        raise ValueError("sampling.together must be False for a model that is given coarse "
                         "pictures")  # fmt: skip
    if experiment.guidance_settings is not None:
        raise ValueError("sampling.guidance must be 1 with sampling.together=True")
    if config.model.num_classes:
        raise ValueError("sampling.together is for models without classes: set model.num_classes=0")
    rows = np.concatenate([conditions, np.full_like(conditions[:1], np.nan)])
    log(f"{SAMPLES} samples given each of {len(conditions)} observations, and given none, for "
        "their covariances; the composition is exact for Gaussian laws only")  # fmt: skip
    generator = make_generator(experiment, score, Given((), rows))
    flat = generator.draw(0, SAMPLES * len(rows))["samples"]
    made = experiment.codec
    encoded = np.asarray(made.encode(flat), np.float64).reshape(SAMPLES, len(rows), -1)
    covariances = [np.atleast_2d(np.cov(encoded[:, k], rowvar=False)) for k in range(len(rows))]
    precisions = jnp.asarray(np.linalg.inv(covariances), jnp.float32)
    told = lambda values: experiment.condition(None, jnp.asarray(values))
    return Composed(score, told(rows[:-1]), told(rows[-1:]), precisions[:-1], precisions[-1])
