"""Guidances by their names in configs.

A new one is one class and one row in `GUIDANCE`. A row is a class or a function, whose parameters
are the settings that it takes (`tables.made`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp

from configs.kinds import hidden_of, kinds_of
from configs.names import PUBLISHED_PREDICTORS, choose
from sde_lib.autoguidance import Autoguidance
from sde_lib.build import build_parametrization
from sde_lib.combinations import (
    Combination,
    FirstChannels,
    Mixed,
    Projected,
    Renoised,
    Rescaled,
    Thresholded,
)
from sde_lib.condition import CONDITIONS, Condition, label_of, null_of, told_of
from sde_lib.guidance import ClassifierFree, Embedded, Guidance
from sde_lib.likelihood_guidance import LikelihoodGuidance, LogDensity, MeanShift
from sde_lib.parametrization import Prediction
from sde_lib.score import Conditional, Score
from sde_lib.tables import made, parameters

Section = Any
"""A config, or a section of one: an ml_collections ConfigDict."""


@dataclass(frozen=True)
class Told:
    """Facts for guidance beside settings.

    Attributes:
      conditional: whether the model is given classes or conditions.
      hidden: whether these were hidden from it in a part of its training.
      kept: parts of the condition that never were.
      embedded: whether the network is told the weight of guidance.
      guide: another score of the same process, and whether it is given the condition.
      log_density: log p(y | x), and the number of classes that it knows, 0 if it is given none.
      identity: words and hashes of both, recorded with results.
      absent: whether they are not there yet and nothing needs them; guidance then does nothing.
    """

    conditional: bool = False
    hidden: bool = False
    kept: tuple[str, ...] = ()
    embedded: bool = False
    guide: Score | None = None
    guide_conditional: bool = False
    log_density: LogDensity | None = None
    classes: int = 0
    identity: tuple[tuple[str, Any], ...] = ()
    absent: bool = False


ALONE, ABSENT = Told(), Told(absent=True)


def _numbers(*values: float) -> list[Any]:
    """Arrays, so that other numbers need no other program."""
    return [jnp.asarray(v, jnp.float32) for v in values]


def _strength(weight: float, least: float, most: float) -> tuple[Any, Any, Any]:
    """Weight and interval; ValueError for an interval that is empty."""
    if least >= most:
        raise ValueError("sampling.guidance_min must be below sampling.guidance_max")
    one, two, three = _numbers(weight, least, most)
    return one, two, three


def _check_both(told: Told, asked: str) -> None:
    """Raise ValueError for a model that has no prediction without its class or condition."""
    if not told.conditional:
        raise ValueError(
            f"{asked} needs a model of classes or conditions: set model.num_classes or "
            "model.condition, and model.label_dropout or model.condition_dropout to train it"
        )
    if not told.hidden:
        raise ValueError(
            f"{asked} compares with the prediction without a class or condition, which this model "
            "was never trained for: train it with model.label_dropout or model.condition_dropout "
            "above 0"
        )


def _two(
    combination: Combination, told: Told, guidance: float, least: float, most: float,
    neutral: float = 1.0, momentum: float = 0.0,
) -> Guidance:  # fmt: skip
    """Guidance by predictions with and without a condition."""
    strength = _strength(guidance + 1 - neutral, least, most)
    if guidance == neutral:
        return Conditional
    _check_both(told, f"sampling.guidance={guidance}")
    kept = _numbers(momentum)[0] if momentum else None

    def guide(score: Score, condition: Condition) -> Score:
        both = told_of(condition), null_of(condition, told.kept)
        return ClassifierFree(score, *both, *strength, combination, kept)

    return guide


def _classifier_free(
    told: Told, guidance: float, guidance_min: float, guidance_max: float
) -> Guidance:
    return _two(Mixed(), told, guidance, guidance_min, guidance_max)


def _classifier_free_omega(
    told: Told, guidance: float, guidance_min: float, guidance_max: float
) -> Guidance:
    return _two(Mixed(), told, guidance, guidance_min, guidance_max, neutral=0.0)


def _first_channels(
    told: Told, guidance: float, guidance_min: float, guidance_max: float, guidance_channels: int
) -> Guidance:
    combination = FirstChannels(guidance_channels)
    return _two(combination, told, guidance, guidance_min, guidance_max)


def _rescaled(
    told: Told, guidance: float, guidance_min: float, guidance_max: float, guidance_rescale: float,
    prediction: Callable[[], Prediction],
) -> Guidance:  # fmt: skip
    combination = Rescaled(_numbers(guidance_rescale)[0], prediction())
    return _two(combination, told, guidance, guidance_min, guidance_max)


def _thresholded(
    told: Told, guidance: float, guidance_min: float, guidance_max: float,
    guidance_quantile: float, data: Section,
) -> Guidance:  # fmt: skip
    if data.codec != "levels":
        raise ValueError("sampling.guidance_kind='thresholded' clips gray levels: it needs "
                         f"data.codec='levels', got {data.codec!r}")  # fmt: skip
    ends = (0.0, 1.0) if data.centered else (0.5, 0.5)
    combination = Thresholded(*_numbers(guidance_quantile, *ends))
    return _two(combination, told, guidance, guidance_min, guidance_max)


def _apg(
    told: Told, guidance: float, guidance_min: float, guidance_max: float,
    guidance_parallel: float, guidance_radius: float, guidance_momentum: float,
) -> Guidance:  # fmt: skip
    combination = Projected(*_numbers(guidance_parallel, guidance_radius))
    strength = guidance, guidance_min, guidance_max
    return _two(combination, told, *strength, momentum=guidance_momentum)


def _embedded(told: Told, guidance: float, guidance_min: float, guidance_max: float) -> Guidance:
    if not told.embedded:
        raise ValueError(
            "sampling.guidance_kind='embedded' tells the network the weight of guidance, and this "
            "one is not told it (model.guidance_features is 0): use 'classifier_free'"
        )
    strength = _strength(guidance, guidance_min, guidance_max)
    return lambda score, condition: Embedded(score, told_of(condition), *strength)


def _cfg_pp(
    told: Told, guidance: float, guidance_min: float, guidance_max: float, predictor: str,
    corrector: str,
) -> Guidance:  # fmt: skip
    if (predictor, corrector) != ("ddim", "none"):
        raise ValueError(
            "sampling.guidance_kind='cfg_pp' changes the step of sampling.predictor='ddim' without "
            f"a corrector, got {predictor!r} and {corrector!r}"
        )
    strength = _strength(guidance, guidance_min, guidance_max)
    _check_both(told, "sampling.guidance_kind='cfg_pp'")

    def guide(score: Score, condition: Condition) -> Score:
        both = told_of(condition), null_of(condition, told.kept)
        return ClassifierFree(score, *both, *strength, Renoised())

    return guide


def _autoguidance(
    told: Told, guidance: float, guidance_min: float, guidance_max: float
) -> Guidance:
    strength = _strength(guidance, guidance_min, guidance_max)
    if guidance == 1 or told.absent:
        return Conditional
    if told.guide is None:
        raise ValueError("sampling.guidance_kind='autoguidance' needs a worse model of the same "
                         "data: set sampling.guide")  # fmt: skip
    other = told.guide

    def guide(score: Score, condition: Condition) -> Score:
        own = condition if told.guide_conditional else None
        return Autoguidance(Conditional(score, condition), Conditional(other, own), *strength)

    return guide


def _likelihood(denoised: bool, form: Callable[[LikelihoodGuidance], Score]) -> Callable[..., Any]:
    """The row of guidance by log p(y | x_t), or by log p(y | E[x_0 | x_t]), in a form of it."""

    def row(told: Told, guidance: float, guidance_min: float, guidance_max: float) -> Guidance:
        density, strength = told.log_density, _strength(guidance, guidance_min, guidance_max)
        if not guidance or told.absent:
            return Conditional
        if density is None:
            raise ValueError("guidance by log p(y | x) needs sampling.guide: the workdir of a "
                             "classifier, or FILE.py:FUNCTION")  # fmt: skip

        def guide(score: Score, condition: Condition) -> Score:
            condition = told_of(condition)
            own, label = condition if told.conditional else None, label_of(condition)
            return form(LikelihoodGuidance(score, own, density, label, *strength, denoised))

        return guide

    return row


def _classifier_mean(
    told: Told, guidance: float, guidance_min: float, guidance_max: float, predictor: str,
    corrector: str,
) -> Guidance:  # fmt: skip
    if (PUBLISHED_PREDICTORS.get(predictor, predictor), corrector) != ("ancestral", "none"):
        raise ValueError(
            "sampling.guidance_kind='classifier_mean' moves the mean of "
            "sampling.predictor='ancestral' without a corrector, got "
            f"{predictor!r} and {corrector!r}: 'classifier' is for every sampler"
        )
    found: Guidance = _likelihood(False, MeanShift)(told, guidance, guidance_min, guidance_max)
    return found


GUIDANCE: dict[str, Callable[..., Guidance]] = {
    "none": lambda: Conditional,
    "classifier_free": _classifier_free,
    "classifier_free_omega": _classifier_free_omega,
    "first_channels": _first_channels,
    "rescaled": _rescaled,
    "thresholded": _thresholded,
    "apg": _apg,
    "cfg_pp": _cfg_pp,
    "embedded": _embedded,
    "autoguidance": _autoguidance,
    "classifier": _likelihood(False, lambda guided: guided),
    "denoised_classifier": _likelihood(True, lambda guided: guided),
    "classifier_mean": _classifier_mean,
}
"""Guidances by name; parameters are `sampling` settings, `told`, a `Told`, `data`, the section of
that name, and `prediction`, which gives the meaning of the network's output."""
COMPARING = ("classifier_free", "classifier_free_omega", "first_channels", "rescaled",
             "thresholded", "apg", "cfg_pp")  # fmt: skip
