"""How a config names an SDE, what its network is told and says, and a guidance.

A new SDE, prediction, conditioning, rounding or guidance is one class and one row in a table below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

from sde_lib.base import SDE
from sde_lib.guidance import ClassifierFree, Guidance, null_of
from sde_lib.karras import KarrasVE
from sde_lib.learned import LearnedVP
from sde_lib.parametrization import (
    EDM,
    Conditioning,
    Continuous,
    CosineLevelLabel,
    Data,
    DescendingLevelLabel,
    LevelBelow,
    LogHalfSigmaLabel,
    LogSigmaLabel,
    NearestLevel,
    Noise,
    Parametrization,
    Prediction,
    RawScore,
    Rounding,
    ScaledScore,
    TimeLabel,
    UnitNoise,
    V,
    Velocity,
    VPTimeLabel,
)
from sde_lib.score import Condition, Conditional, Score
from sde_lib.subvp import SubVP
from sde_lib.tables import choose
from sde_lib.ve import VE
from sde_lib.vp import VP

Section = Any
"""A config, or a section of one: an ml_collections ConfigDict."""

PREDICTIONS: dict[str, Callable[[Section], Prediction]] = {
    "noise": lambda c: Noise(),
    "unit_noise": lambda c: UnitNoise(),
    "scaled_score": lambda c: ScaledScore(),
    "score": lambda c: RawScore(),
    "data": lambda c: Data(),
    "v": lambda c: V(),
    "velocity": lambda c: Velocity(),
    "edm": lambda c: EDM(c.sigma_data),
}
CONDITIONINGS: dict[str, Callable[[Section], Conditioning]] = {
    "time": lambda c: TimeLabel(999.0),
    "log_sigma": lambda c: LogSigmaLabel(1.0),
    "log_half_sigma": lambda c: LogHalfSigmaLabel(),
    "quarter_log_sigma": lambda c: LogSigmaLabel(0.25),
    "level": lambda c: TimeLabel(c.num_scales - 1.0),
    "vp_time": lambda c: VPTimeLabel(VP(c.beta_min, c.beta_max), c.num_scales - 1.0),
    "cosine_level": lambda c: CosineLevelLabel.of(c.num_scales),
    "descending_level": lambda c: DescendingLevelLabel(c.num_scales),
}
ROUNDINGS: dict[str, Callable[[int], Rounding]] = {
    "none": lambda n: Continuous(),
    "below": lambda n: LevelBelow(n),
    "nearest": lambda n: NearestLevel(n),
}


class Discrete(NamedTuple):
    """What the authors' networks of an SDE's discrete form are told, by name."""

    conditioning: str
    rounding: str


@dataclass(frozen=True)
class Family:
    """A row of `SDES`: an SDE by name, and what its authors' networks are told and say.

    Attributes:
      build: from the `sde` section of a config.
      prediction: a name in `PREDICTIONS`, or the function of the `model` section that gives it.
      conditioning: a name in `CONDITIONINGS`; "time" suits an SDE whose T is 1.
      discrete: the names for networks of `sde.num_scales` levels, which are those of
        `SDE.discrete`; None where the SDE has no discrete form.
    """

    build: Callable[[Section], SDE]
    prediction: str | Callable[[Section], str] = "noise"
    conditioning: str = "time"
    discrete: Discrete | None = None


def _learned(c: Section) -> LearnedVP:
    if c.log_snr_min >= c.log_snr_max:
        raise ValueError("sde.log_snr_min must be below sde.log_snr_max")
    return LearnedVP(c.log_snr_max, c.log_snr_min)


SDES: dict[str, Family] = {
    "vp": Family(lambda c: VP(c.beta_min, c.beta_max), discrete=Discrete("level", "below")),
    "subvp": Family(lambda c: SubVP(c.beta_min, c.beta_max)),
    "ve": Family(
        lambda c: VE(c.sigma_min, c.sigma_max),
        prediction=lambda c: "scaled_score" if c.scale_by_sigma else "score",
        conditioning="log_sigma",
        discrete=Discrete("descending_level", "nearest"),
    ),
    "edm": Family(lambda c: KarrasVE(c.sigma_min, c.sigma_max), "edm", "quarter_log_sigma"),
    "learned": Family(_learned, conditioning="quarter_log_sigma"),
}
PUBLISHED_NAMES = {"vpsde": "vp", "subvpsde": "subvp", "vesde": "ve"}
"""score_sde's names for the same SDEs."""


def _family(config: Section) -> Family:
    name = PUBLISHED_NAMES.get(config.sde.name, config.sde.name)
    return choose("sde.name", name, SDES)


def _discrete(config: Section) -> Discrete:
    """The names of a config's discrete form; ValueError where its SDE has none."""
    found = _family(config).discrete
    if found is None:
        name = PUBLISHED_NAMES.get(config.sde.name, config.sde.name)
        raise ValueError(
            f"training.continuous=False is not defined for sde.name={name!r}, which has no "
            "discrete form: use training.continuous=True"
        )
    return found


def build(config: Section) -> SDE:
    """The SDE of a config; in discrete training, the one that runs through the model's levels."""
    sde = _family(config).build(config.sde)
    if config.training.continuous:
        return sde
    _discrete(config)
    return sde.discrete(config.sde.num_scales)


def build_parametrization(config: Section) -> Parametrization:
    """The parametrization of a config; 'published' means that of the SDE's authors."""
    family, model = _family(config), config.model
    label, rounding = family.conditioning, "none"
    if not config.training.continuous:
        label, rounding = _discrete(config)
    prediction = model.prediction
    if prediction == "published":
        own = family.prediction
        prediction = own if isinstance(own, str) else own(model)
    if model.conditioning != "published":
        label = model.conditioning
    return Parametrization(
        choose("model.prediction", prediction, PREDICTIONS)(model),
        choose("model.conditioning", label, CONDITIONINGS)(config.sde),
        choose("the rounding of times", rounding, ROUNDINGS)(config.sde.num_scales),
    )


def _classifier_free(config: Section) -> Guidance:
    c = config.sampling
    if c.guidance != 1 and not config.model.num_classes:
        raise ValueError(
            f"sampling.guidance={c.guidance} needs a model of classes: set "
            "model.num_classes, and model.label_dropout to train it, or leave guidance at 1"
        )
    if c.guidance == 1:
        return Conditional
    if c.guidance_min >= c.guidance_max:
        raise ValueError("sampling.guidance_min must be below sampling.guidance_max")
    # As arrays, so that other numbers are no other program.
    numbers = [jnp.asarray(v, jnp.float32) for v in (c.guidance, c.guidance_min, c.guidance_max)]

    def guide(score: Score, condition: Condition) -> Score:
        return ClassifierFree(score, condition, null_of(condition), *numbers)

    return guide


GUIDANCE: dict[str, Callable[[Section], Guidance]] = {
    "none": lambda c: Conditional,
    "classifier_free": _classifier_free,
}


def build_guidance(config: Section) -> Guidance:
    """The guidance of a config: every mode follows `guidance(score, condition)`.

    ValueError, in the user's terms, for a name that is not known and for what the model lacks.
    """
    return choose("sampling.guidance_kind", config.sampling.guidance_kind, GUIDANCE)(config)
