"""Log-probabilities of many images: in batches over all devices, resumable after a kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from configs import defaults
from data_lib import Images
from data_lib.conditions import rows_of
from eval_lib.likelihood import estimators
from eval_lib.likelihood.data_law import DataLaw
from eval_lib.likelihood.estimators import Estimate, Estimator
from runtime_lib import batches, sharding
from runtime_lib.results import Arrays, Identity, Part, Parts
from sde_lib import Guidance, Score
from sde_lib.coarse import assembly
from sde_lib.condition import Condition

SETTINGS = ("split", "images", "num_images", "likelihood", "units", "repeats", "eps",
            *defaults.CHOICES["eval.likelihood"])  # fmt: skip
"""Settings of the `eval` section that likelihoods depend on."""
NO_LAW = DataLaw()
COARSE_STREAM = 2**32 - 1
"""Number folded into an image's key for the noise in its coarse picture."""


@jax.jit
def estimate_batch(estimator: Estimator, score: Score, data: Array, keys: PRNGKeyArray) -> Estimate:
    """Apply `estimator` to a batch in one compiled program; numbers in it recompile nothing.

    The evaluations returned are those of the network.
    """
    found = estimator(score, data, keys)
    return replace(found, evaluations=found.evaluations * score.evaluations)


@dataclass(frozen=True)
class Evaluator:
    """Log-probabilities by number: those of image k depend on its number, the key and the score.

    They are those of the score under `guidance`, given the condition that `assemble` makes of the
    images' labels, if it is `labelled`, and of the rows that `encode` makes of them. The batch,
    the devices and interruptions of a run change only round-off.
    """

    score: Score
    estimator: Estimator
    images: Images
    key: PRNGKeyArray
    guidance: Guidance
    labelled: bool
    assemble: Callable[[Any, Any, Any], Condition]
    encode: Callable[[Images], np.ndarray | None]
    """None of images for a model that is given no condition beside labels."""

    def batch(self, first: int, count: int, repeat: int, size: int) -> Arrays:
        """Log-probabilities of images first .. first + count - 1.

        {log_prob [n, p], evaluations [n], terms [n]}.

        `size` >= count is the compiled program's; it is rounded up to the devices.
        """
        mesh = sharding.mesh_of(self.score)
        numbers = batches.numbers(first, size, len(self.images), mesh.size)
        part = self.images.take(numbers)
        put = lambda x: sharding.distribute(x, mesh)
        data = put(part.pixels.astype(np.int32 if part.levels else np.float32))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.fold_in(self.key, repeat), put(jnp.asarray(numbers))
        )
        labels = put(jnp.asarray(part.labels)) if self.labelled else None
        rows = self.encode(part)
        of_rows = jax.vmap(jax.random.fold_in, (0, None))(keys, COARSE_STREAM)
        condition = self.assemble(labels, None if rows is None else put(rows), of_rows)
        score = self.guidance(sharding.on_mesh(self.score, mesh), condition)
        found = estimate_batch(self.estimator, score, data, keys)
        arrays = {"log_prob": found.log_prob, "evaluations": found.evaluations, **found.terms}
        return {name: sharding.collect(value)[:count] for name, value in arrays.items()}


def evaluate_images(
    evaluator: Evaluator,
    repeats: int,
    batch: int,
    parts: Parts,
    log: Callable[[str], None] = print,
) -> Arrays:
    """Evaluate all images `repeats` times: log_prob [r, n, p], evaluations and terms [r, n].

    Every image occurs once per repeat. Finished batches are kept in `parts`.
    """
    total = len(evaluator.images)
    batch = batches.even(total, batch)
    starts = [(repeat, first) for repeat in range(repeats) for first in range(0, total, batch)]

    def part(repeat: int, first: int) -> Part:
        count = min(batch, total - first)
        shapes = {"log_prob": (count, None), "evaluations": (count,)}
        make = lambda: evaluator.batch(first, count, repeat, batch)
        return Part(f"{repeat:03d}_{first:08d}", shapes, make)

    found = list(parts.each([part(*start) for start in starts], "likelihood", log))
    several = len(starts) // repeats
    passes = [found[k : k + several] for k in range(0, len(found), several)]
    join = lambda name: np.stack(
        [np.concatenate([arrays[name] for arrays in one]) for one in passes]
    ).astype(np.float64)
    return {name: join(name) for name in found[0]}


def build(
    config: Any, score: Score, images: Images, key: PRNGKeyArray, guidance: Guidance,
    law: DataLaw = NO_LAW,
) -> Evaluator:  # fmt: skip
    """The evaluator of `images` for a config.

    law: the training data's, which gives the prior mismatch at T; without it there is none.
    Raises ValueError for what the data or the model does not have.
    """
    estimator = estimators.build(config, score.sde, images.levels, law.moments)
    labelled = config.model.num_classes > 0
    assemble, encode = assembly(config), partial(rows_of, config)
    return Evaluator(score, estimator, images, key, guidance, labelled, assemble, encode)


def settings(config: Any, guidance: Any) -> Identity:
    """Settings on which likelihoods depend, beside the model and the images, for JSON.

    guidance: settings of the guidance, None without one.
    """
    listed, sampling = config.eval.to_dict(), config.sampling.to_dict()
    coarse = {"coarse_level": sampling["coarse_level"]} if tuple(config.data.coarse) else {}
    return {
        "seed": config.seed,
        **coarse,
        "ancestral_variance": sampling["ancestral_variance"],
        "given_classes": config.model.num_classes > 0,
        "guidance": guidance,
        "eval": {name: listed[name] for name in SETTINGS},
    }