"""Guidances by the prediction without a condition, or with one of what is not wanted."""
NEUTRAL = {"classifier_free_omega": 0.0, "cfg_pp": -1.0, "embedded": -1.0, "classifier": 0.0,
           "denoised_classifier": 0.0, "classifier_mean": 0.0}  # fmt: skip
"""The value of sampling.guidance at which a guidance does nothing, where it is not 1; -1: none."""
GUIDED_BY = {"autoguidance": "model", "classifier": "log_density",
             "denoised_classifier": "log_density", "classifier_mean": "log_density"}  # fmt: skip
"""Guidance -> what it takes from sampling.guide."""


def build_guidance(config: Section, told: Told = ALONE) -> Guidance:
    """The guidance of a config, applied in every mode as `guidance(score, condition)`.

    told: the models and functions that guide; whether the model is conditional is read here.
    ValueError, in the user's terms, for an unknown name and for what the model lacks.
    """
    row = choose("sampling.guidance_kind", config.sampling.guidance_kind, GUIDANCE)
    model = config.model
    conditional = model.num_classes > 0 or model.condition != "none"
    hidden = conditional and (model.label_dropout > 0 or model.condition_dropout > 0)
    left = [kind for kind in kinds_of(model.condition) if kind not in hidden_of(config)]
    kept = tuple(part for kind in left for part in CONDITIONS[kind].parts)
    told = replace(told, conditional=conditional, hidden=hidden, kept=kept)
    embedded = row is _embedded and model.guidance_features > 0
    told = replace(told, embedded=embedded)
    meaning = lambda: build_parametrization(config).prediction
    return made(row, config.sampling, told=told, data=config.data, prediction=meaning)


def guidance_settings(config: Section, told: Told = ALONE) -> dict[str, Any] | None:
    """The settings that a config's guidance reads, recorded with results; None without guidance."""
    if build_guidance(config, told) is Conditional:
        return None
    names = ("guidance_kind", *parameters(GUIDANCE[config.sampling.guidance_kind]))
    found = {name: config.sampling[name] for name in names if name in config.sampling}
    return {**found, **dict(told.identity)}
