"""Samples by number, the same for any batch, any devices and any interruption of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

import samplers
from data_lib import Codec
from data_lib.conditions import build_condition
from modes import texts
from modes.experiment import SAMPLE_STREAM, Experiment
from modes.observed import Observed
from runtime_lib import sharding
from sde_lib import COMPARING, Conditional, Guidance, Score
from sde_lib.condition import Condition, Contrasted

LABEL_STREAM, COARSE_DRAWS = 2**32 - 1, 2**32 - 2
"""Numbers folded into the run's key for the classes and for the noise in coarse pictures, those of
samples that are never drawn."""


@dataclass(frozen=True, eq=False)
class Given:
    """Labels and conditions that samples get in turn: sample k labels[k % n] and conditions[k % m].

    labels: classes; () for all of them. conditions: encoded, [k, ...]; None for none.
    observed: measurements of the examples; None for none.
    captions: texts that the conditions say; None for none. negative: the conditions that guidance
    compares with in place of none, [k, ...] or [1, ...].
    """

    labels: tuple[int, ...] = ()
    conditions: np.ndarray | None = None
    observed: Observed | None = None
    captions: np.ndarray | None = None
    negative: np.ndarray | None = None

    @property
    def groups(self) -> int:
        """Number of conditions, or of measurements, that take turns; 0 without any."""
        conditions = 0 if self.conditions is None else len(self.conditions)
        return max(conditions, 0 if self.observed is None else self.observed.count)


NOTHING = Given()


@dataclass(frozen=True)
class Generator:
    """A source of samples by number: sample k depends on the key, the score and the sampler alone.

    classes: 0, or the number of classes. Each run of that many samples (0 to classes - 1, ...) has
    every class once, in a random order, so that any number of samples is balanced.
    given: the labels and conditions that samples get in turn.
    assemble: (classes or None, conditions or None, keys) -> the condition of a batch.
    guidance: (score, a batch's condition or None) -> the score that the sampler follows.
    start: (score, first, count, keys) -> the states of samples first .. first + count - 1 at the
    first time; None: draws from the prior.
    shape: of what is diffused. decoded: of a sample when it is decoded; (): the same.
    scale: factor on the draws from the prior. noise: standard normal, which sample k begins with
    the k-th of, in place of its own draw.
    """

    score: Score
    sampler: samplers.Sampler
    times: Float[Array, " n"]
    key: PRNGKeyArray
    shape: tuple[int, ...]
    codec: Codec
    denoise: bool = True
    frames: int = 0
    classes: int = 0
    given: Given = NOTHING
    assemble: Callable[[Any, Any, Any], Condition] = lambda labels, conditions, keys: labels
    guidance: Guidance = Conditional
    start: Callable[[Score, int, int, PRNGKeyArray], Array] | None = None
    decoded: tuple[int, ...] = ()
    scale: float = 1.0
    noise: Float[np.ndarray, "n *d"] | None = None

    @property
    def example(self) -> tuple[int, ...]:
        """Shape of one decoded sample."""
        return self.decoded or self.shape

    @property
    def planned_evaluations(self) -> int | None:
        """NFE per sample; None if it is known only after the run, as for adaptive solvers."""
        followed, sampler = self._followed(self.score, jnp.zeros(1, jnp.int32), 0, 1)
        plan = sampler.plan(followed, self.times)
        return samplers.planned_evaluations(followed, plan, self.denoise) if plan.nfe else None

    def _labels(self, indices: Int[Array, " b"]) -> Int[Array, " b"] | None:
        if not self.classes:
            return None
        if self.given.labels:
            return jnp.asarray(self.given.labels, jnp.int32)[indices % len(self.given.labels)]
        return _labels(jax.random.fold_in(self.key, LABEL_STREAM), indices, self.classes)

    def _condition(self, indices: Int[Array, " b"], first: int, count: int) -> Condition:
        """The condition of samples `indices`, which are first .. first + count - 1."""
        labels, mesh = self._labels(indices), sharding.mesh_of(self.score)
        keys = samplers.sample_keys(jax.random.fold_in(self.key, COARSE_DRAWS), indices)

        def assembled(conditions: np.ndarray | None) -> Condition:
            rows = _turns(conditions, first, count)
            if rows is None:
                return self.assemble(labels, None, None)
            return self.assemble(labels, sharding.distribute(rows, mesh), keys)

        told = assembled(self.given.conditions)
        if self.given.negative is None:
            return told
        return Contrasted(told, assembled(self.given.negative))

    def _followed(
        self, score: Score, indices: Int[Array, " b"], first: int, count: int
    ) -> tuple[Score, samplers.Sampler]:
        """The score and the sampler that samples first .. first + count - 1 follow."""
        followed = self.guidance(score, self._condition(indices, first, count))
        observed = self.given.observed
        if observed is None:
            return followed, self.sampler
        place = partial(sharding.distribute, mesh=sharding.mesh_of(self.score))
        measurement = observed.of(np.arange(first, first + count) % observed.count, place)
        return observed.method(followed, self.sampler, measurement)

    def _decoded(self, x: Float[np.ndarray, "n *d"], first: int) -> Float[np.ndarray, "n *d"]:
        """Samples from `first` on in the units of the data; values that are known are exact."""
        found, observed = self.codec.decode(x), self.given.observed
        known = None if observed is None else _turns(observed.exact, first, len(x))
        return found if known is None else np.where(np.isfinite(known), known, found)

    def _start(
        self, score: Score, first: int, count: int, keys: PRNGKeyArray
    ) -> Float[Array, "b *d"] | None:
        """The states that samples first .. first + count - 1 begin with; None: of the prior."""
        if self.noise is None:
            return None if self.start is None else self.start(score, first, count, keys)
        if first >= len(self.noise):
            raise ValueError(
                f"sampling.noise has noise for {len(self.noise)} samples, and more are drawn"
            )
        rows = self.noise[np.minimum(np.arange(first, first + count), len(self.noise) - 1)]
        z = sharding.distribute(rows.astype(np.float32), sharding.mesh_of(self.score))
        return self.scale * score.sde.prior_std * z

    def draw(self, first: int, count: int) -> dict[str, np.ndarray]:
        """Samples first .. first + count - 1 as {samples [n, ...], decoded by the codec, ...}.

        `evaluations` [n] has the NFE of each; `labels` [n] is there for a model of classes,
        `frames` [f, n, ...] if requested.
        """
        mesh = sharding.mesh_of(self.score)
        padded = -count % mesh.size + count
        indices = sharding.distribute(np.arange(first, first + padded, dtype=np.int32), mesh)
        keys = samplers.sample_keys(self.key, indices)
        labels, score = self._labels(indices), sharding.on_mesh(self.score, mesh)
        drawn = samplers.sample(
            *self._followed(score, indices, first, padded),
            self.times,
            keys,
            shape=self.shape,
            start=self._start(score, first, padded, keys),
            scale=self.scale,
            denoise=self.denoise,
            frames=self.frames,
        )
        result = {
            "samples": self._decoded(sharding.collect(drawn.x)[:count], first),
            "evaluations": sharding.collect(drawn.evaluations)[:count],
        }
        if labels is not None:
            result["labels"] = sharding.collect(labels)[:count]
        if drawn.frames is not None:
            result["frames"] = self.codec.decode(sharding.collect(drawn.frames)[:, :count])
        return result


def _turns(rows: np.ndarray | None, first: int, count: int) -> np.ndarray | None:
    """The rows that samples first .. first + count - 1 get, in turn."""
    return None if rows is None else rows[np.arange(first, first + count) % len(rows)]


@partial(jax.jit, static_argnums=2)
def _labels(key: PRNGKeyArray, indices: Int[Array, " b"], classes: int) -> Int[Array, " b"]:
    """Classes such that each run of `classes` indices has all of them, in a random order."""

    def label(index: Int[Array, ""]) -> Int[Array, ""]:
        round_key = jax.random.fold_in(key, index // classes)
        return jax.random.permutation(round_key, classes)[index % classes]

    return jax.vmap(label)(indices)


def compared(experiment: Experiment, given: Given) -> np.ndarray | None:
    """The conditions that guidance compares with; those of no text for a model that reads texts."""
    config = experiment.config
    compares = config.sampling.guidance_kind in COMPARING
    unguided = experiment.guidance is Conditional or given.conditions is None or not compares
    if unguided or given.negative is not None or not texts.reads_texts(config):
        return given.negative
    rows = texts.text_rows(config, [None], against=True)
    return build_condition(config).encode(rows).astype(np.float32)


def make_generator(experiment: Experiment, score: Score, given: Given = NOTHING) -> Generator:
    """The generator of the config's samples from a trained score.

    Raises ValueError if the model is given conditions, and there are none.
    """
    config = experiment.config
    if config.model.condition != "none" and given.conditions is None:
        raise ValueError(
            f"the model is given conditions (model.condition={config.model.condition!r}), and "
            "there are none for its samples"
        )
    given = replace(given, negative=compared(experiment, given))
    followed, sampler = experiment.followed(score), experiment.sampler
    if given.observed is not None:
        first = given.observed.of(np.zeros(1, int), jnp.asarray)
        followed, sampler = given.observed.method(followed, sampler, first)
    times = samplers.build_times(config.sampling, followed, config.sde.num_scales, sampler)
    return Generator(
        score,
        experiment.sampler,
        times,
        experiment.key(SAMPLE_STREAM),
        experiment.shape,
        experiment.codec,
        denoise=config.sampling.noise_removal,
        frames=config.sampling.frames,
        classes=experiment.classes,
        given=given,
        assemble=experiment.condition,
        guidance=experiment.sampled,
        decoded=experiment.example,
        scale=samplers.start_scale(config.sampling, followed, times),
    )
