"""SDEs, parametrizations, scores and exact oracles; and how a config names them.

A new SDE, prediction, conditioning or rounding is one class and one line in a table below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sde_lib.base import SDE, Reverse, expand
from sde_lib.guidance import ClassifierFree
from sde_lib.karras import KarrasVE
from sde_lib.learned import LearnedVP
from sde_lib.oracles import Gaussian, Mixture, empirical
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
from sde_lib.pytree import pytree, static
from sde_lib.score import Conditional, ModelScore, Score
from sde_lib.subvp import SubVP
from sde_lib.tables import choose
from sde_lib.tabulated import Tabulated
from sde_lib.ve import VE
from sde_lib.vp import VP

__all__ = [
    "EDM", "SDE", "VE", "VP", "ClassifierFree", "Conditional", "Data", "Gaussian", "KarrasVE",
    "LearnedVP", "LogSigmaLabel", "Mixture", "ModelScore", "Noise", "Parametrization", "RawScore",
    "Reverse", "ScaledScore", "Score", "SubVP", "Tabulated", "TimeLabel", "UnitNoise", "V",
    "Velocity", "build", "build_parametrization", "choose", "empirical", "expand", "pytree",
    "static",
]  # fmt: skip

Section = Any
"""A section of an ml_collections ConfigDict."""

SDES: dict[str, Callable[[Section], SDE]] = {
    "vp": lambda c: VP(c.beta_min, c.beta_max),
    "subvp": lambda c: SubVP(c.beta_min, c.beta_max),
    "ve": lambda c: VE(c.sigma_min, c.sigma_max),
    "edm": lambda c: KarrasVE(c.sigma_min, c.sigma_max),
    "learned": lambda c: LearnedVP(c.log_snr_max, c.log_snr_min),
}
PUBLISHED_NAMES = {"vpsde": "vp", "subvpsde": "subvp", "vesde": "ve"}
"""score_sde's names for the same SDEs."""

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

PUBLISHED: dict[tuple[str, bool], tuple[str, str]] = {
    ("vp", True): ("time", "none"),
    ("vp", False): ("level", "below"),
    ("subvp", True): ("time", "none"),
    ("ve", True): ("log_sigma", "none"),
    ("ve", False): ("descending_level", "nearest"),
    ("edm", True): ("quarter_log_sigma", "none"),
    ("learned", True): ("quarter_log_sigma", "none"),
}
"""(SDE, training.continuous) -> its authors' (conditioning, rounding)."""
PUBLISHED_PREDICTIONS: dict[str, Callable[[Section], str]] = {
    "vp": lambda c: "noise",
    "subvp": lambda c: "noise",
    "ve": lambda c: "scaled_score" if c.scale_by_sigma else "score",
    "edm": lambda c: "edm",
    "learned": lambda c: "noise",
}
"""SDE -> what its authors' networks predict."""


def build(config: Section) -> SDE:
    """The SDE of a config; in discrete training, the one that runs through the model's levels."""
    name = PUBLISHED_NAMES.get(config.sde.name, config.sde.name)
    sde = choose("sde.name", name, SDES)(config.sde)
    if config.training.continuous:
        return sde
    if (name, False) not in PUBLISHED:
        raise ValueError(
            f"training.continuous=False is not defined for sde.name={name!r}, which has no "
            "discrete form: use training.continuous=True"
        )
    return sde.discrete(config.sde.num_scales)


def build_parametrization(config: Section) -> Parametrization:
    """The parametrization of a config; 'published' means that of the SDE's authors."""
    name = PUBLISHED_NAMES.get(config.sde.name, config.sde.name)
    label, rounding = PUBLISHED[name, bool(config.training.continuous)]
    prediction = config.model.prediction
    if prediction == "published":
        prediction = PUBLISHED_PREDICTIONS[name](config.model)
    if config.model.conditioning != "published":
        label = config.model.conditioning
    return Parametrization(
        choose("model.prediction", prediction, PREDICTIONS)(config.model),
        choose("model.conditioning", label, CONDITIONINGS)(config.sde),
        choose("the rounding of times", rounding, ROUNDINGS)(config.sde.num_scales),
    )
